"""Which packages share a layer of an OCI image.

Registries and engines keep layers by their hash: what is in a layer that did not change is neither sent nor
stored again. So a package that changes should change few bytes around it, and overlay file systems stack 127
layers at most, the base's included. From the lowest up:

    the base's layers               as they were pulled
    large packages of conda         each a layer of its own: python, what it needs, then the others
    small packages of conda         16 layers, by a hash of the package's name
    large, then small of pip        likewise, 8 layers
    files of the project
    what envpack adds               entry point, ``conda-meta/history``: changes with every change

A package's place depends on its own name and size and on nothing else: no other package that is added,
removed or changed moves it. Only where there would be too many layers, *large* is taken to be larger, by
doubling, and then there are fewer layers for small ones, by halving, until they fit.

What changes seldom is lowest, because Docker without containerd knows a layer by all that is below it. The
order does not decide which file wins where two packages have the same: that is decided by the order in
which packages are linked (:mod:`~envpack.engines.native.order`) when the tree is merged, and the file is in
the winner's layer alone. A package that wins or loses a file so changes the other's layer too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from envpack.engines.native.linked import Part
from envpack.engines.native.order import with_dependencies
from envpack.errors import BaseImageError

MOST_LAYERS = 127
# Unpacked. Most packages are smaller, nearly all bytes are in larger ones.
_LARGE = 4 << 20
_SHARED = {"conda": 16, "pip": 8}


@dataclass(frozen=True, slots=True)
class Group:
    """Segments, by position, that make one layer, and what to say of them in the image's history."""

    title: str
    segments: Sequence[int]


def grouped(parts: Sequence[Part], sizes: Sequence[int], below: int, files: int = 0) -> list[Group]:
    """The layers above the base, from the lowest up.

    ``sizes`` are those of ``parts``, unpacked; ``below`` is the number of the base's layers, ``files`` that
    of the project's segments. Segment 0 is the base, then come parts, files and what envpack adds. Raises
    :class:`BaseImageError` when the base leaves no room.
    """
    first = 1
    above = []
    if files:
        above.append(
            Group("envpack: files of the project", range(first + len(parts), first + len(parts) + files))
        )
    above.append(Group("envpack: entry point and history of the environment", [first + len(parts) + files]))
    room = MOST_LAYERS - below - len(above)
    if room < len({part.package.manager for part in parts}):
        raise BaseImageError(
            f"the base image has {below} layers, and no image can have more than {MOST_LAYERS}",
            hint="Choose another base, or build a .sif, which has no layers.",
        )
    order = _order(parts)
    for large, shared in _steps():
        found = _split(parts, sizes, order, large, shared)
        if len(found) <= room:
            break
    packages = [
        Group(f"envpack: {', '.join(parts[place].owner for place in places)}", [first + p for p in places])
        for places in found
    ]
    return [*packages, *above]


def _steps() -> Iterator[tuple[int, Mapping[str, int]]]:
    """From what is large, and how many layers are shared, the smallest size that is *large*, ever fewer."""
    for doubled in range(12):
        yield _LARGE << doubled, _SHARED
    for halved in count(1):
        yield 1 << 62, {manager: max(1, number >> halved) for manager, number in _SHARED.items()}


def _split(
    parts: Sequence[Part], sizes: Sequence[int], order: Sequence[int], large: int, shared: Mapping[str, int]
) -> list[list[int]]:
    """Positions among ``parts``, layer by layer."""
    found = []
    for manager, number in shared.items():
        buckets: list[list[int]] = [[] for _ in range(number)]
        for place in order:
            package = parts[place].package
            if package.manager == manager:
                if sizes[place] >= large:
                    found.append([place])
                else:
                    buckets[_hash(package.name) % number].append(place)
        found += [sorted(bucket, key=lambda place: parts[place].package.name) for bucket in buckets if bucket]
    return found


def _hash(name: str) -> int:
    """Halving the number of buckets joins two into one: it is a power of two."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _order(parts: Sequence[Part]) -> list[int]:
    """Python first, then what it needs, then the rest, each by name."""
    by_name = {part.package.name: part.package for part in parts if part.package.manager == "conda"}
    needed = with_dependencies("python", by_name)

    def rank(place: int) -> tuple[bool, bool, str]:
        name = parts[place].package.name
        return name != "python", name not in needed, name

    return sorted(range(len(parts)), key=rank)
