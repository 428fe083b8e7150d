"""Sections of a segment's index as they were read: an environment has too many records to unpack them all."""

from __future__ import annotations

import struct
from collections.abc import Iterator


class Packed:
    """Records of one kind, unpacked when asked for."""

    __slots__ = ("_data", "_record")

    def __init__(self, record: struct.Struct, data: bytes) -> None:
        self._record, self._data = record, data

    def __len__(self) -> int:
        return len(self._data) // self._record.size

    def __getitem__(self, number: int) -> tuple[int, ...]:
        return self._record.unpack_from(self._data, number * self._record.size)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return self._record.iter_unpack(self._data)

    def first_byte(self, number: int) -> int:
        """The first field of a record, where that is a byte."""
        return self._data[number * self._record.size]


class Paths:
    """NUL-ended strings, to be gone through in order."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return self._data.count(b"\0")

    def __contains__(self, path: bytes) -> bool:
        ended = path + b"\0"
        return self._data.startswith(ended) or b"\0" + ended in self._data

    def below(self, folder: bytes) -> Iterator[bytes]:
        """Those that begin with ``folder`` and a slash, the others untouched."""
        data, start = self._data, folder + b"/"
        place = 0
        while True:
            if not data.startswith(start, place):
                place = data.find(b"\0" + start, max(place - 1, 0)) + 1
                if not place:
                    return
            end = data.index(b"\0", place)
            yield data[place:end]
            place = end + 1

    def __iter__(self) -> Iterator[bytes]:
        if self._data:  # taken apart when the first is wanted: those of many segments may be chained
            yield from self._data[:-1].split(b"\0")
