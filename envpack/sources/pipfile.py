"""A ``Pipfile``: what a project needs at run time, from pip.

    [[source]]
    url = "https://pypi.example.org/simple"
    name = "own"

    [packages]
    rich = ">=13"
    uvicorn = {version = "*", extras = ["standard"], markers = "os_name == 'posix'"}

    [requires]
    python_version = "3.11"

Format: https://pipenv.pypa.io.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envpack.errors import Location, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources.manifest import Manifest
from envpack.sources.pip_freeze import SYSTEM
from envpack.sources.pip_lock import PipLock, table, tables, text
from envpack.sources.requirements import read_lines
from envpack.sources.toml_text import parsed
from envpack.sources.urls import without_secrets
from envpack.spec import EnvSpec, OwnIndex, PipOptions, Requirement

_ELSEWHERE = ("git", "hg", "svn", "path", "file")
_MARKERS = ("os_name", "sys_platform", "platform_machine", "platform_system", "python_version")
_TAKEN = {"packages", "source", "requires"}


def read(
    source: str, *, shown: str, path: Path | None, directory: Path, name: str | None, folder: str,
    python: str | None, ledger: Ledger,
) -> EnvSpec:  # fmt: skip
    """The environment that the Pipfile ``source`` asks for.

    ``name`` is the user's, ``folder`` a valid last resort; ``python`` a version, or ``system`` for that of
    the base image's distribution. Raises :class:`SourceError` with all problems.
    """
    data = parsed(source, shown)
    manifest = Manifest(source, shown, ledger, directory)
    sources = PipLock(shown, ledger)
    indexes: dict[str, str] = {}
    for one in tables(data.get("source")):
        sources.index(text(one.get("url")), manifest.at("source"))
        indexes[text(one.get("name"))] = text(one.get("url"))
    manifest.problems += sources.listing.problems
    manifest.lines.options = PipOptions(extra_index_urls=tuple(sources.indexes))
    packages = manifest.table(data, ("packages",))
    if not packages and not manifest.problems:
        raise SourceError(
            f"{shown} asks for no packages", hint="Name another source, or list them under packages."
        )
    for package, value in packages.items():
        _package(manifest, package, value, indexes)
    for section, value in data.items():
        if section not in _TAKEN:
            reason = "only what the project always needs is taken"
            manifest.drop((section,), value, (), reason, "Copy what is needed of it to packages.")
    if python != SYSTEM:
        _python(manifest, text(table(data.get("requires")).get("python_full_version"))
                or text(table(data.get("requires")).get("python_version")), python)  # fmt: skip
    own = manifest.name(None, ("packages",), name, folder)
    return manifest.spec(own, path, system_python=python == SYSTEM)


def _package(manifest: Manifest, name: str, value: object, indexes: Mapping[str, str]) -> None:
    entry = value if isinstance(value, dict) else {"version": value}
    key = ("packages", name)
    extras, marker = entry.get("extras", []), _marker(entry)
    if isinstance(path := entry.get("path"), str) and isinstance(extras, list):
        label = f"{name} = {{path = {without_secrets(path)!r}}}"
        manifest.local(key, label, path, name, [str(extra) for extra in extras], marker)
        return
    place = next((place for place in _ELSEWHERE if place in entry), None)
    if place:
        why = "it is from no index, and the image is made of finished packages only"
        label = f"{name} = {{{place} = {without_secrets(str(entry[place]))!r}}}"
        manifest.say(
            Action.NEEDS_YOU, key, label, why, "Name a released version, or put a wheel on an index."
        )
        return
    version = text(entry.get("version", "*")).strip()
    if not version or not isinstance(extras, list):
        manifest.wrong(key, f"{name} has no version that is a text")
        return
    version = "" if version == "*" else f"=={version}" if version[0].isdigit() else version
    options = manifest.lines.options
    if (url := indexes.get(text(entry.get("index")), "")) in options.extra_index_urls:
        own = OwnIndex(canonicalize_name(name), url, marker)
        manifest.lines.options = replace(options, own_indexes=(*options.own_indexes, own))
    bracket = f"[{','.join(str(extra) for extra in extras)}]" if extras else ""
    line = f"{name}{bracket}{version}" + (f" ; {marker}" if marker else "")
    read_lines(manifest.lines, [(re.sub(r"\s+", " ", line), manifest.at(*key))])


def _marker(entry: Mapping[str, Any]) -> str:
    """The condition under which an entry is asked for; empty: always."""
    markers = [f"({found})" for found in [text(entry.get("markers"))] if found]
    markers += [f"{marker} {text(entry[marker])}" for marker in _MARKERS if marker in entry]
    return " and ".join(markers)


def _python(manifest: Manifest, required: str, chosen: str | None) -> None:
    where: Location = manifest.at("requires")
    label = f"python {required}"
    if chosen is not None:
        manifest.conda["python"] = Requirement(f"python ={chosen}")
        if required:
            why = f"--python {chosen} is asked for"
            manifest.ledger.add(Action.REPLACED, label, why, where=where)
    elif re.match(r"\d+(\.\d+)*\Z", required):
        manifest.ledger.add(Action.KEPT, label, "as it is written", where=where)
        manifest.conda["python"] = Requirement(f"python ={required}", where)
    else:
        manifest.conda["python"] = Requirement("python")
