"""Reading a lock: everything that is wrong with it, each thing with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from envpack.errors import Location, LockError, Problem, SourceError, UsageError
from envpack.lockfile.model import KEY, PACKAGE, VERSION, BuildPins, LockedPackage, Lockfile, Manager
from envpack.yaml_nodes import at, compose, is_null, scalar

_ANEW = "Run `envpack lock` to write it anew."
_MAX_BYTES = 4 << 20  # one package takes some 400 bytes
_URL = re.compile(r"https?://[!-~]+/[A-Za-z0-9_][A-Za-z0-9_.+!%=~-]{0,239}(?:[?#][!-~]*)?\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def read(path: Path) -> Lockfile:
    """Read a conda-lock v1 file.

    Raises :class:`LockError` when it is absent or no such file, and with all packages that are described
    wrongly or without a sha256.
    """
    shown = str(path)
    root = compose(_text(path), shown, LockError, _ANEW)
    try:
        top = _mapping(root, "the file")
        if (version := _field(root, top, "version")) != "1":
            raise _Wrong(top["version"], f"the lock has format version {version}, and envpack reads 1")
        return _lockfile(root, top, shown)
    except _Wrong as wrong:
        where = at(wrong.node, shown) if wrong.node is not None else Location(shown)
        raise LockError(
            "this is not a lock that envpack can use", where=where, why=wrong.what, hint=_ANEW
        ) from None


class _Wrong(Exception):
    """What is wrong at a node of the file."""

    def __init__(self, node: Any, what: str) -> None:
        super().__init__(what)
        self.node, self.what = node, what


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise LockError(f"there is no lock {path}", hint="Run `envpack lock` first.") from None
    except OSError as error:
        raise LockError(f"cannot read the lock {path}", why=error.strerror, hint=_ANEW) from error
    if len(data) > _MAX_BYTES:
        raise LockError(f"the lock {path} is larger than {_MAX_BYTES >> 20} MiB", hint=_ANEW)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LockError("not valid UTF-8", where=Location(str(path), line), hint=_ANEW) from None


def _lockfile(root: Any, top: dict[str, Any], shown: str) -> Lockfile:
    """The model of a composed file; lets :class:`_Wrong` through."""
    head = _child(root, top, "metadata")
    metadata = _mapping(head, "metadata")
    platforms = [
        _scalar(n, "a platform") for n in _sequence(_child(head, metadata, "platforms"), "platforms")
    ]
    packages: dict[tuple[str, str, str], LockedPackage] = {}
    problems = []
    for node in _sequence(_child(root, top, "package"), "package"):
        try:
            package = _package(node, platforms)
            key = (package.platform, package.manager, package.name)
            if key in packages:
                raise _Wrong(node, f"{_label(package)} is listed twice")
            packages[key] = package
        except _Wrong as wrong:
            problems.append(Problem(wrong.what, at(wrong.node, shown)))
    if problems:
        raise LockError("the lock describes packages wrongly", problems=problems, hint=_ANEW)
    channels = _sequence(_child(head, metadata, "channels"), "channels")
    pins = _pins(metadata.get("custom_metadata"), platforms)
    for platform, pin in pins.platforms.items() if pins else ():
        for wheel in pin.wheels:
            if packages.setdefault((platform, "pip", wheel.name), wheel.locked(platform)).url:
                raise _Wrong(head, f"{wheel.name} is both carried along and listed")
    return Lockfile(
        tuple(platforms),
        tuple(_field(c, _mapping(c, "a channel"), "url") for c in channels),
        _texts(_child(head, metadata, "content_hash"), "content_hash"),
        tuple(packages.values()),
        pins,
    )


def _package(node: Any, platforms: Sequence[str]) -> LockedPackage:
    """One item of ``package``; raises :class:`_Wrong`."""
    fields = _mapping(node, "a package")
    name, version = _field(node, fields, "name"), _field(node, fields, "version")
    if not PACKAGE.match(name):
        raise _Wrong(fields["name"], f"{name!r} cannot be the name of a package")
    if not VERSION.match(version):
        raise _Wrong(fields["version"], f"{version!r} cannot be the version of a package")
    platform, manager = _field(node, fields, "platform"), _field(node, fields, "manager")
    if platform not in platforms:
        raise _Wrong(fields["platform"], f"{name} is for {platform!r}, which is no platform of the lock")
    if manager not in ("conda", "pip"):
        raise _Wrong(fields["manager"], f"{name} is for the package manager {manager!r}")
    url = _field(node, fields, "url")
    if not _URL.match(url):
        raise _Wrong(fields["url"], f"the URL of {name} is not that of a package on an http(s) server")
    hashes = _mapping(_child(node, fields, "hash"), f"the hash of {name}")
    checksums = {key: _scalar(value, key) for key, value in hashes.items() if not is_null(value)}
    if "sha256" not in checksums:
        raise _Wrong(fields["hash"], f"{name} has no sha256, so its bytes cannot be checked")
    if not _SHA256.match(checksums["sha256"]):
        raise _Wrong(hashes["sha256"], f"the sha256 of {name} is not one: 64 digits and letters from a to f")
    return LockedPackage(
        name=name,
        version=version,
        manager=cast("Manager", manager),
        platform=platform,
        url=url,
        sha256=checksums["sha256"],
        md5=checksums.get("md5"),
        dependencies=_texts(fields.get("dependencies"), "dependencies"),
    )


def _pins(node: Any, platforms: list[str]) -> BuildPins | None:
    """What envpack adds to a lock; ``None`` in a lock of another tool."""
    if node is None or is_null(node):
        return None
    fields = _mapping(node, "custom_metadata")
    own = {key: value for key, value in fields.items() if key.startswith(KEY)}
    if KEY + "format" not in own:
        return None
    try:
        return BuildPins.from_metadata({key: _scalar(value, key) for key, value in own.items()}, platforms)
    except KeyError as error:
        raise _Wrong(node, f"{error.args[0]} is missing") from None
    except (ValueError, UsageError, SourceError) as error:
        raise _Wrong(node, str(error)) from None


def _label(package: LockedPackage) -> str:
    return f"{package.name} ({package.manager}, {package.platform})"


def _mapping(node: Any, what: str) -> dict[str, Any]:
    """A mapping node as a dict of its value nodes."""
    if node is None or node.id != "mapping":
        raise _Wrong(node, f"{what} does not consist of keys and values")
    return {_scalar(key, "a key"): value for key, value in node.value}


def _sequence(node: Any, what: str) -> list[Any]:
    if node.id != "sequence":
        raise _Wrong(node, f"{what} is not a list")
    return list(node.value)


def _texts(node: Any, what: str) -> dict[str, str]:
    """A mapping of texts; an absent or empty one has none."""
    if node is None or is_null(node):
        return {}
    return {key: _scalar(value, key) for key, value in _mapping(node, what).items()}


def _child(node: Any, fields: Mapping[str, Any], key: str) -> Any:
    if key not in fields:
        raise _Wrong(node, f"{key} is missing")
    return fields[key]


def _field(node: Any, fields: Mapping[str, Any], key: str) -> str:
    return _scalar(_child(node, fields, key), key)


def _scalar(node: Any, what: str) -> str:
    text = scalar(node)
    if text is None:
        raise _Wrong(node, f"{what} is not a text")
    return text
