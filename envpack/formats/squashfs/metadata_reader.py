"""Reading metadata blocks and tables of an image that may be hostile.

Every position and size comes from the image: all reads stay inside of it, and what is held in memory is
bounded by the cache, not by what the image claims.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from envpack.errors import IntegrityError
from envpack.formats.squashfs.codec import Decompress
from envpack.formats.squashfs.layout import METADATA_PLAIN, METADATA_SIZE, U16

_CACHED_BLOCKS = 512
_POSITION = struct.Struct("<Q")


def damaged(why: str) -> IntegrityError:
    """The error for an image that contradicts itself."""
    return IntegrityError(
        "the squashfs image is damaged", why=why, hint="Copy, download or build the image again."
    )


class ImageFile:
    """Reads inside an image that starts at ``offset`` of ``file`` and has ``size`` bytes."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self.size = size
        self._file = file
        self._offset = offset

    def read(self, position: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``position``."""
        if not 0 <= position <= position + size <= self.size:
            raise damaged(f"{size} bytes at {position} are outside of it")
        self._file.seek(self._offset + position)
        data = self._file.read(size)
        if len(data) != size:
            raise damaged(f"it is cut short at {position + len(data)}")
        return data


class Metadata:
    """Unpacked metadata blocks, the last ones used kept."""

    def __init__(self, image: ImageFile, decompress: Decompress) -> None:
        self._image = image
        self._decompress = decompress
        self._cache: dict[int, tuple[bytes, int]] = {}

    def block(self, position: int) -> tuple[bytes, int]:
        """The unpacked block at ``position`` and the position of the next one."""
        known = self._cache.get(position)
        if known is None:
            (word,) = U16.unpack(self._image.read(position, U16.size))
            size = word & ~METADATA_PLAIN
            if not 0 < size <= METADATA_SIZE:
                raise damaged(f"the metadata block at {position} has {size} bytes")
            data = self._image.read(position + U16.size, size)
            if not word & METADATA_PLAIN:
                data = self._decompress(data, METADATA_SIZE)
            known = self._cache[position] = data, position + U16.size + size
            if len(self._cache) > _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
        return known


class Cursor:
    """Reads on from one place in a table of metadata blocks that starts at ``table``."""

    def __init__(self, metadata: Metadata, table: int, block: int, offset: int) -> None:
        self._metadata = metadata
        self._data, self._next = metadata.block(table + block)
        self._offset = offset

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; callers bound ``size``."""
        end = self._offset + size
        if end <= len(self._data):
            data = self._data[self._offset : end]
            self._offset = end
            return data
        held = bytearray(self._data[self._offset :])
        if self._offset > len(self._data):
            raise damaged("a metadata reference points behind its block")
        while len(held) < size:
            self._data, self._next = self._metadata.block(self._next)
            if not self._data:
                raise damaged("a metadata block is empty")
            self._offset = size - len(held)
            held += self._data[: self._offset]
        return bytes(held)


class LookupTable:
    """A table of ``count`` records of ``size`` bytes; ``position`` is that of its blocks' positions."""

    def __init__(
        self, image: ImageFile, metadata: Metadata, position: int, *, count: int, size: int, name: str
    ) -> None:
        self._image = image
        self._metadata = metadata
        self._position = position
        self._count = count
        self._size = size
        self._name = name

    def record(self, number: int) -> bytes:
        """One record."""
        if number >= self._count:
            raise damaged(f"there is no {self._name} {number}")
        place, offset = divmod(number * self._size, METADATA_SIZE)
        raw = self._image.read(self._position + place * _POSITION.size, _POSITION.size)
        data, _ = self._metadata.block(_POSITION.unpack(raw)[0])
        record = data[offset : offset + self._size]
        if len(record) != self._size:
            raise damaged(f"the table of {self._name}s is cut short")
        return record
