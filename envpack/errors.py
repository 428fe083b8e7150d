"""Every error a user can cause: what happened, where, why, what to do next, and an exit code per kind.

Only the command line turns these into text and exit codes; nothing below it prints or exits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file the user wrote. Lines and columns count from 1, as editors do."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """``file:line:column``, as far as it is known."""
        parts = [self.file]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the sentence, and where and why and what to do if that is known."""

    what: str
    where: Location | None = None
    why: str | None = None
    hint: str | None = None


class EnvpackError(Exception):
    """Base of all errors. Carries one or many :class:`Problem`: all that were found, not the first.

    ``what`` is a sentence without a full stop; ``why`` is the cause, which may span lines (a solver's
    tree); ``hint`` is an imperative: the next thing to type or to change.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        what: str,
        *,
        where: Location | None = None,
        why: str | None = None,
        hint: str | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        """One plain-text line a part, for logs and for callers of the Python API."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        lines = [head]
        for problem in self.problems:
            place = f"{problem.where}: " if problem.where else ""
            reason = f" ({problem.why})" if problem.why else ""
            lines.append(f"  {place}{problem.what}{reason}")
        if self.why:
            lines.append(self.why)
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


class CheckFailed(EnvpackError):
    """What was asked to be checked does not hold (``lock --check``). Exit code 1."""

    exit_code = 1


class UsageError(EnvpackError):
    """The command line itself is wrong. Exit code 2."""

    exit_code = 2


class SourceError(EnvpackError):
    """An environment file is absent, unreadable or says something impossible. Exit code 3."""

    exit_code = 3


class SolveError(EnvpackError):
    """The packages asked for do not exist or do not fit together. Exit code 4."""

    exit_code = 4


class NetworkError(EnvpackError):
    """A channel, index or registry did not answer, or answered with an error. Exit code 5."""

    exit_code = 5


class IntegrityError(EnvpackError):
    """Bytes do not have the recorded hash or size, or an archive is broken. Exit code 6."""

    exit_code = 6


class BaseImageError(EnvpackError):
    """The base image does not exist for the platform or is too old for the packages. Exit code 7."""

    exit_code = 7


class OutputError(EnvpackError):
    """A file cannot be written: permissions, disk full, read-only file system. Exit code 8."""

    exit_code = 8


class EngineError(EnvpackError):
    """An engine (native, Docker, Apptainer) or a container run cannot do what was asked. Exit code 9."""

    exit_code = 9


class LockError(EnvpackError):
    """A lock file is absent, invalid, or lacks what the build needs. Exit code 10."""

    exit_code = 10


class ConfigError(EnvpackError):
    """The configuration file or an ``ENVPACK_*`` variable is wrong. Exit code 11."""

    exit_code = 11


class ProgramError(EnvpackError):
    """A program that envpack starts is missing or failed. Exit code 12."""

    exit_code = 12


class Interrupted(EnvpackError):
    """Ctrl-C or SIGTERM; work done so far is kept and continued by the same command. Exit code 130."""

    exit_code = 130
