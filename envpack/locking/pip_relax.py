"""Pip's part of a whole environment: what cannot be had is left out or relaxed, and said.

uv says which requirement is to blame. One whose name is on no index is left out; an exact pin that has no
wheel or no such version, or that is named in a conflict, is loosened by one step, and uv is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence

from packaging.requirements import Requirement as Pep508
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envpack.errors import Problem, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking import pip_solver
from envpack.locking.names import project_of
from envpack.locking.pip_solver import PipRecord
from envpack.locking.solution import Relaxation
from envpack.locking.solver import CondaRecord
from envpack.locking.target import Target
from envpack.locking.unindexed import Instead
from envpack.locking.uv_messages import ABSENT, blames, names_in
from envpack.spec import PipOptions, Requirement

ROUNDS = 20


class _Line:
    """One requirement: the texts it may take, from the one written to the name alone, and why it changed."""

    def __init__(self, requirement: Requirement) -> None:
        self.requirement = requirement
        self.name = project_of(requirement)
        self.texts = loosened(requirement.text)
        self.level = 0
        self.why = ""
        self.absent = False

    @property
    def now(self) -> Requirement:
        return Requirement(self.texts[self.level], self.requirement.where)

    def give_way(self, why: str) -> bool:
        """Take the next looser text, if there is one."""
        if self.level + 1 == len(self.texts):
            return False
        self.level += 1
        self.why = self.why or why
        return True


def solve(
    requirements: Sequence[Requirement],
    options: PipOptions,
    records: tuple[CondaRecord, ...],
    aim: Target,
    ledger: Ledger,
    instead: Instead | None = None,
) -> tuple[tuple[PipRecord, ...], tuple[Relaxation, ...]]:
    """As :func:`pip_solver.solve`, and what was relaxed; that and what was left out is said in ``ledger``.

    ``instead`` is told the failures before anything is relaxed. Raises what it raises, and what
    :func:`pip_solver.solve` does where nothing is left to relax.
    """
    lines = [_Line(requirement) for requirement in requirements]
    for _ in range(ROUNDS):
        try:
            asked = [line.now for line in lines if not line.absent]
            found = pip_solver.solve(asked, options, records, aim, ledger)
            break
        except SolveError as error:
            if instead:
                instead.failed(error, aim)
            if not _give_way([line for line in lines if not line.absent], error):
                if instead:
                    instead.failed(error, aim, any_version=True)
                raise
    else:
        found = pip_solver.solve(
            [line.now for line in lines if not line.absent], options, records, aim, ledger
        )
    return found, _told(lines, found, aim, ledger)


def loosened(text: str) -> tuple[str, ...]:
    """The PEP 508 requirement ``text`` and looser ones; ``a==1.2.3`` has: ``a==1.2.*``, ``a==1.*``, ``a``."""
    parsed = Pep508(text)
    specifiers = list(parsed.specifier)
    if len(specifiers) != 1 or specifiers[0].operator not in ("==", "==="):
        return (text,)
    try:
        version = Version(specifiers[0].version)
    except InvalidVersion:
        looser = [""]
    else:
        epoch = f"{version.epoch}!" if version.epoch else ""
        looser = [f"=={epoch}{version.major}.{version.minor}.*", f"=={epoch}{version.major}.*", ""]
    texts = [text]
    for specifier in looser:
        parsed.specifier = SpecifierSet(specifier)
        texts.append(str(parsed))
    return tuple(texts)


def _give_way(lines: Sequence[_Line], error: SolveError) -> bool:
    """Loosen or leave out what ``error`` blames; gives whether that changed anything."""
    changed = False
    blamed = {id(line): (line, p) for p in error.problems for line in lines if _is_about(p, line)}
    for line, problem in blamed.values():
        if ABSENT in problem.what:
            line.absent = changed = True
        elif line.give_way(problem.what.removeprefix(line.now.text).strip()):
            changed = True
    if not blamed and not error.problems:
        named = names_in(error.why or "")
        for line in lines:
            if line.name in named and line.give_way("does not go with the others"):
                changed = True
    return changed


def _is_about(problem: Problem, line: _Line) -> bool:
    if problem.where is not None:
        return blames(problem, line.requirement)
    return canonicalize_name(problem.what.split(" ", 1)[0]) == line.name


def _told(
    lines: Sequence[_Line], found: Sequence[PipRecord], aim: Target, ledger: Ledger
) -> tuple[Relaxation, ...]:
    versions = {record.name: record.version for record in found}
    relaxed = []
    for line in lines:
        text, where = line.requirement.text, line.requirement.where
        if line.absent:
            remedy = f"Remove {line.name}, or name the index that has it."
            ledger.add(
                Action.NEEDS_YOU,
                text,
                f"{line.name} is not on the index: left out",
                where=where,
                remedy=remedy,
            )
        elif line.level:
            got = versions.get(line.name, "conda's")
            ledger.add(Action.RELAXED, text, f"{got}: it {line.why}", where=where)
            relaxed.append(Relaxation(text, got, f"it {line.why}", aim.platform, where))
    return tuple(relaxed)
