"""Sources for pip alone: the output of ``pip freeze`` and requirements files."""

from __future__ import annotations

import re
from pathlib import Path

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Ledger
from envpack.sources.requirements import PipLines, logical_lines, read_lines
from envpack.spec import EnvSpec, Requirement

SYSTEM = "system"
_PYTHON = re.compile(r"[23]\.\d{1,3}(\.\d{1,3})?\Z")


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
    without it the solver takes the newest. Raises :class:`SourceError` with every line that cannot be used.
    """
    if python not in (None, SYSTEM) and not _PYTHON.match(python or ""):
        raise UsageError(
            f"{python!r} is not a python version",
            hint="Write it as 3.11 or 3.11.7, or system for the base image's own.",
        )
    lines = PipLines(ledger, directory, sources=[path.resolve()] if path else [])
    read_lines(lines, logical_lines(text, shown))
    if lines.problems:
        raise SourceError(
            f"{shown} has lines that cannot be used",
            problems=lines.problems,
            hint="Change these lines, then run the same command again.",
        )
    if not lines.requirements:
        raise SourceError(f"{shown} asks for no packages", hint="Fill it: pip freeze > requirements.txt")
    if python is None:
        ledger.add(
            Action.GUESSED,
            "python",
            "a list for pip does not say its python version: the newest is taken",
            remedy="Give the version with --python.",
        )
    on_system = python == SYSTEM
    return EnvSpec(
        name=name,
        channels=() if on_system else ("conda-forge",),
        conda=() if on_system else (Requirement(f"python ={python}" if python else "python"),),
        pip=tuple(lines.requirements),
        pip_options=lines.options,
        sources=tuple(lines.sources),
        system_python=on_system,
    )
