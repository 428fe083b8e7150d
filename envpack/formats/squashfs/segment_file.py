"""Segment files: what is behind the data and the index, and whether the disk still has what was written.

A segment is position independent: positions in it count from its own start. All numbers are
little-endian::

    data     data and fragment blocks, in the order they were written
    index    one zlib stream (see :mod:`envpack.formats.squashfs.index`)
    footer   8s magic "envpkseg", u32 version, u32 block size, u16 compressor (squashfs number), 6 zeros,
             u64 data size, u64 index size packed, u64 index size unpacked,
             32s sha256 of the data, 32s sha256 of the packed index and of the footer up to here

The checksum of the index covers the data's checksum: it stands for the whole segment.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from envpack.errors import IntegrityError

VERSION = 1

_MAGIC = b"envpkseg"
_FOOTER = struct.Struct("<8s2IH6x3Q32s")
_CHECKSUM_SIZE = 32
_FOOTER_SIZE = _FOOTER.size + _CHECKSUM_SIZE
_PIECE = 1 << 20


class Tail(NamedTuple):
    """The footer's fields, and the index as it is stored."""

    block_size: int
    compression_id: int
    data_size: int
    plain_size: int
    data_digest: bytes
    packed: bytes


def ending(
    packed: bytes,
    *,
    block_size: int,
    compression_id: int,
    data_size: int,
    plain_size: int,
    data_digest: bytes,
) -> bytes:
    """What comes behind the data: the ``packed`` index, of ``plain_size`` bytes unpacked, and the footer."""
    footer = _FOOTER.pack(
        _MAGIC, VERSION, block_size, compression_id, data_size, len(packed), plain_size, data_digest
    )
    return packed + footer + hashlib.sha256(packed + footer).digest()


def read_tail(path: Path) -> Tail:
    """What follows a segment's data, compared with its checksum; raises :class:`IntegrityError`."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            if end < _FOOTER_SIZE:
                raise damaged(path, "it is cut short")
            file.seek(-_FOOTER_SIZE, 2)
            footer = file.read(_FOOTER_SIZE)
            magic, version, block_size, compression_id, data_size, packed_size, plain_size, data_digest = (
                _FOOTER.unpack_from(footer)
            )
            if magic != _MAGIC:
                raise damaged(path, "it does not end as a segment does")
            if version != VERSION:
                raise damaged(path, f"it has version {version}, expected {VERSION}")
            if data_size + packed_size + _FOOTER_SIZE != end:
                raise damaged(path, f"it has {end} bytes and describes another size")
            file.seek(data_size)
            packed = file.read(packed_size)
    except OSError as error:
        raise damaged(path, str(error)) from error
    if hashlib.sha256(packed + footer[: _FOOTER.size]).digest() != footer[_FOOTER.size :]:
        raise damaged(path, "the checksum of its index is wrong")
    return Tail(block_size, compression_id, data_size, plain_size, data_digest, packed)


def verify(path: Path) -> None:
    """Read all of a segment and compare with its checksums; raises :class:`IntegrityError`."""
    tail = read_tail(path)
    verify_data(path, tail.data_size, tail.data_digest)


def verify_data(path: Path, size: int, digest: bytes) -> None:
    """Compare a segment's data with what its :class:`Tail` says of them; raises :class:`IntegrityError`."""
    found = hashlib.sha256()
    for piece in stored(path, 0, size):
        found.update(piece)
    if found.digest() != digest:
        raise damaged(path, "the checksum of its data is wrong")


def stored(path: Path, start: int, end: int) -> Iterator[memoryview]:
    """The bytes of a segment from ``start`` to ``end``, in pieces that are good until the next one.

    Raises :class:`IntegrityError` for a file that cannot be read, or has become shorter.
    """
    buffer = memoryview(bytearray(min(max(end - start, 0), _PIECE)))
    try:
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                count = file.readinto(buffer[: end - start])
                if not count:
                    raise damaged(path, "it became shorter while it was read")
                yield buffer[:count]
                start += count
    except OSError as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> IntegrityError:
    """The error for a segment that is not what was written."""
    return IntegrityError(
        f"the cached segment {path} is damaged", why=why, hint="Remove the file; it will be made again."
    )
