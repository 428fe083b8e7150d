"""A ``uv.lock``: what the project at its root always needs.

    version = 1
    requires-python = ">=3.10"

    [[package]]
    name = "study"
    source = { editable = "." }           # the project itself; virtual: it is no package
    dependencies = [{ name = "rich" }, { name = "colorama", marker = "sys_platform == 'win32'" }]

    [[package]]
    name = "rich"
    version = "13.9.4"
    source = { registry = "https://…/simple" }

Which package is for which system stands where it is needed. uv's manual has no description of the format:
https://github.com/astral-sh/uv (crates/uv-resolver/src/lock).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Ledger
from envpack.sources import local_package
from envpack.sources.pip_lock import PipLock, places, table, tables, text
from envpack.sources.toml_text import Lines, parsed
from envpack.spec import EnvSpec, LocalPackage

_LONGEST = 2_000  # of a marker, which is then as good as none
_MOST = 20  # markers of a package, and versions of it
_PATHS = ("editable", "directory", "path")
Package = Mapping[str, Any]


def read(
    source: str, *, shown: str, path: Path | None, name: str | None, folder: str, python: str | None,
    ledger: Ledger,
) -> EnvSpec:  # fmt: skip
    """The environment in the lock ``source``; the arguments are as for :meth:`PipLock.spec`, raises too."""
    data = parsed(source, shown)
    lines = Lines(source)
    if data.get("version") != 1:
        raise SourceError(
            f"{shown} has version {str(data.get('version'))[:20]} of uv's format",
            where=Location(shown, lines.of(("version",))),
            why="envpack reads version 1",
            hint="Write a list for pip: uv export --no-hashes -o requirements.txt",
        )
    lock = PipLock(shown, ledger, path.parent if path else None)
    packages = tables(data.get("package"))
    roots = [p for p in packages if "." in (_source(p).get("virtual"), _source(p).get("editable"))]
    markers = _needed(packages, roots)
    for number, where in enumerate(places(source, shown, "package", len(packages))):
        _package(lock, packages[number], where, markers.get(number) if roots else {""}, roots)
    return lock.spec(
        name=name, own=text(roots[0].get("name")) if roots else None, folder=folder, path=path,
        python=python, requires=text(data.get("requires-python")),
        where=Location(shown, lines.of(("requires-python",))),
    )  # fmt: skip


def _package(
    lock: PipLock, package: Package, where: Location, markers: set[str] | None, roots: list[Package]
) -> None:  # fmt: skip
    name, version = text(package.get("name")), text(package.get("version"))
    label = f"{name} {version}".strip() or "a package"
    source = _source(package)
    joined = "" if not markers or "" in markers else " or ".join(f"({marker})" for marker in sorted(markers))
    joined = joined if len(joined) <= _LONGEST else ""
    if any(package is root for root in roots):
        _root(lock, name, where, text(source.get("editable")))
    elif markers is None:
        lock.listing.dropped(label, where, "only extras or groups of the project need it")
    elif "git" in source:
        lock.listing.pypi_url(f"git+{text(source['git'])}", where)
    elif "url" in source:
        lock.listing.pypi_url(text(source["url"]), where, name, version)
    elif "virtual" in source:
        lock.listing.dropped(label, where, "it is no package: uv installs what it needs alone")
    elif path := next((text(source[kind]) for kind in _PATHS if kind in source), None):
        lock.path(path, where, name, joined)
    elif not name or not version:
        lock.listing.needs_you(label, where, "it has no name and version")
    else:
        lock.package(name, version, where, joined, text(source.get("registry")))


def _root(lock: PipLock, name: str, where: Location, path: str) -> None:
    """The project itself: uv installs it, and so does an image, where it is a package and is there."""
    there = path and lock.folder and local_package.at(path, lock.folder)
    if isinstance(there, LocalPackage):
        lock.path(path, where, name)
    else:
        why = "it is no package" if not path else "its source is not beside the lock"
        lock.listing.dropped(
            f"the project {name} itself", where, f"{why}: its code can stay outside the image"
        )


def _source(package: Package) -> Mapping[str, Any]:
    return table(package.get("source"))


def _needed(packages: list[Package], roots: list[Package]) -> dict[int, set[str]]:
    """The packages that ``roots`` need, by number, and the markers they are needed with; ``""``: always.

    What a package that has a marker needs itself has the same one, or its own.
    """
    by_name: dict[tuple[str, str], list[int]] = {}
    for number, package in enumerate(packages):
        package_name = text(package.get("name"))
        for version in ("", text(package.get("version"))):
            same = by_name.setdefault((package_name, version), [])
            if len(same) < _MOST:
                same.append(number)
    found: dict[int, set[str]] = {}
    seen: set[tuple[int, str, str]] = set()
    ahead = [
        (number, "", "") for number, p in enumerate(packages) if any(p is root for root in roots)
    ]  # number, extra, marker
    while ahead:
        number, extra, marker = one = ahead.pop()
        if one in seen:
            continue
        seen.add(one)
        package = packages[number]
        optional = table(package.get("optional-dependencies")).get(extra)
        for edge in tables(optional if extra else package.get("dependencies")):
            own = text(edge.get("marker")) or marker
            for other in by_name.get((text(edge.get("name")), text(edge.get("version"))), []):
                markers = found.setdefault(other, set())
                if "" in markers or len(markers) >= _MOST:
                    own = ""
                markers.add(own)
                extras = edge.get("extra")
                wanted = [text(item) for item in extras] if isinstance(extras, list) else []
                ahead += [(other, part, own) for part in ("", *wanted)]
    return found
