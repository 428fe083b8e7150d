"""A ``pylock.toml`` (PEP 751), as pip, uv and PDM write it.

    lock-version = "1.0"
    requires-python = ">=3.9"

    [[packages]]
    name = "rich"
    version = "13.9.4"
    marker = "python_version >= '3.9'"
    wheels = [{url = "https://…", hashes = {sha256 = "…"}}]

Format: https://packaging.python.org/specifications/pylock-toml/.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Ledger
from envpack.sources.pip_lock import PipLock, places, table, tables, text
from envpack.sources.toml_text import Lines, parsed
from envpack.spec import EnvSpec


def read(
    source: str, *, shown: str, path: Path | None, name: str | None, folder: str, python: str | None,
    ledger: Ledger,
) -> EnvSpec:  # fmt: skip
    """The environment in the lock ``source``; the arguments are as for :meth:`PipLock.spec`, raises too."""
    data = parsed(source, shown)
    version = text(data.get("lock-version"))
    lines = Lines(source)
    if version.partition(".")[0] != "1":
        raise SourceError(
            f"{shown} has version {version or 'unknown'} of the format",
            where=Location(shown, lines.of(("lock-version",))),
            why="envpack reads version 1",
            hint="Write a list for pip: uv export -o requirements.txt",
        )
    lock = PipLock(shown, ledger, path.parent if path else None)
    packages = tables(data.get("packages"))
    for package, where in zip(packages, places(source, shown, "packages", len(packages)), strict=True):
        _package(lock, package, where)
    return lock.spec(
        name=name, folder=folder, path=path, python=python, requires=text(data.get("requires-python")),
        where=Location(shown, lines.of(("requires-python",))),
    )  # fmt: skip


def _package(lock: PipLock, package: Mapping[str, Any], where: Location) -> None:
    name, version = text(package.get("name")), text(package.get("version"))
    marker = text(package.get("marker"))
    if vcs := table(package.get("vcs")):
        address = text(vcs.get("url")) or text(vcs.get("path"))
        lock.listing.pypi_url(f"{text(vcs.get('type')) or 'git'}+{address}", where)
    elif "directory" in package:
        _path(lock, table(package["directory"]), where, name, marker)
    elif archive := table(package.get("archive")):
        if address := text(archive.get("url")):
            lock.listing.pypi_url(address, where, name, version)
        else:
            _path(lock, archive, where, name, marker)
    elif not name or not version:
        lock.listing.needs_you(name or "a package", where, "it has no version")
    else:
        lock.package(name, version, where, marker, text(package.get("index")))


def _path(lock: PipLock, entry: Mapping[str, Any], where: Location, name: str, marker: str) -> None:
    """A folder, or an archive, of this machine."""
    below = text(entry.get("subdirectory"))
    lock.path(text(entry.get("path")) + (f"/{below}" if below else ""), where, name, marker)
