"""A ``Pipfile.lock``: the packages of its default section.

    {"_meta": {"requires": {"python_version": "3.11"}, "sources": [{"url": "https://…", "name": "own"}]},
     "default": {"rich": {"version": "==13.9.4", "markers": "python_version >= '3.8'", "index": "own"}},
     "develop": {}}

Format: https://pipenv.pypa.io.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Ledger
from envpack.sources.lock_nodes import fields, items, text
from envpack.sources.pip_lock import PipLock
from envpack.spec import EnvSpec
from envpack.yaml_nodes import at, compose

_SECTIONS = ("_meta", "default")


def read(
    source: str, *, shown: str, path: Path | None, name: str | None, folder: str, python: str | None,
    ledger: Ledger,
) -> EnvSpec:  # fmt: skip
    """The environment in the lock ``source``; the arguments are as for :meth:`PipLock.spec`, raises too."""
    lock = PipLock(shown, ledger, path.parent if path else None)
    top = fields(compose(source, shown, SourceError))
    meta = fields(top.get("_meta"))
    indexes: dict[str, str] = {}
    for node in items(meta.get("sources")):
        if url := text(fields(node).get("url")):
            lock.index(url, at(node, shown))
            indexes[text(fields(node).get("name")) or url] = url
    for section, node in top.items():
        if section not in _SECTIONS:
            for package, entry in fields(node).items():
                why = f"it is of the section {section}, and the default one is taken"
                lock.listing.dropped(package, at(entry, shown), why)
    for package, entry in fields(top.get("default")).items():
        _package(lock, package, fields(entry), at(entry, shown), indexes)
    requires = fields(meta.get("requires"))
    node = requires.get("python_full_version") or requires.get("python_version")
    return lock.spec(
        name=name, folder=folder, path=path, python=python, requires=text(node),
        where=at(node, shown) if node is not None else None,
    )  # fmt: skip


def _package(
    lock: PipLock, name: str, entry: dict[str, Any], where: Location, indexes: Mapping[str, str]
) -> None:
    version = text(entry.get("version")) or ""
    if address := text(entry.get("git")):
        lock.listing.pypi_url(f"git+{address}", where)
    elif address := text(entry.get("path")):
        # Its key may be a hash.
        lock.path(address, where, marker=text(entry.get("markers")) or "")
    elif address := text(entry.get("file")):
        lock.listing.pypi_url(address, where, name, version.lstrip("="))
    elif not version:
        lock.listing.needs_you(name, where, "it has no version")
    else:
        index = indexes.get(text(entry.get("index")) or "", "")
        lock.package(name, version.lstrip("="), where, text(entry.get("markers")) or "", index)
