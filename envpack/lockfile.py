"""The lock as envpack reads it: conda-lock's v1 file, validated at the edge, plus envpack's own metadata.

conda-lock's format (https://conda.github.io/conda-lock/) has one place for others: the string-to-string
map ``metadata.custom_metadata``. What a build needs beyond the packages is kept there, under ``envpack.``
keys, so that the file stays one that conda-lock, micromamba and pixi read:

    envpack.format                      "1"
    envpack.name                        environment name
    envpack.prefix                      where the environment lives in the image
    envpack.epoch                       newest package timestamp, seconds since 1970
    envpack.SUBDIR.base.reference       docker.io/library/ubuntu:20.04
    envpack.SUBDIR.base.digest          sha256:… of the manifest of that platform
    envpack.SUBDIR.base.glibc           2.31
    envpack.SUBDIR.requested            conda:numpy conda:scipy pip:rich     (sorted, space separated)
    envpack.variable.NAME               value set on activation

Writing is the task of :mod:`envpack.locking.conda_lock`, which has conda-lock itself do it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from envpack.entry import is_safe_path
from envpack.errors import LockError, Problem, SourceError, UsageError
from envpack.image import Digest, Reference, parse_reference
from envpack.spec import valid_name

Manager = Literal["conda", "pip"]
FORMAT = "1"
_KEY = "envpack."
_GLIBC = re.compile(r"[0-9]+(\.[0-9]+)+\Z")
_EPOCH = re.compile(r"[0-9]{1,10}\Z")
# Ends up in shebangs and shell scripts, where conda itself cannot stand a space either.
_PREFIX = re.compile(r"/[A-Za-z0-9._+/-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Names and versions become file names in the image.
_PACKAGE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9_.+!~-]+\Z")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One archive of the lock: where it is and what its bytes must hash to.

    ``sha256`` and ``md5`` are lower-case hexadecimal; sha256 is always present.
    """

    name: str
    version: str
    manager: Manager
    platform: str
    url: str
    sha256: str
    md5: str | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def filename(self) -> str:
        """The archive's file name, without query and fragment."""
        return self.url.partition("#")[0].partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class BasePin:
    """The base image of one platform: its name, the digest of its manifest, its glibc version."""

    reference: Reference
    digest: Digest
    glibc: str

    @property
    def pinned(self) -> Reference:
        """The reference by digest, which is what is pulled."""
        return Reference(self.reference.registry, self.reference.repository, None, self.digest)


@dataclass(frozen=True, slots=True)
class PlatformPin:
    """What envpack adds to the lock for one platform."""

    base: BasePin
    requested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildPins:
    """Everything envpack adds to a lock, so that a build takes nothing from anywhere else.

    ``epoch`` is the image's date: the newest package timestamp in the lock, in seconds since 1970.
    """

    name: str
    prefix: str
    epoch: int
    platforms: Mapping[str, PlatformPin]
    variables: Mapping[str, str] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The ``custom_metadata`` map that :meth:`from_metadata` reads back."""
        out = {
            _KEY + "format": FORMAT,
            _KEY + "name": self.name,
            _KEY + "prefix": self.prefix,
            _KEY + "epoch": str(self.epoch),
        }
        for subdir, pin in self.platforms.items():
            out[f"{_KEY}{subdir}.base.reference"] = str(pin.base.reference)
            out[f"{_KEY}{subdir}.base.digest"] = str(pin.base.digest)
            out[f"{_KEY}{subdir}.base.glibc"] = pin.base.glibc
            out[f"{_KEY}{subdir}.requested"] = " ".join(pin.requested)
        for name, value in self.variables.items():
            out[f"{_KEY}variable.{name}"] = value
        return dict(sorted(out.items()))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], platforms: list[str]) -> BuildPins:
        """Read the map back; raises ``KeyError`` or ``ValueError`` naming what is missing or wrong."""
        for key, value in metadata.items():
            if key.startswith(_KEY) and not isinstance(value, str):
                raise ValueError(f"{key} is not a text: {value!r}")
        if metadata[_KEY + "format"] != FORMAT:
            raise ValueError(
                f"envpack.format is {metadata[_KEY + 'format']!r}, this envpack reads {FORMAT!r}"
            )
        pins = {}
        for subdir in platforms:
            key = f"{_KEY}{subdir}."
            base = BasePin(
                parse_reference(metadata[key + "base.reference"]),
                Digest(metadata[key + "base.digest"]),
                _matching(_GLIBC, metadata, key + "base.glibc"),
            )
            pins[subdir] = PlatformPin(base, tuple(metadata[key + "requested"].split()))
        prefix = _matching(_PREFIX, metadata, _KEY + "prefix")
        if not is_safe_path(prefix[1:]):
            raise ValueError(f"envpack.prefix is not a normalised absolute path: {prefix!r}")
        epoch = int(_matching(_EPOCH, metadata, _KEY + "epoch"))
        if epoch >= 1 << 32:
            raise ValueError(f"envpack.epoch is beyond 32 bits, which is what file systems hold: {epoch}")
        variable = _KEY + "variable."
        variables = {k.removeprefix(variable): v for k, v in metadata.items() if k.startswith(variable)}
        for name in variables:
            if not _VARIABLE.match(name):
                raise ValueError(f"not the name of a variable: {name!r}")
        return cls(valid_name(metadata[_KEY + "name"]), prefix, epoch, pins, variables)


def _matching(pattern: re.Pattern[str], metadata: Mapping[str, str], key: str) -> str:
    value = metadata[key]
    if not pattern.match(value):
        raise ValueError(f"{key} cannot be {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Lockfile:
    """A whole lock. ``pins`` is ``None`` for a lock that envpack did not write.

    ``content_hash`` is conda-lock's hash of the request, by platform; ``packages`` keep the file's order.
    """

    platforms: tuple[str, ...]
    channels: tuple[str, ...]
    content_hash: Mapping[str, str]
    packages: tuple[LockedPackage, ...]
    pins: BuildPins | None

    def for_platform(self, subdir: str) -> tuple[LockedPackage, ...]:
        """The packages of one platform, in the lock's order."""
        return tuple(p for p in self.packages if p.platform == subdir)


def read(path: Path) -> Lockfile:
    """Read a conda-lock v1 file.

    Raises :class:`LockError` when it is absent, no such file, or has packages without a sha256 (all of
    them are named).
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise LockError(f"there is no lock {path}", hint="Run `envpack lock` first.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"cannot read the lock {path}", why=str(error)) from error
    try:
        data = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise LockError(f"{path} is not valid YAML", why=str(error)) from error
    try:
        if data["version"] != 1:
            raise LockError(
                f"{path} is a conda-lock file of version {data['version']!r}", hint="envpack reads version 1."
            )
        return _lockfile(cast("dict[str, Any]", data), path)
    except (KeyError, TypeError, AttributeError) as error:
        raise LockError(
            f"{path} is not a conda-lock file",
            why=f"{type(error).__name__}: {error}",
            hint="Run `envpack lock` to write it anew.",
        ) from error
    except (ValueError, UsageError, SourceError) as error:
        raise LockError(f"{path} holds a value that cannot be", why=str(error)) from error


def _lockfile(data: dict[str, Any], path: Path) -> Lockfile:
    """The model of parsed YAML; lets KeyError and TypeError of a wrong shape through."""
    metadata = data["metadata"]
    platforms = [str(p) for p in metadata["platforms"]]
    packages, problems = [], []
    for item in data["package"]:
        sha256 = (item["hash"] or {}).get("sha256")
        label = f"{item['name']} {item['version']} ({item['platform']})"
        if not sha256:
            problems.append(Problem(f"{label} has no sha256"))
            continue
        Digest(f"sha256:{sha256}")
        if not _PACKAGE.match(str(item["name"])) or not _VERSION.match(str(item["version"])):
            raise ValueError(f"not the name and version of a package: {label!r}")
        if item["manager"] not in ("conda", "pip"):
            raise ValueError(f"{label}: manager {item['manager']!r}")
        packages.append(
            LockedPackage(
                name=str(item["name"]),
                version=str(item["version"]),
                manager=item["manager"],
                platform=str(item["platform"]),
                url=str(item["url"]),
                sha256=sha256,
                md5=item["hash"].get("md5"),
                dependencies={str(k): str(v) for k, v in (item.get("dependencies") or {}).items()},
            )
        )
    if problems:
        raise LockError(
            f"{path} has packages whose bytes cannot be checked",
            problems=problems,
            hint="Run `envpack lock` to write it anew.",
        )
    custom = metadata.get("custom_metadata") or {}
    try:
        pins = BuildPins.from_metadata(custom, platforms) if _KEY + "format" in custom else None
    except KeyError as error:
        raise LockError(
            f"{path} lacks {error} in its metadata", hint="Run `envpack lock` to write it anew."
        ) from None
    return Lockfile(
        tuple(platforms),
        tuple(str(c["url"]) for c in metadata["channels"]),
        {str(k): str(v) for k, v in metadata["content_hash"].items()},
        tuple(packages),
        pins,
    )
