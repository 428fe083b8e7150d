"""A ``pixi.lock`` (formats 4 to 6) as a source: the default environment for one platform.

    environments:
      default:
        channels: [{url: https://conda.anaconda.org/conda-forge/}]
        packages:
          linux-64:
          - conda: https://conda.anaconda.org/conda-forge/linux-64/xz-5.2.6-h166bdaf_0.tar.bz2
          - pypi: https://…/rich-13.9.4-py3-none-any.whl
    packages:                             # details: name, version, hashes, dependencies
    - {kind: pypi, name: rich, version: 13.9.4, url: …}    # formats 4 and 5
    - {pypi: https://…, name: rich, version: 13.9.4}       # format 6

Format: https://pixi.sh/latest/workspace/lockfile/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources.listing import Listing, best_platform
from envpack.sources.lock_nodes import fields, items, text
from envpack.spec import EnvSpec
from envpack.yaml_nodes import at, compose

_VERSIONS = ("4", "5", "6")
_DEFAULT = "default"


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
    """The default environment in the lock ``source`` for one of the wanted ``platforms``, else for linux-64.

    The other arguments are as for :meth:`Listing.spec`. Raises :class:`SourceError`.
    """
    listing = Listing(shown, ledger, "lock", folder=path.parent if path else None)
    top = fields(compose(source, shown, SourceError))
    version = text(top.get("version"))
    if version not in _VERSIONS:
        raise SourceError(
            f"{shown} has version {version} of pixi's format",
            where=at(top["version"], shown) if "version" in top else Location(shown),
            why=f"envpack reads the versions {', '.join(_VERSIONS)}",
            hint="Lock the manifest: envpack lock pixi.toml",
        )
    environments = fields(top.get("environments"))
    chosen = _environment(listing, environments)
    environment = fields(environments.get(chosen))
    by_platform = fields(environment.get("packages"))
    platform = best_platform(list(by_platform), platforms)
    for other, node in by_platform.items():
        if other != platform:
            why = f"those for {platform} are taken, at their versions"
            listing.dropped(f"{len(items(node))} packages for {other}", at(node, shown), why)
    details = _details(items(top.get("packages")))
    for node in items(by_platform.get(platform or "")):
        _package(listing, fields(node), at(node, shown), details)
    channels = [text(fields(node).get("url")) or text(node) for node in items(environment.get("channels"))]
    return listing.spec(
        name=name,
        own=None if chosen == _DEFAULT else chosen,
        folder=folder,
        path=path,
        subdir=platform,
        order=[channel for channel in channels if channel],
    )


def _environment(listing: Listing, environments: dict[str, Any]) -> str:
    """The environment to read; the others are said."""
    if not environments:
        return _DEFAULT
    chosen = _DEFAULT if _DEFAULT in environments else next(iter(environments))
    if chosen != _DEFAULT:
        listing.ledger.add(
            Action.GUESSED,
            f"environment {chosen}",
            "there is none that is called default: the first is taken",
            where=at(environments[chosen], listing.shown),
        )
    for other, node in environments.items():
        if other != chosen:
            why = f"one image has one environment, and {chosen} is taken"
            remedy = f"For that one: pixi workspace export conda-environment -e {other} > environment.yml"
            listing.dropped(f"environment {other}", at(node, listing.shown), why, remedy)
    return chosen


def _details(packages: Sequence[Any]) -> dict[str, tuple[str | None, str | None]]:
    """Name and version by address, of pip's packages."""
    found = {}
    for node in packages:
        entry = fields(node)
        if address := text(entry.get("pypi")) or text(entry.get("url")) or text(entry.get("path")):
            found[address] = text(entry.get("name")), text(entry.get("version"))
    return found


def _package(
    listing: Listing,
    entry: dict[str, Any],
    where: Location,
    details: dict[str, tuple[str | None, str | None]],
) -> None:
    if conda := text(entry.get("conda")):
        listing.conda_url(conda, where)
    elif pypi := text(entry.get("pypi")):
        listing.pypi_url(pypi, where, *details.get(pypi, (None, None)))
    else:
        listing.needs_you("a package", where, "it is neither conda's nor pip's")
