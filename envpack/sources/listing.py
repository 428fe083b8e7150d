"""A whole environment, package by package: what lists, explicit files and locks have in common.

Every line is told to a :class:`Listing`, which records in the ledger what became of it. Only a listing
without packages is refused, and one with lines that no list has, such as a conflict of git.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.platforms import DEFAULT_PLATFORM, PLATFORMS
from envpack.sources import local_package, origin
from envpack.sources.installed import BUILD, NAME, SUBDIR, VERSION, CondaPackage
from envpack.sources.recorded_channels import Channels, why_not
from envpack.sources.requirement_line import of_other_system
from envpack.sources.urls import without_secrets
from envpack.spec import EnvSpec, LocalPackage, Requirement, valid_name

_ARCHIVE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.(?:conda|tar\.bz2)\Z")
_FROM_FILE = "it is a file of the machine where the list was made"
_ONE_OF_A_CHANNEL = "Put the package into a channel, or name one that a channel has."


@dataclass(slots=True)
class Listing:
    """What one file lists. ``what`` is how messages call it: ``list of packages``.

    ``folder`` is the file's own where paths in it count from there, and are of this machine.
    """

    shown: str
    ledger: Ledger
    what: str = "list of packages"
    records: list[CondaPackage] = field(default_factory=list)
    without_channel: list[Requirement] = field(default_factory=list)
    pip: list[Requirement] = field(default_factory=list)
    local: list[LocalPackage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    folder: Path | None = None
    _seen: dict[str, str] = field(default_factory=dict)
    _builds: list[tuple[str, str]] = field(default_factory=list)

    def conda(
        self,
        text: str,
        where: Location,
        name: str,
        version: str,
        build: str,
        channel: str = "",
        subdir: str = "",
    ) -> None:
        """One conda package, written as ``text``; ``channel`` and ``subdir`` as far as they are known."""
        name = name.lower()
        if not (NAME.match(name) and VERSION.match(version) and BUILD.match(build)):
            self.needs_you(text, where, "it is no name, version and build of a package")
        elif channel and (why := why_not(channel)):
            self.needs_you(text, where, f"its channel cannot be asked: {why}", _ONE_OF_A_CHANNEL)
        elif self._first(f"conda:{name}", f"{version} {build}", text, where):
            self._builds.append((name, build))
            if channel:
                self.records.append(CondaPackage(name, version, build, subdir or "noarch", channel, where))
            else:
                self.without_channel.append(Requirement(f"{name} =={version} {build}", where))

    def conda_url(self, text: str, where: Location) -> str | None:
        """One conda package by the URL of its archive, with a hash behind # or none; gives its subdir."""
        url = text.partition("#")[0].partition("?")[0]
        scheme, _, _ = url.partition("://")
        head, _, file = url.rpartition("/")
        channel, _, subdir = head.rpartition("/")
        package = _ARCHIVE.match(unquote(file))
        if scheme not in ("http", "https"):
            self.needs_you(without_secrets(text), where, _FROM_FILE, _ONE_OF_A_CHANNEL)
        elif not package or not SUBDIR.match(subdir):
            self.needs_you(without_secrets(text), where, "it is no address of a package in a channel")
        else:
            shown = without_secrets(text.partition("#")[0])
            self.conda(shown, where, package["name"], package["version"], package["build"], channel, subdir)
            return subdir
        return None

    def pypi(self, text: str, where: Location, name: str, version: str, marker: str = "") -> None:
        """One package that pip installed, where ``marker`` is true."""
        try:
            Version(version)
        except InvalidVersion:
            self.needs_you(text, where, f"{version} is no version that pip knows", "Name another version.")
            return
        if not NAME.match(canonicalize_name(name)):
            self.needs_you(text, where, f"{name!r} is no name of a package")
            return
        if not marker and (other := of_other_system(canonicalize_name(name))):
            self.dropped(text, where, *other)
            return
        tail = f" ; {marker}" if marker else ""
        if self._first(f"pip:{canonicalize_name(name)}{tail}", version, text, where):
            self.pip.append(Requirement(f"{name}=={version}{tail}", where))

    def pypi_url(
        self, text: str, where: Location, name: str | None = None, version: str | None = None
    ) -> None:
        """One package that pip installed, by the URL of its file; ``name`` and ``version`` if known."""
        url = text.partition("#")[0]
        shown = without_secrets(url)
        if re.match(r"(git|hg|svn|bzr)\+", url):
            why = "it is built from a repository, and the image is made of finished packages only"
            self.needs_you(shown, where, why, "Name a released version, or put a wheel on an index.")
            return
        if not url.startswith(("https://", "http://")):
            self.path(url, where, name)
            return
        if not name or not version:
            name, version = _of_file(unquote(url.rpartition("/")[2]))
        if not name or not version:
            self.needs_you(shown, where, "the name of the file does not tell name and version")
        else:
            self.pypi(shown, where, name, version)

    def path(self, text: str, where: Location, name: str | None = None, marker: str = "") -> None:
        """One package that is a folder or a file; ``name`` if known."""
        found = self.folder and local_package.at(text, self.folder, name=name, marker=marker, where=where)
        if isinstance(found, LocalPackage):
            self.ledger.add(Action.KEPT, found.text, local_package.IS_THERE, where=where)
            self.local.append(found)
        else:
            remedy = "Name a released version, or put a wheel on an index."
            self.needs_you(without_secrets(text), where, found or local_package.ABSENT, remedy)

    def needs_you(self, text: str, where: Location, why: str, remedy: str | None = None) -> None:
        """A line that is left out."""
        remedy = remedy or "Correct the line, or remove it."
        self.ledger.add(Action.NEEDS_YOU, text, why, where=where, remedy=remedy)

    def dropped(self, text: str, where: Location, why: str, remedy: str | None = None) -> None:
        """Something that says nothing of this environment."""
        self.ledger.add(Action.DROPPED, text, why, where=where, remedy=remedy)

    def spec(
        self,
        *,
        name: str | None,
        own: str | None,
        folder: str,
        path: Path | None,
        subdir: str | None = None,
        prefix: str | None = None,
        order: Sequence[str] = (),
        variables: dict[str, str] | None = None,
    ) -> EnvSpec:
        """The environment. ``name`` is the user's, ``own`` the file's, ``folder`` a valid last resort.

        ``subdir`` is the system where the list was made if the file says it, else it is looked for in the
        builds and in ``prefix``; ``order`` are the channels where the file has them in order. Raises
        :class:`SourceError`.
        """
        if not (self.records or self.without_channel or self.pip or self.local or self.problems):
            raise SourceError(
                f"{self.shown} lists no packages",
                where=Location(self.shown, 1),
                why=f"it is a {self.what} of an empty environment, or one that was cut short",
                hint="Write it again, in the environment that is meant.",
            )
        channels = Channels.of(self.records, self.ledger, order)
        if self.problems:
            raise SourceError(
                f"{self.shown} has lines that cannot be used",
                problems=self.problems,
                hint="Change these lines, then run the same command again.",
            )
        names = channels.names
        if not names and self.without_channel:
            names = self._guessed_channels()
        elif not names and not self.records:
            names = ("conda-forge",)  # for python
        builds = [build for _, build in self._builds]
        every = origin.with_free(names, builds, self.ledger, Location(self.shown))
        old = every != names
        pinned = [Requirement(channels.spec(record, old=old), record.where) for record in self.records]
        conda = [*pinned, *self.without_channel]
        subdir = subdir or origin.system(self._builds, prefix)
        return EnvSpec(
            name=self._name(name, own, folder),
            channels=every,
            conda=tuple(sorted(conda, key=_place)),
            pip=tuple(self.pip),
            local=tuple(self.local),
            platforms=(subdir,) if subdir in PLATFORMS else (),
            variables=variables or {},
            sources=(path.resolve(),) if path else (),
            complete=True,
            exported_from=subdir,
        )

    def _first(self, token: str, version: str, text: str, where: Location) -> bool:
        """Whether this is the first time for ``token``; says what becomes of the line."""
        if (before := self._seen.get(token)) is None:
            self._seen[token] = version
            self.ledger.add(Action.KEPT, text, "at the version that is installed", where=where)
            return True
        if before == version:
            self.ledger.add(Action.KEPT, text, "it is listed twice", where=where)
        else:
            self.problems.append(
                Problem(
                    f"{token.partition(':')[2]} is listed twice",
                    where,
                    why=f"as {before} and as {version}",
                    hint="Remove one of the two.",
                )
            )
        return False

    def _guessed_channels(self) -> tuple[str, ...]:
        found = origin.channels(self._builds)
        self.ledger.add(
            Action.GUESSED,
            f"channels: {', '.join(found)}",
            f"this {self.what} does not say where packages are from: their builds tell these",
            where=Location(self.shown),
            remedy="For exact ones: conda list --explicit > explicit.txt",
        )
        return found

    def _name(self, name: str | None, own: str | None, folder: str) -> str:
        if name is not None:
            return valid_name(name)
        if own is not None:
            try:
                return valid_name(own)
            except SourceError:
                pass
        self.ledger.add(
            Action.GUESSED,
            f"name: {folder}",
            f"a {self.what} gives no name: the folder's is taken",
            where=Location(self.shown),
            remedy="Give another one with --name.",
        )
        return folder


def best_platform(there: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The platform to read of those that are ``there``: one that is wanted, else linux-64, else Linux."""
    order = [*wanted, DEFAULT_PLATFORM, *PLATFORMS, *there]
    return next((platform for platform in order if platform in there), None)


def _place(requirement: Requirement) -> int:
    return (requirement.where.line or 0) if requirement.where else 0


def _of_file(file: str) -> tuple[str | None, str | None]:
    """Name and version in the name of a wheel or of a source archive."""
    try:
        if file.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(file)
        else:
            name, version = parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None, None
    return name, str(version)
