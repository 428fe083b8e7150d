"""Files with holes in tar archives, as GNU tar writes them: only what is between the holes is stored.

Where the stored pieces belong is told in one of four ways:

    old GNU   a header of type S: 4 pieces from byte 386 on, each offset and length (12 bytes each), a byte
              at 482 that is not zero where blocks with 21 more pieces follow (their mark is at 504), and the
              file's size at 483
    pax 0.0   records GNU.sparse.size, GNU.sparse.numblocks, and for each piece GNU.sparse.offset and
              GNU.sparse.numbytes
    pax 0.1   records GNU.sparse.size, GNU.sparse.name, and GNU.sparse.map: offset,length,offset,length…
    pax 1.0   records GNU.sparse.major (1), .minor (0), .name and .realsize; the data begins with a block or
              more of decimal numbers, a line each: how many pieces, then offset and length of each

https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PREFIX = "GNU.sparse."
_PIECE = 24
_HALF = 12
# Whoever announces more pieces wants our memory.
_MAX_PIECES = 1 << 20

Pieces = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A file of ``size`` bytes of which only ``pieces`` (offset, length) are stored, in order."""

    size: int
    pieces: Pieces

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for pieces that overlap or go beyond the file's end."""
        end = 0
        for offset, length in self.pieces:
            if offset < end or length < 0:
                raise ValueError("a file's stored pieces overlap")
            end = offset + length
        if end > self.size:
            raise ValueError("a file's stored pieces go beyond its end")

    @property
    def stored(self) -> int:
        """How many bytes the archive has of it."""
        return sum(length for _, length in self.pieces)


def of_header(block: bytes, following: Callable[[], bytes], number: Callable[[bytes], int]) -> Sparse:
    """What a header of type S says; ``following`` reads the next block, ``number`` a field.

    Raises ``ValueError``.
    """
    pieces = _fields(block[386:482], number)
    extended = block[482]
    while extended:
        more = following()
        pieces += _fields(more[:504], number)
        extended = more[504]
        if len(pieces) > _MAX_PIECES:
            raise ValueError(f"a file of more than {_MAX_PIECES} pieces")
    return Sparse(number(block[483:495]), tuple(pieces))


def of_records(records: Mapping[str, bytes], block: Callable[[], bytes]) -> Sparse | None:
    """What pax records say, if they speak of holes; ``block`` reads a block of the member's data.

    Offsets and lengths of pax 0.0 are expected joined, as in pax 0.1. Raises ``ValueError``.
    """
    if not any(key.startswith(PREFIX) for key in records):
        return None
    version = records.get(f"{PREFIX}major", b"0"), records.get(f"{PREFIX}minor", b"0")
    if version == (b"1", b"0"):
        return Sparse(_record(records, "realsize"), _map_in_data(block))
    if version[0] != b"0":
        raise ValueError("a file with holes, told in a way that is not known")
    numbers = [int(text) for text in records.get(f"{PREFIX}map", b"").split(b",") if text]
    return Sparse(_record(records, "size"), _paired(numbers))


def _record(records: Mapping[str, bytes], name: str) -> int:
    return int(records.get(f"{PREFIX}{name}", b"no size"))


def _map_in_data(block: Callable[[], bytes]) -> Pieces:
    lines: list[bytes] = []
    rest = b""

    def take(count: int) -> list[int]:
        nonlocal rest
        while len(lines) < count:
            *whole, rest = (rest + block()).split(b"\n")
            lines.extend(whole)
        taken = [int(line) for line in lines[:count]]
        del lines[:count]
        return taken

    (count,) = take(1)
    if not 0 <= count <= _MAX_PIECES:
        raise ValueError(f"a file of {count} pieces")
    return _paired(take(2 * count))


def _paired(numbers: Sequence[int]) -> Pieces:
    if len(numbers) % 2:
        raise ValueError("an offset of a stored piece has no length")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _fields(raw: bytes, number: Callable[[bytes], int]) -> list[tuple[int, int]]:
    """Pieces in a header; unused ones are empty."""
    found = []
    for at in range(0, len(raw), _PIECE):
        if raw[at : at + _PIECE].strip(b"\0 "):
            found.append((number(raw[at : at + _HALF]), number(raw[at + _HALF : at + _PIECE])))
    return found
