"""The lock's model: frozen, and made only of values that make sense."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from envpack.entry import is_safe_path
from envpack.errors import UsageError
from envpack.image import Digest, Reference, parse_reference
from envpack.image_settings import ImageSettings
from envpack.ledger import Finding
from envpack.platforms import PLATFORMS
from envpack.spec import valid_name

Manager = Literal["conda", "pip"]
FORMAT = "1"
KEY = "envpack."
_IMAGE = "image."
_TOOL = "tools."
# Names and versions become file names in the image.
PACKAGE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*\Z")
VERSION = re.compile(r"[A-Za-z0-9_.+!~-]+\Z")
_GLIBC = re.compile(r"[0-9]+(\.[0-9]+)+\Z")
_EPOCH = re.compile(r"[0-9]{1,10}\Z")
# Ends up in shebangs and shell scripts, where conda itself cannot stand a space either.
_PREFIX = re.compile(r"/[A-Za-z0-9._+/-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TOOL_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}\Z")
_PYTHON = re.compile(r"3\.[0-9]{1,2}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# Names of files stand unquoted in recipes; a wheel's says name, version and tags.
_WHEEL = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-[A-Za-z0-9_.]+){3,4}\.whl\Z")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One archive of the lock: where it is and what its bytes must hash to.

    ``sha256`` and ``md5`` are lower-case hexadecimal; sha256 is always present. A package with a ``path`` is
    carried along as that file of the project, relative to its folder, and has an empty ``url``.
    """

    name: str
    version: str
    manager: Manager
    platform: str
    url: str
    sha256: str
    md5: str | None = None
    dependencies: Mapping[str, str] = field(default_factory=dict, hash=False)
    path: str | None = None

    @property
    def filename(self) -> str:
        """The archive's file name, without query and fragment."""
        if self.path is not None:
            return self.path.rpartition("/")[2]
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
class CarriedWheel:
    """A wheel that no index has: a file of the project, which stands beside the lock.

    ``path`` is relative to the project's folder; ``requires_python`` is what the wheel says. ``asked`` is the
    line that asked for it (``-e ./pkg``), ``None`` where a package's dependency did; ``source`` is the folder
    it was built from, if that is below the project's. Raises :class:`ValueError` for what no wheel can be.
    """

    name: str
    version: str
    path: str
    sha256: str
    requires_python: str | None = None
    asked: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if not is_safe_path(self.path) or not self.path.isprintable():
            raise ValueError(f"{self.path!r} is not a path below the project's folder")
        if not _WHEEL.match(self.path.rpartition("/")[2]):
            raise ValueError(f"{self.path!r} cannot be the name of a wheel")
        if self.source not in (None, ".") and not is_safe_path(self.source or ""):
            raise ValueError(f"{self.source!r} is not a path below the project's folder")
        if not _SHA256.match(self.sha256):
            raise ValueError(f"{self.sha256!r} is not a sha256")
        if not PACKAGE.match(self.name) or not VERSION.match(self.version):
            raise ValueError(f"{self.name} {self.version} cannot be a package")

    def locked(self, platform: str) -> LockedPackage:
        """It as a package of the lock."""
        return LockedPackage(self.name, self.version, "pip", platform, "", self.sha256, path=self.path)

    def to_text(self) -> str:
        """JSON of all but the name, which :meth:`from_text` reads back."""
        values = {key: getattr(self, key) for key in _WHEEL_FIELDS}
        told = {key: value for key, value in values.items() if value is not None}
        return json.dumps(told, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_text(cls, name: str, text: str) -> CarriedWheel:
        """Read :meth:`to_text` back; raises :class:`ValueError`."""
        try:
            values = json.loads(text)
        except RecursionError:
            values = None
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise ValueError(f"{KEY}…wheel.{name} does not describe a wheel")
        if missing := [key for key in ("path", "sha256", "version") if key not in values]:
            raise ValueError(f"{KEY}…wheel.{name} does not say {', '.join(missing)}")
        return cls(name, **{key: value for key, value in values.items() if key in _WHEEL_FIELDS})


_WHEEL_FIELDS = ("asked", "path", "requires_python", "sha256", "source", "version")


@dataclass(frozen=True, slots=True)
class PlatformPin:
    """What envpack adds to the lock for one platform. ``wheels`` are sorted by name."""

    base: BasePin
    requested: tuple[str, ...] = ()
    wheels: tuple[CarriedWheel, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildPins:
    """Everything envpack adds to a lock, so that a build takes nothing from anywhere else.

    ``epoch`` is the image's date: the newest package timestamp in the lock, in seconds since 1970.
    ``variables`` are the source's; ``settings`` is what the project's ``envpack.toml`` says.
    ``findings`` are what was changed on the way from the source to the lock.
    ``tools`` are the versions of what the bytes of an image depend on beside the lock's content, by name.
    ``system_python`` is the version (``3.11``) of the base's own python, where the packages are for that one.
    """

    name: str
    prefix: str
    epoch: int
    platforms: Mapping[str, PlatformPin]
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: ImageSettings = field(default_factory=ImageSettings)
    system_python: str | None = None
    findings: tuple[Finding, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """The ``custom_metadata`` map that :meth:`from_metadata` reads back."""
        out = {
            KEY + "format": FORMAT,
            KEY + "name": self.name,
            KEY + "prefix": self.prefix,
            KEY + "epoch": str(self.epoch),
        }
        for subdir, pin in self.platforms.items():
            out[f"{KEY}{subdir}.base.reference"] = str(pin.base.reference)
            out[f"{KEY}{subdir}.base.digest"] = str(pin.base.digest)
            out[f"{KEY}{subdir}.base.glibc"] = pin.base.glibc
            out[f"{KEY}{subdir}.requested"] = " ".join(pin.requested)
            out |= {f"{KEY}{subdir}.wheel.{wheel.name}": wheel.to_text() for wheel in pin.wheels}
        for name, value in self.variables.items():
            out[f"{KEY}variable.{name}"] = value
        if self.system_python is not None:
            out[KEY + "system_python"] = self.system_python
        if self.findings:
            found = [finding.as_dict() for finding in self.findings]
            out[KEY + "findings"] = json.dumps(found, ensure_ascii=False, sort_keys=True)
        for name, version in self.tools.items():
            out[f"{KEY}{_TOOL}{name}"] = version
        out |= {f"{KEY}{_IMAGE}{key}": value for key, value in self.settings.to_metadata().items()}
        return dict(sorted(out.items()))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], platforms: list[str]) -> BuildPins:
        """Read the map back; raises ``KeyError`` or ``ValueError`` naming what is missing or wrong."""
        if metadata[KEY + "format"] != FORMAT:
            raise ValueError(f"envpack.format is {metadata[KEY + 'format']!r}, this envpack reads {FORMAT!r}")
        pins = {}
        if unknown := sorted(set(platforms) - set(PLATFORMS)):
            raise ValueError(f"images cannot be built for the platform {', '.join(unknown)}")
        for subdir in platforms:
            key = f"{KEY}{subdir}."
            base = BasePin(
                parse_reference(metadata[key + "base.reference"]),
                Digest(metadata[key + "base.digest"]),
                _matching(_GLIBC, metadata, key + "base.glibc"),
            )
            start = f"{key}wheel."
            carried = tuple(
                CarriedWheel.from_text(k.removeprefix(start), v)
                for k, v in sorted(metadata.items())
                if k.startswith(start)
            )
            pins[subdir] = PlatformPin(base, tuple(metadata[key + "requested"].split()), carried)
        prefix = valid_prefix(metadata[KEY + "prefix"])
        epoch = int(_matching(_EPOCH, metadata, KEY + "epoch"))
        if epoch >= 1 << 32:
            raise ValueError(f"envpack.epoch is beyond 32 bits, which is what file systems hold: {epoch}")
        variable = KEY + "variable."
        variables = {k.removeprefix(variable): v for k, v in metadata.items() if k.startswith(variable)}
        for name in variables:
            if not _VARIABLE.match(name):
                raise ValueError(f"not the name of a variable: {name!r}")
        image = KEY + _IMAGE
        settings = {k.removeprefix(image): v for k, v in metadata.items() if k.startswith(image)}
        python = None
        if KEY + "system_python" in metadata:
            python = _matching(_PYTHON, metadata, KEY + "system_python")
        return cls(
            valid_name(metadata[KEY + "name"]),
            prefix,
            epoch,
            pins,
            variables,
            ImageSettings.from_metadata(settings),
            python,
            _findings(metadata.get(KEY + "findings", "[]")),
            _tools(metadata),
        )


def _tools(metadata: Mapping[str, str]) -> dict[str, str]:
    """Versions by name; raises ``ValueError`` for what is none, as it may be shown to a shell."""
    start = KEY + _TOOL
    keys = [key for key in metadata if key.startswith(start)]
    return {key.removeprefix(start): _matching(_TOOL_VERSION, metadata, key) for key in keys}


def _findings(text: str) -> tuple[Finding, ...]:
    try:
        return tuple(Finding.from_dict(values) for values in json.loads(text))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{KEY}findings is not a list of findings") from error


def valid_prefix(prefix: str) -> str:
    """``prefix`` if an environment can live there in an image; else :class:`UsageError`."""
    if not _PREFIX.match(prefix) or not is_safe_path(prefix[1:]):
        raise UsageError(
            f"{prefix!r} cannot be the environment's folder in the image",
            why="it is an absolute path of letters, digits and . _ + -, without .. and without spaces",
            hint="Give another one, e.g. --prefix /opt/env.",
        )
    return prefix


def _matching(pattern: re.Pattern[str], metadata: Mapping[str, str], key: str) -> str:
    value = metadata[key]
    if not pattern.match(value):
        raise ValueError(f"{key} cannot be {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class Lockfile:
    """A whole lock. ``pins`` is ``None`` for a lock that envpack did not write.

    ``content_hash`` is conda-lock's hash of the request, by platform; ``packages`` keep the file's order, and
    the wheels that ``pins`` carry along come after them.
    """

    platforms: tuple[str, ...]
    channels: tuple[str, ...]
    content_hash: Mapping[str, str]
    packages: tuple[LockedPackage, ...]
    pins: BuildPins | None

    def for_platform(self, subdir: str) -> tuple[LockedPackage, ...]:
        """The packages of one platform, in the lock's order."""
        return tuple(p for p in self.packages if p.platform == subdir)
