r"""Lines for pip: requirements and pip's options, in requirements files and ``pip:`` sections.

The format is pip's (https://pip.pypa.io/en/stable/reference/requirements-file-format/): comments, ``\``
continuations, ``-r`` and ``-c`` includes, index options, per-requirement options such as ``--hash``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.markers import on_linux
from envpack.sources import local_package, requirement_line
from envpack.sources.match_specs import AS_IT_IS
from envpack.sources.requirement_line import shown as shown_line
from envpack.sources.text import MAX_LIST_BYTES, read_text
from envpack.sources.urls import index_problem, is_local, without_secrets
from envpack.spec import LocalPackage, PipOptions, Requirement

# Of an index that is a path.
OF_ONE_MACHINE = "a folder of one machine, which is not there when the lock is used elsewhere"
SERVED = "Put the files where an http(s) address leads to."
MAX_INCLUDES = 20
MAX_LINE = 10_000  # a wheel's address with all its hashes is shorter; patterns take the square of it
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"(?P<name>-[A-Za-z]|--[a-z0-9-]+)(?:\s*=\s*|\s+|(?<=^-[A-Za-z]))(?P<value>.*)\Z")
_NEXT_OPTION = re.compile(r"\s+(?=--?[A-Za-z])")
_HASH = re.compile(r"\s--hash[=\s]\s*\S+")
_INDEXES = ("--index-url", "--extra-index-url", "--find-links")
_ALIASES = {
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "-f": "--find-links",
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
}
_WHEELS_ONLY = "only wheels with a recorded sha256 are taken into an image"
_WITHOUT_MEANING = {
    "--trusted-host": "certificates are checked always",
    "--require-hashes": "the lock records the sha256 of every file",
    "--hash": "the lock records the sha256 of every file",
}


@dataclass(slots=True)
class PipLines:
    """What a set of lines says; filled by :func:`read_lines`, completed by :func:`settle`.

    ``conda`` are match specs found among the lines, ``problems`` all lines that cannot be read, ``evidence``
    what tells of which system the list is, ``frozen`` the names with an exact version in the order written,
    ``local`` the packages that are on this machine, ``options`` what holds for all lines.
    """

    ledger: Ledger
    directory: Path
    requirements: list[Requirement] = field(default_factory=list)
    conda: list[Requirement] = field(default_factory=list)
    options: PipOptions = field(default_factory=PipOptions)
    problems: list[Problem] = field(default_factory=list)
    sources: list[Path] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    local: list[LocalPackage] = field(default_factory=list)
    _locals: list[tuple[int, str, requirement_line.Read]] = field(default_factory=list)
    _constraints: list[tuple[str, Location]] = field(default_factory=list)


def read_lines(into: PipLines, lines: Iterable[tuple[str, Location]], *, constraints: bool = False) -> None:
    """Read logical lines (continuations joined) with their places into ``into``.

    As ``constraints`` they install nothing, and narrow what is asked for.
    """
    hashed: Location | None = None
    for raw, where in lines:
        if len(raw) > MAX_LINE:
            what, hint = f"a line of {len(raw)} characters", "Write one requirement a line."
            into.problems.append(Problem(what, where, hint=hint))
            continue
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        if line.startswith("-") and not re.match(r"-[- ]{5,}\Z", line):
            for option in _NEXT_OPTION.split(line):
                _option(into, option, where)
            continue
        without_hashes = _HASH.sub("", line).rstrip()
        if without_hashes != line:
            hashed = hashed or where
        if constraints:
            into._constraints.append((without_hashes, where))
        else:
            _requirement(into, without_hashes, where)
    if hashed:
        into.ledger.add(
            Action.REPLACED,
            "--hash options",
            "files are chosen anew for the image's platform, and the lock records their sha256",
            where=hashed,
        )


def read_file(into: PipLines, path: Path, shown: str, *, constraints: bool = False) -> None:
    """Read a requirements file, and those it includes, into ``into``.

    Raises :class:`SourceError` when ``path`` itself cannot be read; an include that cannot be is a problem.
    """
    text = read_text(path, shown, MAX_LIST_BYTES)
    into.sources.append(path)
    read_lines(into, logical_lines(text, shown), constraints=constraints)


def settle(into: PipLines) -> None:
    """Decide what needs all lines: local versions (is an index named?) and constraints (is it asked for?)."""
    elsewhere = bool(into.options.addresses)
    for position, line, read in into._locals:
        requirement = into.requirements[position]
        if elsewhere and read.local:
            into.requirements[position] = Requirement(read.local, requirement.where)
            into.ledger.add(Action.KEPT, line, AS_IT_IS, where=requirement.where)
        else:
            into.requirements[position] = Requirement(read.text or line, requirement.where)
            into.ledger.add(read.action, line, read.reason, where=requirement.where, remedy=read.remedy)
    into._locals.clear()
    for line, where in into._constraints:
        _constrain(into, line, where)
    into._constraints.clear()


def logical_lines(text: str, shown: str) -> Iterable[tuple[str, Location]]:
    r"""The lines of ``text`` with ``\`` continuations joined, and where each begins."""
    joined: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined.append(line[:-1] + " ")
            continue
        yield "".join(joined) + line, Location(shown, start)
        joined, start = [], 0
    if joined:
        yield "".join(joined), Location(shown, start)


def _requirement(into: PipLines, line: str, where: Location) -> None:
    options: list[str] = []
    if "@" not in line and not requirement_line.is_message(line):
        line, *options = _NEXT_OPTION.split(line)
    for option in options:
        if match := _OPTION.match(option):
            name = _ALIASES.get(match["name"], match["name"])
            if name in _INDEXES:
                _option(into, option, where)
                continue
        _dropped(into, re.split(r"[\s=]", option, maxsplit=1)[0], where)
    shown = shown_line(line)
    try:
        if _local(into, line, line, where):
            return
        read = requirement_line.read(line)
    except ValueError as error:
        hint = "Requirements look like rich, rich==13.7.1 or rich[jupyter]>=13,<14."
        into.problems.append(Problem(f"{shown!r} is not a pip requirement", where, str(error), hint))
        return
    into.evidence.append(line)
    if read.local:
        into._locals.append((len(into.requirements), shown, read))
        into.requirements.append(Requirement(read.local, where))
    else:
        into.ledger.add(read.action, shown, read.reason, where=where, remedy=read.remedy)
        if read.text:
            into.requirements.append(Requirement(read.text, where))
        if read.conda:
            into.conda.append(Requirement(read.conda, where))
    if re.match(r"[A-Za-z0-9][\w.-]*(\[[^\]]*\])?\s*(==|@)", line):
        into.frozen.append(re.split(r"[\s=@\[]", line, maxsplit=1)[0].lower())


def _local(into: PipLines, target: str, line: str, where: Location, *, editable: bool = False) -> bool:
    """Whether ``target`` is on this machine; then ``into`` has it, or what stands against it."""
    found = local_package.find(target, into.directory / Path(where.file).parent, editable=editable)
    if found is None:
        return False
    shown = shown_line(line)
    into.evidence.append(line)
    if isinstance(found, str):
        remedy = "Mend it, or remove the line: your own code can stay outside the image."
        _needs_you(into, shown, found, remedy, where)
        return True
    into.ledger.add(Action.KEPT, shown, local_package.IS_THERE, where=where)
    into.local.append(replace(found, text=shown, where=where))
    return True


def _constrain(into: PipLines, line: str, where: Location) -> None:
    shown = shown_line(line)
    try:
        read = requirement_line.read(line)
    except ValueError as error:
        hint = "Constraints look like rich==13.7.1 or rich>=13,<14."
        into.problems.append(Problem(f"{shown!r} is not a constraint", where, str(error), hint))
        return
    text = read.local if read.local and into.options.addresses else read.text
    if text is None:
        into.ledger.add(read.action, shown, read.reason, where=where, remedy=read.remedy)
        return
    constraint = Pep508(text)
    applies = on_linux(constraint.marker) if constraint.marker else True
    if applies is False:
        into.ledger.add(Action.DROPPED, shown, "it is for other systems than Linux", where=where)
        return
    name = canonicalize_name(constraint.name)
    written = False
    for position, requirement in enumerate(into.requirements):
        asked = Pep508(requirement.text)
        if canonicalize_name(asked.name) == name and not asked.url and applies:
            asked.specifier &= constraint.specifier
            into.requirements[position] = Requirement(str(asked), requirement.where)
            written = True
    if written:
        reason = "written into the requirement of that name"
        into.ledger.add(Action.TRANSLATED, shown, reason, where=where)
        return
    constraint.extras = set()  # to uv they mean nothing here
    kept = Requirement(str(constraint), where)
    into.options = replace(into.options, constraints=(*into.options.constraints, kept))
    reason = "it installs nothing: it holds where something else needs the package"
    into.ledger.add(Action.KEPT, shown, reason, where=where)


def _needs_you(into: PipLines, text: str, why: str, remedy: str, where: Location) -> None:
    into.ledger.add(Action.NEEDS_YOU, shown_line(text), why, where=where, remedy=remedy)


def _option(into: PipLines, line: str, where: Location) -> None:
    match = _OPTION.match(line)
    name, value = (match["name"], match["value"].strip()) if match else (line, "")
    value = value.strip("\"'")
    name = _ALIASES.get(name, name)
    if name in _INDEXES:
        _index(into, name, value, where)
    elif name in ("--requirement", "--constraint"):
        _include(into, line, value, where, constraints=name == "--constraint")
    elif name == "--editable":
        into.evidence.append(f"-e {value}")
        if _local(into, value, f"-e {value}", where, editable=True):
            return
        if re.match(r"(git|hg|svn|bzr)(\+|://)|git@", value):
            read = requirement_line.read(value)
        else:
            read = requirement_line.elsewhere(value)
        _needs_you(into, f"-e {value}", read.reason, read.remedy or "", where)
    elif name == "--pre":
        into.options = replace(into.options, pre=True)
        into.ledger.add(Action.KEPT, name, "versions before a release are taken, too", where=where)
    elif name == "--no-index":
        reason = "pip's index is asked, too: a lock names where a file can be had"
        into.ledger.add(Action.RELAXED, name, reason, where=where)
    else:
        _dropped(into, name, where)


def _index(into: PipLines, name: str, value: str, where: Location) -> None:
    if is_local(value) or (name == "--find-links" and not re.match(r"[a-z+]+://", value)):
        _needs_you(into, f"{name} {value}", f"it is {OF_ONE_MACHINE}", SERVED, where)
    elif problem := index_problem(value, where):
        into.problems.append(problem)
    else:
        into.ledger.add(Action.KEPT, f"{name} {without_secrets(value)}", AS_IT_IS, where=where)
        options = into.options
        if name == "--index-url":
            into.options = replace(options, index_url=value)
        elif name == "--extra-index-url":
            urls = tuple(dict.fromkeys((*options.extra_index_urls, value)))
            into.options = replace(options, extra_index_urls=urls)
        else:
            into.options = replace(options, find_links=tuple(dict.fromkeys((*options.find_links, value))))


def _dropped(into: PipLines, option: str, where: Location) -> None:
    into.ledger.add(Action.DROPPED, option, _WITHOUT_MEANING.get(option, _WHEELS_ONLY), where=where)


def _include(into: PipLines, line: str, name: str, where: Location, *, constraints: bool) -> None:
    if re.match(r"[A-Za-z][A-Za-z+]+://", name):
        why = "a file from the network can be another one tomorrow"
        _needs_you(into, line, why, "Download it, and name the copy.", where)
        return
    folder = into.directory / Path(where.file).parent
    if "\\" in name and not os.path.lexists(folder / name):
        name = name.replace("\\", "/")
    path = (folder / name).resolve()
    option = "-c" if constraints else "-r"
    if path in into.sources or len(into.sources) > MAX_INCLUDES:
        what = f"{option} {name} includes itself, directly or through another file"
        into.problems.append(Problem(what, where))
        return
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):  # noqa: PTH110, PTH112, PTH113 these never raise
        into.problems.append(Problem(f"{option} {name} is not a file", where))
        return
    reason = "its lines are read as part of this one"
    into.ledger.add(Action.TRANSLATED, shown_line(line), reason, where=where)
    try:
        read_file(into, path, str(Path(where.file).parent / name), constraints=constraints)
    except SourceError as error:
        into.problems.append(Problem(error.what, error.where or where, error.why, error.hint))
