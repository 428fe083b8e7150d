"""A ``conda-lock.yml`` (format 1) as a source: the packages of one of its platforms.

    metadata: {channels: [{url: conda-forge}], platforms: [linux-64, osx-arm64]}
    package:
    - {name: xz, version: 5.2.6, manager: conda, platform: linux-64, category: main, url: https://…/xz-….conda}

Format: https://github.com/conda/conda-lock (conda_lock/lockfile/v1/models.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Ledger
from envpack.sources.listing import Listing, best_platform
from envpack.sources.lock_nodes import fields, items, text
from envpack.spec import EnvSpec
from envpack.yaml_nodes import at, compose

_CATEGORIES = ("main", "dev")  # what conda-lock install takes unless it is told otherwise
_NAME = "envpack.name"
_VARIABLE = "envpack.variable."


def read(
    source: str,
    *,
    shown: str,
    path: Path | None,
    name: str | None,
    folder: str,
    platforms: Sequence[str],
    ledger: Ledger,
) -> EnvSpec:
    """The environment in the lock ``source`` for one of the wanted ``platforms``, else for linux-64.

    The other arguments are as for :meth:`Listing.spec`. Raises :class:`SourceError`.
    """
    listing = Listing(shown, ledger, "lock")
    root = compose(source, shown, SourceError)
    top = fields(root)
    version = text(top.get("version"))
    if version != "1":
        raise SourceError(
            f"{shown} has version {version} of conda-lock's format",
            where=at(top["version"], shown) if "version" in top else Location(shown),
            why="envpack reads version 1, which conda-lock writes since 2021",
            hint="Write it again: conda-lock lock",
        )
    metadata = fields(top.get("metadata"))
    packages = items(top.get("package"))
    there = list(dict.fromkeys(p for node in packages if (p := text(fields(node).get("platform")))))
    chosen = best_platform(there, platforms)
    _others(listing, packages, chosen)
    for node in packages:
        entry = fields(node)
        if text(entry.get("platform")) == chosen:
            _package(listing, entry, at(node, shown))
    custom = {key: text(value) or "" for key, value in fields(metadata.get("custom_metadata")).items()}
    channels = [text(fields(node).get("url")) for node in items(metadata.get("channels"))]
    return listing.spec(
        name=name,
        own=custom.get(_NAME),
        folder=folder,
        path=path,
        subdir=chosen,
        order=[channel for channel in channels if channel],
        variables={k.removeprefix(_VARIABLE): v for k, v in custom.items() if k.startswith(_VARIABLE)},
    )


def _others(listing: Listing, packages: Sequence[Any], chosen: str | None) -> None:
    """Say which platforms are left out."""
    others: Counter[str] = Counter()
    first: dict[str, Any] = {}
    for node in packages:
        platform = text(fields(node).get("platform")) or "no platform"
        if platform != chosen:
            others[platform] += 1
            first.setdefault(platform, node)
    for platform, count in others.items():
        listing.dropped(
            f"{count} packages for {platform}",
            at(first[platform], listing.shown),
            f"those for {chosen} are taken, at their versions",
        )


def _package(listing: Listing, entry: dict[str, Any], where: Location) -> None:
    name, version = text(entry.get("name")) or "", text(entry.get("version")) or ""
    url, manager = text(entry.get("url")) or "", text(entry.get("manager"))
    category = text(entry.get("category")) or "main"
    label = f"{name} {version}".strip() or "a package"
    if category not in _CATEGORIES:
        listing.dropped(
            label,
            where,
            f"it is of the category {category}",
            "Write it into the main dependencies, lock again.",
        )
    elif manager == "conda":
        listing.conda_url(url, where)
    elif manager == "pip":
        listing.pypi_url(url, where, name, version)
    else:
        listing.needs_you(label, where, f"it is for the package manager {manager}")
