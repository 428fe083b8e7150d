"""Squashfs 4.0, written from position-independent segments and read back.

A *segment* holds the compressed data of one group of files (a package, a base image) and is cached;
an image is the segments' data end to end, plus tables generated from the segments' indexes. The parts:

    options    compression and block size
    layout     the on-disk structures, drawn out; shared by writer and reader
    codec      compressing and decompressing single blocks
    segment    entries -> segment file
    index      what a segment holds, packed and unpacked
    sections   parts of an index that stay packed
    tree       indexes -> one directory tree (later segments win)
    metadata   metadata blocks and the tables made of them
    image      segments -> file system image
    reader     file system image -> entries
"""
