"""What is installed in a prefix: conda's records, and the packages that pip added.

    conda-meta/NAME-VERSION-BUILD.json          conda's, mamba's, rattler's and envpack's record of a package
    conda-meta/history                          what was asked for, among others
    lib/python3.N/site-packages/*.dist-info/    a python package, conda's or pip's

Formats: https://github.com/conda/schemas (prefix-record) and
https://packaging.python.org/specifications/recording-installed-packages/. A ``dist-info`` that a record lists
among its files is conda's, any other one is pip's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envpack.entry import is_safe_path
from envpack.errors import Location, Problem, SourceError
from envpack.sources.local_package import find as find_local
from envpack.sources.rooted import Rooted, problem
from envpack.spec import LocalPackage

MAX_RECORDS = 10_000
MAX_RECORD = 64 << 20  # the files of the largest packages, with their hashes, are some 10 MiB
MAX_TEXT = 4 << 20
NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}\Z")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.!+-]{0,127}\Z")
BUILD = re.compile(r"[A-Za-z0-9_.+]{1,128}\Z")
SUBDIR = re.compile(r"(noarch|(linux|osx|win|freebsd|zos|emscripten|wasi)-[a-z0-9_]+)\Z")
# Directly in site-packages: what projects bring along in folders of their own is not installed.
_METADATA = re.compile(
    r"(?P<folder>lib/(?:python|pypy)[0-9.]+t?/site-packages/"
    r"(?P<name>[^/]+?)(?:-[^/-]+)?(?:-py3\.[0-9]+)?\.(?:dist-info|egg-info))"
    r"(?:/METADATA|/PKG-INFO|/direct_url\.json)?\Z"
)
_SEPARATOR = re.compile(r"[\s=<>!~\[]")  # between the name and the rest of a match spec
_FIELD = re.compile(r"^(Name|Version)[ \t]*:[ \t]*(\S+)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_EGG = {"setup.py": True}
_UPDATE_SPECS = re.compile(r"^# (?:update|install|update/install) specs: (.*)$", re.MULTILINE)
_SPEC_NAME = re.compile(r"['\"](?:[^'\"]*::)?([A-Za-z0-9_.-]+)")


@dataclass(frozen=True, slots=True)
class CondaPackage:
    """One conda package. ``channel`` is an address or a name as recorded, without the subdir.

    ``projects`` maps the python projects in it (normalised names) to the folders of their metadata in the
    prefix, ``metadata`` are the files of these; ``depends`` are names.
    """

    name: str
    version: str
    build: str
    subdir: str
    channel: str
    where: Location
    depends: frozenset[str] = frozenset()
    projects: Mapping[str, str] = field(default_factory=dict)
    metadata: frozenset[str] = frozenset()
    asked: bool = False
    site_packages: str | None = None


@dataclass(frozen=True, slots=True)
class PipPackage:
    """One package that pip installed; ``origin`` is its ``direct_url.json`` if it is from no index."""

    name: str
    version: str
    where: Location
    asked: bool = False
    origin: Mapping[str, Any] | None = None


def conda_packages(root: Rooted, prefix: str, problems: list[Problem]) -> list[CondaPackage]:
    """The records in ``conda-meta``, sorted by name; what cannot be used goes into ``problems``."""
    folder = f"{prefix}/conda-meta"
    try:
        names = [name for name in root.names(folder) if name.endswith(".json") and not name.startswith(".")]
    except SourceError as error:
        problems.append(problem(error))
        return []
    if len(names) > MAX_RECORDS:
        problems.append(Problem(f"there are more than {MAX_RECORDS} records", root.at(folder)))
        return []
    found: dict[str, CondaPackage] = {}
    for name in names:
        path = f"{folder}/{name}"
        try:
            package = _conda_package(root.read_object(path, MAX_RECORD), root.at(path))
        except SourceError as error:
            problems.append(problem(error))
            continue
        if other := found.get(package.name):
            problems.append(
                Problem(
                    f"{package.name} is recorded twice",
                    package.where,
                    why=f"as {other.version} {other.build} and as {package.version} {package.build}",
                    hint=f"Install it again: conda install --force-reinstall {package.name}",
                )
            )
        found[package.name] = package
    return [found[name] for name in sorted(found)]


def asked_names(root: Rooted, prefix: str) -> frozenset[str]:
    """The names in the specs of ``conda-meta/history``, none where it cannot be read."""
    try:
        text = root.read(f"{prefix}/conda-meta/history", MAX_TEXT).decode("utf-8", "replace")
    except SourceError:
        return frozenset()
    specs = " ".join(match[1] for match in _UPDATE_SPECS.finditer(text))
    return frozenset(name.lower() for name in _SPEC_NAME.findall(specs))


def site_packages(root: Rooted, prefix: str, python: str, recorded: str | None = None) -> str | None:
    """The path below ``prefix`` of the packages of ``python`` (``3.11``), if there is one.

    ``recorded`` is what python's own record says (CEP 17), as free-threaded ones do.
    """
    usual = (f"lib/python{python}/site-packages", f"lib/pypy{python}/site-packages")
    for path in (recorded, *usual) if recorded and is_safe_path(recorded) else usual:
        if root.has_folder(f"{prefix}/{path}"):
            return path
    return None


def pip_packages(
    root: Rooted, prefix: str, site: str, owned: frozenset[str], problems: list[Problem]
) -> tuple[list[PipPackage], frozenset[str]]:
    """The packages in ``site`` whose metadata are not among the paths ``owned``, sorted by name.

    Gives as well all folders of metadata there, conda's too, as paths below the prefix.
    """
    try:
        names = root.names(f"{prefix}/{site}")
    except SourceError as error:
        problems.append(problem(error))
        return [], frozenset()
    found: dict[str, PipPackage] = {}
    folders = set()
    for name in names:
        folder = f"{site}/{name}"
        if name.endswith((".egg-link", ".egg")):
            own = name.partition("-")[0].partition(".egg")[0]
            found[f"{own} (egg)"] = PipPackage(own, "", root.at(f"{prefix}/{folder}"), origin=_EGG)
        # A ~ in front is what an interrupted pip leaves behind: no package for pip either.
        if not name.endswith((".dist-info", ".egg-info")) or name.startswith("~"):
            continue
        folders.add(folder)
        try:
            package = _pip_package(root, prefix, folder, owned)
        except SourceError as error:
            problems.append(problem(error))
            continue
        if package is None:
            continue
        if other := found.get(package.name):
            problems.append(
                Problem(
                    f"{package.name} is there twice",
                    package.where,
                    why=f"as {other.version} ({other.where}) and as {package.version}",
                    hint=f"Install it again: pip install --force-reinstall {package.name}",
                )
            )
        found[package.name] = package
    return [found[name] for name in sorted(found)], frozenset(folders)


def local_package(package: PipPackage) -> LocalPackage | None:
    """The folder or file on this machine that ``package`` was installed from, if that can still be built."""
    url = (package.origin or {}).get("url")
    if not isinstance(url, str) or not url.startswith("file:"):
        return None
    text = f"{package.name} {package.version}"
    found = find_local(url, Path("/"))
    if not isinstance(found, LocalPackage):
        return None
    return replace(found, text=text, name=package.name, where=package.where)


def _conda_package(record: dict[str, Any], where: Location) -> CondaPackage:
    name, version = _word(record, "name", NAME, where), _word(record, "version", VERSION, where)
    url = record.get("url")
    channel, subdir = _split(url if isinstance(url, str) and "://" in url else record.get("channel"))
    subdir = record.get("subdir") or subdir
    if not isinstance(subdir, str) or not SUBDIR.match(subdir):
        raise SourceError(f"{name}: the record does not say for which platform it is", where=where)
    if not channel or channel == "<unknown>":
        raise SourceError(f"{name}: the record does not say where it is from", where=where)
    projects, metadata = _projects(_texts(record.get("files")))
    requested = [record.get("requested_spec"), *_texts(record.get("requested_specs"))]
    site = record.get("python_site_packages_path")
    return CondaPackage(
        name=name,
        version=version,
        build=_word(record, "build", BUILD, where),
        subdir=subdir,
        channel=channel,
        where=where,
        depends=frozenset(_SEPARATOR.split(text, maxsplit=1)[0] for text in _texts(record.get("depends"))),
        projects=projects,
        metadata=metadata,
        asked=any(spec and spec != "None" for spec in requested),
        site_packages=site if isinstance(site, str) else None,
    )


def _word(record: dict[str, Any], key: str, pattern: re.Pattern[str], where: Location) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not pattern.match(value):
        shown = repr(value)[:80]
        raise SourceError(f"{shown} cannot be the {key} of a package", where=where)
    return value


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _split(address: object) -> tuple[str, str]:
    """A channel's address and the subdir, of the URL of a package or of the channel that a record names."""
    if not isinstance(address, str):
        return "", ""
    address = re.split(r"[?#]", address, maxsplit=1)[0].rstrip("/")
    head, _, last = address.rpartition("/")
    if last.endswith((".conda", ".tar.bz2")):
        head, _, last = head.rpartition("/")
    elif not head or not SUBDIR.match(last):
        return address, ""
    return head, last


def _projects(files: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    projects: dict[str, str] = {}
    metadata = set()
    for path in files:
        if match := _METADATA.match(path):
            metadata.add(path)
            projects[canonicalize_name(match["name"])] = match["folder"]
    return projects, frozenset(metadata)


def _pip_package(root: Rooted, prefix: str, folder: str, owned: frozenset[str]) -> PipPackage | None:
    """The package of the metadata ``folder`` if it is pip's."""
    path = f"{prefix}/{folder}"
    origin = f"{folder}/direct_url.json"
    # conda's own packages may say which file they were built from; what pip says later is no file of conda's.
    from_elsewhere = origin not in owned and root.has(f"{prefix}/{origin}")
    if not from_elsewhere and not owned.isdisjoint((folder, f"{folder}/METADATA", f"{folder}/PKG-INFO")):
        return None
    if folder.endswith(".dist-info"):
        path += "/METADATA"
    elif root.has_folder(path):
        path += "/PKG-INFO"
    text = root.read(path, MAX_TEXT).decode("utf-8", "replace")
    header = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    fields = {match[1].title(): match[2] for match in _FIELD.finditer(header)}
    name = canonicalize_name(fields.get("Name", ""))
    try:
        version = str(Version(fields.get("Version", "")))
    except InvalidVersion:
        version = ""
    if not version or not NAME.match(name):
        raise SourceError(
            "the metadata do not say name and version of the package",
            where=root.at(path),
            hint="Remove or install again what this folder belongs to.",
        )
    return PipPackage(
        name,
        version,
        root.at(f"{prefix}/{folder}"),
        asked=root.has(f"{prefix}/{folder}/REQUESTED"),
        origin=root.read_object(f"{prefix}/{origin}", MAX_TEXT) if from_elsewhere else None,
    )
