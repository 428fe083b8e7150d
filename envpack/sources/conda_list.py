"""``conda list``, as a table, with ``--export`` and with ``--json``; mamba's and micromamba's, too.

    # packages in environment at /home/ada/miniconda3/envs/work:    # platform: linux-64
    #                                                               numpy=1.26.4=py311h64a7726_0
    # Name        Version   Build            Channel                rich=13.9.4=pypi_0
    numpy         1.26.4    py311h64a7726_0  conda-forge
    rich          13.9.4    pypi_0           pypi

The formats are conda's (conda/cli/main_list.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from envpack.errors import Location, SourceError
from envpack.ledger import Ledger
from envpack.sources import foreign_lines
from envpack.sources.installed import SUBDIR
from envpack.sources.listing import Listing
from envpack.spec import EnvSpec
from envpack.yaml_nodes import at, compose, scalar

_HEAD = re.compile(
    r"#? ?(?:packages in environment at |List of packages in environment: )\"?(?P<prefix>.+?)\"?:?\s*\Z"
)
_COLUMNS = re.compile(r"#?\s*Name\s+Version\s+Build", re.IGNORECASE)
_RULE = re.compile(r"[\s─—-]+\Z")
_PLATFORM = re.compile(r"#\s*platform:\s*(\S+)")
_COMMAND = re.compile(r".*[$>#%]\s*(?:conda|mamba|micromamba)\s+list\b")
_EXPORT = re.compile(r"(?P<name>[^=\s]+)=(?P<version>[^=\s]+)=(?P<build>[^=\s]+)\s*\Z")
_ROW = re.compile(r"\s*(?P<name>\S+)\s+(?P<version>[^\s=]+)\s+(?P<build>\S+)(?:\s+(?P<channel>\S+))?\s*\Z")
_ENVS = re.compile(r"[\\/]envs[\\/]([^\\/]+)[\\/]?\Z")
_NOT_ROWS = "it is no row of a list of packages"
_OWN_CODE = "Name a released version, or copy your own code into the image: [files] in envpack.toml."


def is_list(text: str) -> bool:
    """Whether ``text`` looks like a list of conda's: its head, or most of its lines."""
    if re.search(r"^(# packages in environment at |List of packages in environment: )", text, re.MULTILINE):
        return True
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    exported = sum(_EXPORT.match(line) is not None for line in lines)
    rows = sum(
        row is not None and row["version"][0].isdigit() and row["name"][0] not in "-[{"
        for row in map(_ROW.match, lines)
    )
    return bool(lines) and (exported > len(lines) / 2 or rows > len(lines) / 2)


def read(
    text: str, *, shown: str, path: Path | None, name: str | None, folder: str, ledger: Ledger
) -> EnvSpec:
    """The environment that ``text`` lists; the rest is as for :meth:`Listing.spec`, raises too."""
    listing = Listing(shown, ledger, problems=foreign_lines.problems(text, shown))
    if text.lstrip().startswith("["):
        prefix, subdir = None, _json(listing, text)
    else:
        prefix, subdir = _lines(listing, text)
    found = _ENVS.search(prefix) if prefix else None
    return listing.spec(
        name=name, own=found[1] if found else None, folder=folder, path=path, subdir=subdir, prefix=prefix
    )


def _lines(listing: Listing, text: str) -> tuple[str | None, str | None]:
    """Read a table or an export; gives prefix and platform if they are said."""
    prefix = subdir = None
    for number, line in enumerate(text.split("\n"), 1):
        where = Location(listing.shown, number)
        stripped = line.strip()
        if head := _HEAD.match(stripped):
            prefix = head["prefix"]
        elif platform := _PLATFORM.match(stripped):
            subdir = platform[1] if SUBDIR.match(platform[1]) else None
        elif not stripped or _RULE.match(stripped) or _COLUMNS.match(stripped):
            continue
        elif _COMMAND.match(stripped):
            if not stripped.startswith("#"):
                listing.dropped(stripped, where, "it is the command that wrote the list")
        elif stripped.startswith("#"):
            continue
        elif package := _EXPORT.match(stripped):
            _package(listing, stripped, where, package["name"], package["version"], package["build"], "")
        elif package := _ROW.match(stripped):
            shown = " ".join(stripped.split())
            channel = package["channel"] or "defaults"  # which the table leaves out
            _package(listing, shown, where, package["name"], package["version"], package["build"], channel)
        else:
            listing.needs_you(stripped, where, _NOT_ROWS)
    return prefix, subdir


def _package(
    listing: Listing, text: str, where: Location, name: str, version: str, build: str, channel: str
) -> None:
    if channel in ("<develop>", "<unknown>") or build in ("dev_0", "<develop>"):
        listing.needs_you(text, where, "it is installed from a folder of the machine of the list", _OWN_CODE)
    elif channel == "pypi" or build in ("pypi_0", "<pip>"):
        listing.pypi(text, where, name, version)
    elif channel.startswith(("file:", "/", "local")) and channel.rstrip("/").count("://") < 2:
        why = "its channel is a folder of the machine where the list was made"
        listing.needs_you(text, where, why, "Name a package that a channel has.")
    else:
        channel, subdir = _channel(channel)
        listing.conda(text, where, name, version, build, channel, subdir)


def _channel(written: str) -> tuple[str, str]:
    """Channel and subdir of a column such as ``conda-forge``, ``conda-forge/linux-64`` or an address."""
    head, _, last = written.rstrip("/").rpartition("/")
    if head and SUBDIR.match(last):
        return head, last
    return written.rstrip("/"), ""


def _json(listing: Listing, text: str) -> str | None:
    """Read ``--json``; gives the platform that most packages are for."""
    root = compose(text, listing.shown, SourceError)
    subdirs: list[str] = []
    for node in root.value if root is not None and root.id == "sequence" else []:
        where = at(node, listing.shown)
        fields = _texts(node)
        name, version, build = (fields.get(key, "") for key in ("name", "version", "build_string"))
        if not name or not version:
            listing.needs_you("an item of the list", where, _NOT_ROWS)
            continue
        channel, subdir = fields.get("channel", ""), fields.get("platform", "")
        if subdir not in ("", "noarch", "pypi"):
            subdirs.append(subdir)
        _package(listing, f"{name} {version} {build}", where, name, version, build, channel)
    return max(sorted(set(subdirs)), key=subdirs.count) if subdirs else None


def _texts(node: Any) -> dict[str, str]:
    if node.id != "mapping":
        return {}
    pairs = ((scalar(key), scalar(value)) for key, value in node.value)
    return {key: value for key, value in pairs if key is not None and value is not None}
