r"""Lines for pip: PEP 508 requirements and pip's options, in requirements files and ``pip:`` sections.

The format is pip's (https://pip.pypa.io/en/stable/reference/requirements-file-format/): comments, ``\``
continuations, ``-r`` includes, index options, per-requirement options such as ``--hash``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources.text import read_text
from envpack.sources.urls import index_problem, without_secrets
from envpack.spec import PipOptions, Requirement

MAX_INCLUDES = 20
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"(?P<name>-[A-Za-z]|--[a-z0-9-]+)(?:\s*=\s*|\s+|(?<=^-[A-Za-z]))(?P<value>.*)\Z")
_HASH = re.compile(r"\s--hash[=\s]\S+")
_PER_REQUIREMENT = re.compile(r"\s--?(?P<name>[a-z-]+)\b.*$")
_VCS_OR_FILE = re.compile(r"(git|hg|svn|bzr)\+|file:|https?://|\.{0,2}/|[A-Za-z]:[\\/]|\.{1,2}\Z")
_ALIASES = {
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "-f": "--find-links",
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
}
# Artefacts of a distribution's python that are on no index and that nobody asked for.
_ARTEFACTS = {"pkg-resources": "Debian's python lists it by mistake; it is part of setuptools"}


@dataclass(slots=True)
class PipLines:
    """What a set of lines says; filled by :func:`read_lines`. ``problems`` are all that cannot be used."""

    ledger: Ledger
    directory: Path
    requirements: list[Requirement] = field(default_factory=list)
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)

    @property
    def options(self) -> PipOptions:
        """The index options found."""
        return PipOptions(self.index_url, tuple(self.extra_index_urls), tuple(self.find_links))


def read_lines(into: PipLines, lines: Iterable[tuple[str, Location]]) -> None:
    """Read logical lines (continuations joined) with their places into ``into``."""
    hashed: Location | None = None
    for raw, where in lines:
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        if line.startswith("-"):
            _option(into, line, where)
            continue
        without_hashes = _HASH.sub("", line).rstrip()
        if without_hashes != line:
            hashed = hashed or where
        _requirement(into, without_hashes, where)
    if hashed:
        into.ledger.add(
            Action.REPLACED,
            "--hash options",
            "files are chosen anew for the image's platform, and the lock records their sha256",
            where=hashed,
        )


def read_file(into: PipLines, path: Path, shown: str) -> None:
    """Read a requirements file, and those it includes, into ``into``.

    Raises :class:`SourceError` when ``path`` itself cannot be read; an include that cannot be is a problem.
    """
    text = read_text(path, shown)
    into.sources.append(path)
    read_lines(into, logical_lines(text, shown))


def logical_lines(text: str, shown: str) -> Iterable[tuple[str, Location]]:
    r"""The lines of ``text`` with ``\`` continuations joined, and where each begins."""
    joined, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1] + " "
            continue
        yield joined + line, Location(shown, start)
        joined, start = "", 0
    if joined:
        yield joined, Location(shown, start)


def _requirement(into: PipLines, line: str, where: Location) -> None:
    options = _PER_REQUIREMENT.search(line)
    if options:
        line = line[: options.start()].rstrip()
        _dropped(into, f"--{options['name']}", where)
    try:
        parsed = Pep508(line)
    except InvalidRequirement as error:
        if _VCS_OR_FILE.match(line):
            _needs_you(into, line, where)
        else:
            into.problems.append(
                Problem(
                    f"{line!r} is not a pip requirement",
                    where,
                    str(error).partition("\n")[0],
                    "Requirements look like rich, rich==13.7.1 or rich[jupyter]>=13,<14.",
                )
            )
        return
    if parsed.url:
        _needs_you(into, line, where)
    elif artefact := _ARTEFACTS.get(canonicalize_name(parsed.name)):
        into.ledger.add(Action.DROPPED, line, artefact, where=where)
    else:
        into.requirements.append(Requirement(line, where))


def _needs_you(into: PipLines, line: str, where: Location) -> None:
    """A requirement that is not on an index: refused, with the way out for its kind."""
    shown = without_secrets(line)
    if "file:" in line:
        why = "it names a file of the machine where the list was made, and the version is lost"
        remedy = "Replace the line by NAME==VERSION."
    elif re.search(r"(git|hg|svn|bzr)\+", line):
        why = "it is built from a repository, and the image is made of finished packages only"
        remedy = "Name a released version, or build a wheel and put it on an index."
    elif re.search(r"https?://", line):
        why = "it is a file outside of any index"
        remedy = "Name a released version and its index (--extra-index-url)."
    else:
        why = "it is a folder or file of this machine"
        remedy = "Remove the line: your own code can stay outside the image, or become a wheel in an index."
    into.ledger.add(Action.NEEDS_YOU, shown, why, where=where, remedy=remedy)
    into.problems.append(Problem(f"{shown!r} cannot be locked", where, why, remedy))


def _option(into: PipLines, line: str, where: Location) -> None:
    match = _OPTION.match(line)
    name, value = (match["name"], match["value"].strip()) if match else (line, "")
    value = value.strip("\"'")
    name = _ALIASES.get(name, name)
    if name in ("--index-url", "--extra-index-url", "--find-links"):
        if problem := index_problem(value, where):
            into.problems.append(problem)
        elif name == "--index-url":
            into.index_url = value
        else:
            target = into.extra_index_urls if name == "--extra-index-url" else into.find_links
            if value not in target:
                target.append(value)
    elif name == "--requirement":
        _include(into, value, where)
    elif name == "--editable":
        _needs_you(into, f"-e {value}", where)
    elif name in ("--constraint", "--no-index"):
        into.problems.append(
            Problem(f"{name} is not supported", where, hint="Write the versions into the requirements.")
        )
    else:
        _dropped(into, name, where)


def _dropped(into: PipLines, option: str, where: Location) -> None:
    into.ledger.add(
        Action.DROPPED, option, "only wheels with a recorded sha256 are taken into an image", where=where
    )


def _include(into: PipLines, name: str, where: Location) -> None:
    path = (into.directory / Path(where.file).parent / name).resolve()
    if path in into.sources or len(into.sources) > MAX_INCLUDES:
        into.problems.append(Problem(f"-r {name} includes itself, directly or through another file", where))
        return
    shown = str(Path(where.file).parent / name)
    try:
        read_file(into, path, shown)
    except SourceError as error:
        into.problems.append(Problem(error.what, error.where or where, error.why, error.hint))
