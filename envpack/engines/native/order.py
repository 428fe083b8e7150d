"""The order in which packages are linked: it decides which file wins where two packages have the same."""

from __future__ import annotations

from collections.abc import Iterable

from envpack.lockfile import LockedPackage


def link_order(packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Dependencies before what depends on them, names in alphabetical order otherwise, pip after conda.

    That is the order in which conda and pip would install them, so a later package's file replaces an
    earlier one's as it would there. Cycles (conda has some) are entered at the first name.
    """
    ordered: list[LockedPackage] = []
    for manager in ("conda", "pip"):
        ordered += _dependencies_first({p.name: p for p in packages if p.manager == manager})
    return tuple(ordered)


def _dependencies_first(by_name: dict[str, LockedPackage]) -> list[LockedPackage]:
    """Depth-first, without recursion: dependency chains can be longer than Python's stack."""
    ordered: list[LockedPackage] = []
    seen: set[str] = set()
    for start in sorted(by_name):
        stack = [(start, False)]
        while stack:
            name, finished = stack.pop()
            if finished:
                ordered.append(by_name[name])
            elif name not in seen:
                seen.add(name)
                stack.append((name, True))
                needed = (d for d in by_name[name].dependencies if d in by_name and d not in seen)
                stack.extend((dependency, False) for dependency in sorted(needed, reverse=True))
    return ordered
