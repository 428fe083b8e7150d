"""Writing metadata blocks and the tables made of them; see :mod:`envpack.formats.squashfs.layout`."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

from envpack.formats.squashfs.codec import Compress
from envpack.formats.squashfs.layout import METADATA_PLAIN, METADATA_SIZE, U16


class MetadataWriter:
    """A stream of records cut into metadata blocks.

    ``block`` and ``offset`` say where the next byte will be: the position of its block's header in what
    :meth:`finish` returns, and the byte's place in the unpacked block.
    """

    def __init__(self, compress: Compress) -> None:
        self.block = 0
        self.offset = 0
        self._compress = compress
        self._done: list[bytes] = []
        self._open = bytearray()

    def write(self, data: bytes) -> None:
        """Append ``data``; records may cross blocks."""
        held = self._open
        held += data
        while len(held) >= METADATA_SIZE:
            self._emit(bytes(held[:METADATA_SIZE]))
            del held[:METADATA_SIZE]
        self.offset = len(held)

    def finish(self) -> bytes:
        """All blocks, headers included."""
        if self._open:
            self._emit(bytes(self._open))
            self._open.clear()
            self.offset = 0
        return b"".join(self._done)

    def _emit(self, plain: bytes) -> None:
        packed = self._compress(plain)
        if len(packed) < len(plain):
            self._done.append(U16.pack(len(packed)) + packed)
        else:
            self._done.append(U16.pack(len(plain) | METADATA_PLAIN) + plain)
        self.block += len(self._done[-1])


def lookup_table(records: bytes, position: int, compress: Compress) -> tuple[bytes, list[int]]:
    """Metadata blocks that hold ``records`` from ``position`` on, and the positions of these blocks."""
    writer = MetadataWriter(compress)
    positions = []
    for start in range(0, len(records), METADATA_SIZE):
        positions.append(position + writer.block)
        writer.write(records[start : start + METADATA_SIZE])
    return writer.finish(), positions


def pack_positions(positions: Iterable[int]) -> bytes:
    """The u64 positions that follow a table's blocks."""
    packed = array("Q", positions)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
