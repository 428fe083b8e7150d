"""What a segment holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envpack.entry import Entry


@dataclass(frozen=True, slots=True)
class Index:
    """What a segment holds. ``digest`` (32 bytes, sha256) stands for its data and its index."""

    digest: bytes
    data_size: int

    def entries(self) -> Iterator[Entry]:
        """The entries as they were written, in order, without their contents (``size`` is there)."""
        raise NotImplementedError


def read_index(path: Path) -> Index:
    """Load a segment's index. Raises :class:`IntegrityError` if the file is cut, damaged or not ours."""
    raise NotImplementedError
