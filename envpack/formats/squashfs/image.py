"""Assembling an image: the segments' data end to end, and tables made from their indexes.

Nothing is compressed again but the tables, so this costs little more than copying the data, which Linux
does within the file system where it can. Tables only need to know where the data will be: the one can be done
while the other is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from envpack.entry import encode_path
from envpack.errors import IntegrityError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.codec import compressor
from envpack.formats.squashfs.index import Index, Segment
from envpack.formats.squashfs.inodes import InodeWriter
from envpack.formats.squashfs.metadata import lookup_table, pack_positions
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.segment_file import stored
from envpack.formats.squashfs.tree import Overwritten, Tree


@dataclass(frozen=True, slots=True)
class Assembled:
    """What an image holds.

    ``size`` is the image's length in bytes, a multiple of 4096; ``content_size`` counts the bytes of all
    files unpacked, hard links once; ``files`` counts regular files, hard links once; ``directories``
    includes the root. ``overwritten`` lists paths given by more than one segment, the last of which won.
    ``unsupported_xattrs`` are the names of attributes that squashfs has no place for. ``outside`` lists the
    paths that are not below the root that was asked for. ``digest`` (32 bytes) stands for the content: it
    comes from the options, the date, the root and the segments' digests.
    """

    size: int
    inodes: int
    files: int
    directories: int
    content_size: int
    overwritten: tuple[Overwritten, ...]
    unsupported_xattrs: tuple[str, ...]
    outside: tuple[str, ...]
    digest: bytes


class Image:
    """The file system made of ``segments``, written in two steps.

    Later segments win; directories merge, with the later one's mode, owner and mtime; a path below a
    symlink to a directory lands in that directory, and a directory on top of such a symlink leaves it
    there. ``epoch`` (seconds) is the image's date and that of entries without one. With ``root``, a path of
    the merged tree, that directory is the image's root and nothing else is in the image.

    Raises :class:`IntegrityError` for segments made with another compressor or block size; later, when they
    have become shorter meanwhile, and for more than 65535 different owners.
    """

    def __init__(self, segments: Sequence[Segment], options: Options, epoch: int, *, root: str = "") -> None:
        for segment in segments:
            made_with = (segment.index.compression_id, segment.index.block_size)
            if made_with != (options.compression_id, options.block_size):
                raise IntegrityError(
                    f"the cached segment {segment.path} was made with other options",
                    hint="Remove the file; it will be made again.",
                )
        self._segments, self._options, self._epoch, self._root = segments, options, epoch, root
        settings = options.compressor_options()
        if settings:
            settings = layout.U16.pack(len(settings) | layout.METADATA_PLAIN) + settings
        self._settings = settings
        start = layout.SUPERBLOCK.size + len(settings)
        starts = accumulate((segment.index.data_size for segment in segments), initial=start)
        *self._starts, self._end = starts

    def write_data(self, out: BinaryIO, offset: int) -> None:
        """Put the data where they belong in ``out``, of which the image is what comes after ``offset``.

        This needs no tables: it may be done in another thread. ``out`` is seekable and not in append mode.
        """
        for segment, start in zip(self._segments, self._starts, strict=True):
            _copy(segment.path, segment.index.data_size, out, offset + start)

    def write_tables(self, out: BinaryIO, offset: int) -> None:
        """Write all but the data, and leave ``out`` at the image's end."""
        superblock, tables, _ = self._tables
        out.seek(offset)
        out.write(superblock + self._settings)
        out.seek(offset + self._end)
        out.writelines(tables)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """All bytes of the image in order; a piece is good until the next one."""
        superblock, tables, _ = self._tables
        yield superblock + self._settings
        for segment in self._segments:
            yield from segment.data()
        yield from tables

    @property
    def assembled(self) -> Assembled:
        """What is in it."""
        return self._tables[2]

    @cached_property
    def _tables(self) -> tuple[bytes, list[bytes], Assembled]:
        indexes = [segment.index for segment in self._segments]
        return _tables(indexes, self._starts, self._end, self._options, self._epoch, self._root)


def assemble(
    out: BinaryIO, offset: int, segments: Sequence[Segment], options: Options, epoch: int, *, root: str = ""
) -> Assembled:
    """Write an :class:`Image` from ``offset`` into ``out``, which is left at the image's end."""
    image = Image(segments, options, epoch, root=root)
    image.write_data(out, offset)
    image.write_tables(out, offset)
    return image.assembled


def _tables(
    indexes: Sequence[Index], starts: Sequence[int], end: int, options: Options, epoch: int, root: str
) -> tuple[bytes, list[bytes], Assembled]:
    """The superblock and everything behind the data, which begin at ``starts`` and end at ``end``."""
    compress = compressor(options)
    epoch = min(max(epoch, 0), layout.NONE32)
    tree = Tree(indexes)
    outside = tree.narrow(encode_path(root)) if root else ()
    first_fragments, fragments = [], bytearray()
    for start, index in zip(starts, indexes, strict=True):
        first_fragments.append(len(fragments) // layout.FRAGMENT.size)
        for position, word in index.fragments:
            fragments += layout.FRAGMENT.pack(start + position, word, 0)

    writer = InodeWriter(indexes, starts, first_fragments, epoch, compress)
    root_inode = writer.write(tree)
    tables = _Tables(end)
    inode_table = tables.append(writer.inodes.finish())
    directory_table = tables.append(writer.listings.finish())
    records = (
        bytes(fragments),
        pack_positions(writer.references),
        b"".join(map(layout.U32.pack, writer.ids)),
    )
    lookups = []
    for record in records:
        blocks, positions = lookup_table(record, tables.end, compress)
        tables.append(blocks)
        lookups.append(tables.append(pack_positions(positions)))
    xattrs, xattr_table = writer.xattrs.finish(tables.end)
    tables.append(xattrs)

    superblock = layout.SUPERBLOCK.pack(
        layout.MAGIC,
        tree.root.number,
        epoch,
        options.block_size,
        len(fragments) // layout.FRAGMENT.size,
        options.compression_id,
        options.block_size.bit_length() - 1,
        layout.FLAG_DUPLICATES
        | layout.FLAG_EXPORTABLE
        | (layout.FLAG_NO_XATTRS if xattr_table is None else 0)
        | (layout.FLAG_COMPRESSOR_OPTIONS if options.compressor_options() else 0),
        len(writer.ids),
        4,
        0,
        root_inode,
        tables.end,
        lookups[2],
        layout.NONE64 if xattr_table is None else xattr_table,
        inode_table,
        directory_table,
        lookups[0],
        lookups[1],
    )
    used = tables.end
    tables.append(bytes(-used % layout.PADDING))
    assembled = Assembled(
        size=tables.end,
        inodes=tree.root.number,
        files=writer.files,
        directories=writer.directories,
        content_size=writer.content_size,
        overwritten=tuple(tree.overwritten),
        unsupported_xattrs=tuple(sorted(writer.xattrs.unsupported)),
        outside=outside,
        digest=_digest(indexes, options, epoch, root),
    )
    return superblock, tables.parts, assembled


class _Tables:
    """What follows the data: parts and the position behind them."""

    def __init__(self, position: int) -> None:
        self.end = position
        self.parts: list[bytes] = []

    def append(self, part: bytes) -> int:
        """Add a part; the position where it starts."""
        start = self.end
        self.parts.append(part)
        self.end += len(part)
        return start


def _digest(indexes: Sequence[Index], options: Options, epoch: int, root: str) -> bytes:
    found = hashlib.sha256(f"{options.key()} {epoch}".encode())
    if root:
        found.update(b"\0" + encode_path(root) + b"\0")
    for index in indexes:
        found.update(index.digest)
    return found.digest()


def _copy(path: Path, size: int, out: BinaryIO, position: int) -> None:
    """Copy the first ``size`` bytes of a segment to ``position``, inside the kernel where it can."""
    done = 0
    try:
        target = out.fileno()
        out.flush()
        with path.open("rb") as source:
            while done < size:
                copied = os.copy_file_range(source.fileno(), target, size - done, done, position + done)
                if not copied:
                    break
                done += copied
    except OSError:
        # Not between these two files, or not in this kernel. A full or broken disk is met again below.
        pass
    out.seek(position + done)
    for piece in stored(path, done, size):
        out.write(piece)
