"""Which python modules an environment was asked for: the image's own test imports them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from envpack.lockfile import LockedPackage

# Top-level folders that projects ship by accident or for their own use.
_NOT_THE_PACKAGE = frozenset({"test", "tests", "doc", "docs", "example", "examples", "bin", "benchmarks"})


def top_level_modules(paths: Iterable[str], site_packages: str) -> frozenset[str]:
    """Public packages and modules directly below ``site_packages`` (a path in the image) among ``paths``."""
    start = site_packages + "/"
    found = set()
    for path in paths:
        if not path.startswith(start):
            continue
        first, slash, rest = path[len(start) :].partition("/")
        if slash and (rest == "__init__.py" or (rest.startswith("__init__.") and rest.endswith(".so"))):
            found.add(first)
        elif not slash and first.endswith((".py", ".so")):
            found.add(first.partition(".")[0])
    return frozenset(
        name
        for name in found
        if name.isidentifier() and not name.startswith("_") and name not in _NOT_THE_PACKAGE
    )


def requested_modules(
    requested: Iterable[str],
    packages: Mapping[str, LockedPackage],
    modules: Callable[[str], frozenset[str]],
) -> tuple[str, ...]:
    """The modules to import, sorted, for tokens like ``conda:numpy``.

    ``packages`` are by such tokens, and ``modules`` gives what :func:`top_level_modules` finds in the package
    of one. A package whose name is a module's name is tested by that
    module; one without modules (a metapackage such as matplotlib) by a dependency named after it; a
    package without python code by nothing.
    """
    chosen: set[str] = set()
    for asked in requested:
        if asked not in packages or asked == "conda:python":
            continue
        manager, _, name = asked.partition(":")
        candidates = modules(asked)
        if not candidates:
            for dependency in packages[asked].dependencies:
                if dependency.startswith(name):
                    candidates |= modules(f"{manager}:{dependency}")
        wanted = _folded(name)
        exact = {module for module in candidates if _folded(module) == wanted}
        chosen |= exact or candidates
    return tuple(sorted(chosen))


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_").replace(".", "_")
