"""What the user asks for, read from any source: the model between sources and locking."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from envpack.errors import Location, SourceError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of a source: its text as the target tool reads it, and where it was written.

    For conda a match spec (``numpy >=1.26``, ``conda-forge::gdal``); for pip a PEP 508 requirement.
    """

    text: str
    where: Location | None = None


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package for pip that is on this machine: the absolute ``path`` of a folder, an sdist or a wheel.

    ``text`` is how the source asks for it (``-e ./pkg``), ``name`` its normalised name where that tells;
    ``extras`` and ``marker`` are as in a requirement.
    """

    text: str
    path: Path
    name: str | None = None
    extras: tuple[str, ...] = ()
    marker: str | None = None
    where: Location | None = None


@dataclass(frozen=True, slots=True)
class OwnIndex:
    """The package of the normalised ``name`` is of the index ``url`` alone, where ``marker`` is true for it.

    That holds for lines that ask for it by name. An empty ``marker`` is always true; ``index`` is what the
    source calls the index, if it does, by which uv finds a password in the environment.
    """

    name: str
    url: str
    marker: str = ""
    index: str = ""


@dataclass(frozen=True, slots=True)
class PipOptions:
    """What holds for all of pip's part. URLs may hold ``${VARIABLES}``, never secrets themselves.

    ``pre``: versions before a release are as good as others. ``first_index``: of the first index that has a
    package, its version is chosen, as uv does in projects, and not the best of all indexes, as pip does.
    What was uploaded after ``exclude_newer``, a date of RFC 3339, is not there; for the packages in
    ``exclude_newer_package``, names with a date or ``false``, that goes instead.
    ``constraints`` are requirements that install nothing, and narrow what is pulled in; ``overrides`` are
    taken in the place of whatever a package says of these names.
    """

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    pre: bool = False
    own_indexes: tuple[OwnIndex, ...] = ()
    first_index: bool = False
    exclude_newer: str | None = None
    exclude_newer_package: tuple[tuple[str, str], ...] = ()
    constraints: tuple[Requirement, ...] = ()
    overrides: tuple[Requirement, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All URLs, each once."""
        own = (one.url for one in self.own_indexes)
        urls = (self.index_url, *self.extra_index_urls, *self.find_links, *own)
        return tuple(dict.fromkeys(url for url in urls if url))


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """An environment as asked for.

    ``channels`` in order of priority; ``platforms`` are conda subdirs, empty where the source names none;
    ``variables`` are set on activation; ``sources`` are the files it was read from. With ``system_python``
    the packages are for the python of the base image's distribution: there are no ``conda`` requirements.
    ``asked`` are the tokens (``conda:NAME``, ``pip:NAME``) of what somebody asked for, ``None`` for all: a
    source that lists what is installed may know what was only pulled in. ``complete`` says that the source
    lists a whole environment, dependencies included; ``local`` are pip's packages that are on this machine;
    ``exported_from`` is the conda subdir of the system it
    is of (``osx-arm64``), where the source tells.
    """

    name: str
    channels: tuple[str, ...] = ()
    conda: tuple[Requirement, ...] = ()
    pip: tuple[Requirement, ...] = ()
    pip_options: PipOptions = PipOptions()
    platforms: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()
    system_python: bool = False
    asked: frozenset[str] | None = None
    complete: bool = False
    exported_from: str | None = None
    local: tuple[LocalPackage, ...] = ()

    @property
    def has_pip(self) -> bool:
        """Whether anything is asked of pip."""
        return bool(self.pip or self.local)


def valid_name(name: str, where: Location | None = None) -> str:
    """``name`` if it can serve as a file name, an image name and a label; else :class:`SourceError`."""
    if not _NAME.match(name):
        raise SourceError(
            f"the environment name {name!r} cannot be a file name",
            where=where,
            why="a name starts with a letter, a digit or _ and goes on with letters, digits, and . _ + -",
            hint="Give another one with --name.",
        )
    return name
