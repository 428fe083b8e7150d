"""Sources for pip alone: the output of ``pip freeze`` and requirements files."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from envpack.errors import Location, Problem, SourceError, UsageError
from envpack.ledger import Action, Ledger
from envpack.sources import exporting_system, foreign_lines, match_specs
from envpack.sources.requirements import PipLines, logical_lines, read_lines, settle
from envpack.sources.text import MAX_LIST_BYTES, too_long
from envpack.spec import EnvSpec, Requirement

SYSTEM = "system"
MIN_FROZEN = 10
_PAIR = re.compile(r"[A-Za-z0-9_][\w.-]*==[^=\s,;]+\Z")
_ONLY_CONDA = re.compile(
    r"_\w|ld_impl_|python_abi=|libgcc-ng=|libstdcxx-ng=|ca-certificates=|vs2015_runtime=|libcxx="
)
# Not of the stable ABI: these are for newer pythons, too.
_WHEEL = re.compile(r"-cp([23])(\d{1,2})-(?!abi3)[a-z0-9_]+-[^\s/\\-]+\.whl\b")
_PYTHON = re.compile(r"[23]\.\d{1,3}(\.\d{1,3})?\Z")


def check_python(python: str | None) -> None:
    """Raise :class:`UsageError` unless the user's ``python`` is a version, :data:`SYSTEM` or not given."""
    if python not in (None, SYSTEM) and not _PYTHON.match(python or ""):
        raise UsageError(
            f"{python!r} is not a python version",
            hint="Write it as 3.11 or 3.11.7, or system for the base image's own.",
        )


def read(
    text: str,
    *,
    shown: str,
    path: Path | None,
    directory: Path,
    name: str,
    python: str | None,
    ledger: Ledger,
) -> EnvSpec:
    """The environment that a requirements file asks for, on a python from conda or on the base image's own.

    ``path`` is the file (``None`` for standard input), ``directory`` what ``-r`` and ``shown`` are relative
    to, ``python`` a version such as ``3.11``, or :data:`SYSTEM` for that of the base image's distribution;
    without it that of the wheels that are named, else any. Raises :class:`SourceError` with every line that
    cannot be used.
    """
    check_python(python)
    if len(text) > MAX_LIST_BYTES:
        raise too_long(shown, MAX_LIST_BYTES)
    if foreign := foreign_lines.problems(text, shown):
        raise _unusable(shown, foreign)
    if (conda := _conda_names_and_versions(text)) and python != SYSTEM:
        return _conda_list(conda, shown=shown, path=path, name=name, ledger=ledger)
    lines = PipLines(ledger, directory, sources=[path.resolve()] if path else [])
    read_lines(lines, logical_lines(text, shown))
    settle(lines)
    if lines.problems:
        raise _unusable(shown, lines.problems)
    if not lines.requirements and not lines.conda and not lines.local:
        raise SourceError(
            f"{shown} asks for no packages",
            why="every line is one that cannot be locked" if len(lines.evidence) else None,
            hint="Fill it: pip freeze > requirements.txt",
        )
    on_system = python == SYSTEM
    if on_system and lines.conda:
        what = "a package of conda's cannot be installed on the base image's own python"
        raise _unusable(shown, [Problem(what, r.where, hint="Remove the line.") for r in lines.conda])
    asks_python = any(r.text.startswith("python ") for r in lines.conda)
    if python is None and not asks_python:
        python = _python(lines, shown)
    own = [] if on_system or asks_python else [Requirement(f"python ={python}" if python else "python")]
    return EnvSpec(
        name=name,
        channels=() if on_system else ("conda-forge",),
        conda=(*own, *lines.conda),
        pip=tuple(lines.requirements),
        local=tuple(lines.local),
        pip_options=lines.options,
        sources=tuple(lines.sources),
        system_python=on_system,
        complete=_is_whole(lines),
        exported_from=_system(lines),
    )


def _unusable(shown: str, problems: list[Problem]) -> SourceError:
    return SourceError(
        f"{shown} has lines that cannot be used",
        problems=problems,
        hint="Change these lines, then run the same command again.",
    )


def _is_whole(lines: PipLines) -> bool:
    """Whether this is what ``pip freeze`` prints, not what somebody wrote: all pinned, and in its order."""
    pinned, count = lines.frozen, len(lines.requirements)
    if len(pinned) < MIN_FROZEN or len(pinned) < 0.95 * count:
        return False
    in_order = sum(a.replace("_", "-") <= b.replace("_", "-") for a, b in pairwise(pinned))
    return in_order >= 0.9 * (len(pinned) - 1)


def _system(lines: PipLines) -> str | None:
    """The system of the machine that wrote the list: by paths, then by what only one system has."""
    found = Counter(
        filter(
            None, (exporting_system.of_path(line) for line in lines.evidence if "/" in line or "\\" in line)
        )
    )
    for subdir in ("win-64", "osx-arm64", "osx-64"):  # conda builds for all systems on Linux, too
        if found[subdir]:
            return subdir
    without_markers = (
        re.split(r"[\s=@<>~!\[]", line, maxsplit=1)[0] for line in lines.evidence if ";" not in line
    )
    named = exporting_system.of_names(without_markers, whole=False)
    return named or ("linux-64" if found["linux-64"] else None)


def _python(lines: PipLines, shown: str) -> str | None:
    """The python that the list's wheels are for: most of them, and of several the newest."""
    found = Counter((int(m[1]), int(m[2])) for line in lines.evidence if (m := _WHEEL.search(line)))
    if not found:
        return None  # what its versions tell is seen when it is locked
    major, minor = max(found, key=lambda version: (found[version], version))
    lines.ledger.add(
        Action.GUESSED,
        f"python {major}.{minor}",
        f"the list names wheels for it (cp{major}{minor})",
        where=Location(shown),
        remedy="Give the version with --python.",
    )
    return f"{major}.{minor}"


def _conda_names_and_versions(text: str) -> list[tuple[int, str]]:
    """Numbered lines of a list of ``name==version`` that has names which only conda has."""
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if not all(_PAIR.match(line) for _, line in lines):
        return []
    return lines if sum(_ONLY_CONDA.match(line) is not None for _, line in lines) >= 2 else []


def _conda_list(
    lines: list[tuple[int, str]], *, shown: str, path: Path | None, name: str, ledger: Ledger
) -> EnvSpec:
    ledger.add(
        Action.GUESSED,
        "channels: conda-forge",
        "the list has names that only conda has: its lines are read as conda packages",
        where=Location(shown),
        remedy="Give the output of conda list --export, which says more.",
    )
    problems: list[Problem] = []
    found = [match_specs.read(line, Location(shown, number), ledger, problems) for number, line in lines]
    if problems:
        raise _unusable(shown, problems)
    specs = [spec for spec in found if spec]
    return EnvSpec(
        name=name,
        channels=("conda-forge",),
        conda=tuple(match_specs.pinned(spec.requirement) for spec in specs),
        sources=(path.resolve(),) if path else (),
        complete=True,
        exported_from=exporting_system.of_names((spec.name for spec in specs), whole=True),
    )
