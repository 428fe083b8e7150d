"""A ``poetry.lock``: the packages of the main group.

    [[package]]
    name = "rich"
    version = "13.9.4"
    optional = false
    groups = ["main"]                     # since Poetry 2; before that category = "main", or nothing
    markers = "sys_platform == 'win32'"   # since Poetry 2

    [metadata]
    lock-version = "2.1"
    python-versions = "^3.10"

Format: https://python-poetry.org (poetry/packages/locker.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envpack.errors import Location
from envpack.ledger import Ledger
from envpack.sources.pip_lock import PipLock, places, table, tables, text
from envpack.sources.toml_text import Lines, parsed
from envpack.spec import EnvSpec

_MAIN = "main"


def read(
    source: str, *, shown: str, path: Path | None, name: str | None, folder: str, python: str | None,
    ledger: Ledger,
) -> EnvSpec:  # fmt: skip
    """The environment in the lock ``source``; the arguments are as for :meth:`PipLock.spec`, raises too."""
    data = parsed(source, shown)
    lock = PipLock(shown, ledger, path.parent if path else None)
    packages = tables(data.get("package"))
    seen: set[str] = set()
    for package, where in zip(packages, places(source, shown, "package", len(packages)), strict=True):
        _package(lock, package, where, seen)
    return lock.spec(
        name=name, folder=folder, path=path, python=python,
        requires=text(table(data.get("metadata")).get("python-versions")),
        where=Location(shown, Lines(source).of(("metadata", "python-versions"))),
    )  # fmt: skip


def _package(lock: PipLock, package: Mapping[str, Any], where: Location, seen: set[str]) -> None:
    name, version = text(package.get("name")), text(package.get("version"))
    label = f"{name} {version}".strip() or "a package"
    groups = package.get("groups", [text(package.get("category")) or _MAIN])
    source = table(package.get("source"))
    address, kind = text(source.get("url")), text(source.get("type"))
    marker = package.get("markers", "")
    if isinstance(marker, dict):  # one a group
        marker = marker.get(_MAIN, "")
    if not isinstance(groups, list) or _MAIN not in groups:
        named = ", ".join(str(group) for group in groups) if isinstance(groups, list) else str(groups)
        lock.listing.dropped(label, where, f"it is of the group {named}, and the main one is taken")
    elif package.get("optional") is True:
        lock.listing.dropped(label, where, "it is of an extra, and only what is always needed is taken")
    elif kind == "git":
        lock.listing.pypi_url(f"git+{address}", where)
    elif kind in ("directory", "file"):
        lock.path(address, where, name, text(marker))
    elif kind == "url":
        lock.listing.pypi_url(address, where, name, version)
    elif not name or not version:
        lock.listing.needs_you(label, where, "it has no name and version")
    elif not marker and canonicalize_name(name) in seen:
        why = "another version is taken: which of them is for which python, the lock does not say"
        lock.listing.dropped(label, where, why, "Lock again with Poetry 2, which says it.")
    else:
        seen.add(canonicalize_name(name))
        lock.package(name, version, where, text(marker), address if kind == "legacy" else "")
