"""What is in a cache, and what of it goes: the decision alone, without a look at any file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Kind(Enum):
    """What something in the cache is."""

    ARCHIVE = "archives"
    BLOB = "blobs"
    SEGMENT = "segments"
    LAYER = "layers"
    SOLVER = "solver data"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is kept or removed as a whole; ``used`` is its last use, in seconds since 1970."""

    kind: Kind
    path: Path
    size: int
    used: float


def excess(
    items: Iterable[Item], *, now: float, older_than: float | None = None, max_size: int | None = None
) -> tuple[Item, ...]:
    """What to remove, the least recently used first.

    That is all that was not used in the last ``older_than`` seconds, and as much more as it takes to get down
    to ``max_size`` bytes.
    """
    ordered = sorted(items, key=lambda item: (item.used, str(item.path)))
    left = sum(item.size for item in ordered)
    found = []
    for item in ordered:
        too_old = older_than is not None and now - item.used > older_than
        too_much = max_size is not None and left > max_size
        if too_old or too_much:
            found.append(item)
            left -= item.size
    return tuple(found)
