"""The order in which packages are linked: it decides which file wins where two packages have the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from envpack.lockfile import LockedPackage


def link_order(packages: Iterable[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Dependencies before what depends on them, pip after conda, so that what wins is what wins there.

    Conda, and we, link first what neither needs nor is needed; then, round after round, all packages whose
    dependencies are linked, in alphabetical order. Where there is none (cycles), the one with the fewest
    left is next. ``conda/models/prefix_graph.py`` of conda.
    """
    ordered: list[LockedPackage] = []
    for manager in ("conda", "pip"):
        by_name = {p.name: p for p in packages if p.manager == manager}
        ordered += (by_name[name] for name in _rounds(by_name))
    return tuple(ordered)


def with_dependencies(name: str, by_name: Mapping[str, LockedPackage]) -> set[str]:
    """The names of a package and of all that it depends on, as far as they are among ``by_name``."""
    found: set[str] = set()
    queue = [name]
    while queue:
        if (name := queue.pop()) in by_name and name not in found:
            found.add(name)
            queue += by_name[name].dependencies
    return found


def _rounds(by_name: dict[str, LockedPackage]) -> Iterator[str]:
    left = {name: {d for d in p.dependencies if d in by_name} - {name} for name, p in by_name.items()}
    left.get("python", set()).discard("pip")  # conda's one exception
    needed_by: dict[str, list[str]] = {name: [] for name in left}
    for name, needs in left.items():
        for need in needs:
            needed_by[need].append(name)
    alone = sorted(name for name, needs in left.items() if not needs and not needed_by[name])
    yield from alone
    for name in alone:
        del left[name]
    following = {name for name, needs in left.items() if not needs}
    while left:
        following = following or {min(left, key=lambda name: (len(left[name]), name))}
        yield from sorted(following)
        for name in following:
            del left[name]
        ready = set()
        for name in following:
            for other in needed_by[name]:
                if other in left:
                    left[other].discard(name)
                    if not left[other]:
                        ready.add(other)
        following = ready
