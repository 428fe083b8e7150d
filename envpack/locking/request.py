"""One platform's conda request: as it was written if that solves, else with the fewest changes that do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envpack.errors import BaseImageError, NetworkError, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking import elsewhere, pins
from envpack.locking.relax import Relaxed, Row, Search
from envpack.locking.solution import Relaxation
from envpack.locking.solver import CondaRecord, CondaSolver
from envpack.progress import Progress
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from rattler import RepoDataRecord

SECONDS = 120
_ALWAYS_ASKED = frozenset({"python"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The packages, what was relaxed for them, and ``leaves``: listed names that no other package needs.

    ``leaves`` is ``None`` where the source itself says what was asked for.
    """

    records: tuple[CondaRecord, ...]
    relaxed: tuple[Relaxation, ...] = ()
    leaves: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A requirement, its name, and as a pin if it is one."""

    requirement: Requirement
    name: str
    pin: pins.Pin | None

    @property
    def loosest(self) -> Requirement:
        return Requirement(self.pin.texts[-1], self.requirement.where) if self.pin else self.requirement


def solve(
    spec: EnvSpec,
    requirements: Sequence[Requirement],
    platform: str,
    glibc: str,
    *,
    solver: CondaSolver,
    ledger: Ledger,
    progress: Progress,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Solve ``requirements``, those of ``spec`` whose names exist for ``platform``.

    Only exact pins are relaxed, within ``seconds``, and every change is said in ``ledger``. A source of
    another system (``spec.exported_from``) is not tried as it is. Raises :class:`SolveError` for a conflict
    that is not one of pins, :class:`BaseImageError`, :class:`NetworkError`.
    """
    foreign = spec.exported_from if spec.exported_from != platform else None
    whole = elsewhere.listed_whole(spec)
    lines = [_Line(r, elsewhere.name_of(r), pins.read(r, complete=whole)) for r in requirements]
    find_leaves = spec.complete and spec.asked is None
    first: SolveError | None = None
    if foreign is None:
        try:
            records = solver.solve(platform, glibc, requirements)
            return Answer(records, leaves=_leaves(lines, records) if find_leaves else None)
        except SolveError as error:
            first = error
    lines, candidates = _for_this_system(lines, platform, solver, ledger, whole=whole)
    if first and len(lines) == len(requirements) and not any(line.pin for line in lines):
        raise first
    records = solver.solve(platform, glibc, [line.loosest for line in lines])
    leaves = _leaves(lines, records) if find_leaves else None
    needless: list[_Line] = []
    if foreign and leaves is not None:
        there = leaves - _needed_there(lines, foreign, solver) | (leaves & _ALWAYS_ASKED)
        needless = [line for line in lines if line.name in leaves - there and line.name != "pip"]
        leaves = there
        if needless:
            lines = [line for line in lines if line not in needless]
            records = solver.solve(platform, glibc, [line.loosest for line in lines])
    asked = leaves if leaves is not None else _asked(spec, lines)
    lines.sort(key=lambda line: (line.name not in _ALWAYS_ASKED, line.name not in asked))
    rows = [_row(line, candidates.get(line.name, [])) for line in lines]

    def attempt(texts: Sequence[str], left: float) -> tuple[CondaRecord, ...]:
        asked_now = [
            Requirement(text, line.requirement.where) for text, line in zip(texts, lines, strict=True)
        ]
        try:
            return solver.solve(platform, glibc, asked_now, max(left, 1))
        except BaseImageError as error:
            raise SolveError(error.what, why=error.what) from None

    with progress.step(f"Finding the versions nearest to those asked for, on {platform}") as task:
        search = Search(rows, attempt, seconds=seconds, clock=clock, counted=task.advance)
        found = search.run(records)
    if found.untried:
        progress.note(f"{seconds:g} s were not enough to try everything: some versions may be nearer yet")
    relaxed = _relaxed(lines, rows, found, platform, foreign)
    relaxed += _no_longer_needed(needless, found.answer, platform, foreign, ledger)
    for one in relaxed:
        ledger.add(Action.RELAXED, one.wanted, f"{one.got}: {one.why}", where=one.where)
    return Answer(found.answer, tuple(relaxed), leaves)


def shortened(tree: str) -> str:
    """The line of a solver's explanation that says what stands in the way."""
    lines = [re.sub(r"^[\s│├└─]+", "", line).rstrip(" .:") for line in tree.splitlines() if line.strip()]
    marks = ("no candidates were found", "conflicts with", "excluded", "cannot be installed", "would require")
    for mark in marks:
        if told := next((line for line in lines if mark in line.lower()), None):
            return told
    return lines[0] if lines else tree


def _for_this_system(
    lines: Sequence[_Line], platform: str, solver: CondaSolver, ledger: Ledger, *, whole: bool
) -> tuple[list[_Line], dict[str, list[RepoDataRecord]]]:
    """The lines that have a package for Linux, and the packages by name."""
    every: dict[str, list[RepoDataRecord]] = {}
    for record in solver.candidates(platform, sorted({line.name for line in lines})):
        every.setdefault(record.name.normalized, []).append(record)
    usable = {name: elsewhere.usable(records) for name, records in every.items()}
    kept = []
    for line in lines:
        if line.name in every and not usable[line.name]:
            told = every[line.name]
            elsewhere.drop_unusable(line.requirement, line.name, told, platform, ledger, whole=whole)
        else:
            kept.append(line)
    return kept, usable


def _row(line: _Line, candidates: Sequence[RepoDataRecord]) -> Row:
    """``line`` for the search; texts that no package answers need not be tried."""
    from rattler import MatchSpec

    if line.pin is None:
        return Row((line.requirement.text,))
    texts = line.pin.texts
    for level, text in enumerate(texts):
        match = MatchSpec(text.partition("::")[2] or text)
        if any(match.matches(record) for record in candidates):
            return Row(texts, level, line.pin.builds)
    return Row(texts, len(texts) - 1, line.pin.builds)


def _asked(spec: EnvSpec, lines: Sequence[_Line]) -> frozenset[str]:
    return frozenset(n.name for n in lines if spec.asked is None or f"conda:{n.name}" in spec.asked)


def _leaves(lines: Sequence[_Line], records: Iterable[CondaRecord]) -> frozenset[str]:
    """The listed names that no chosen package needs, and python."""
    needed = {_first_word(d) for record in records for d in record.depends if _first_word(d) != record.name}
    return frozenset(line.name for line in lines if line.name not in needed - _ALWAYS_ASKED)


def _needed_there(lines: Sequence[_Line], foreign: str, solver: CondaSolver) -> set[str]:
    """What the listed packages need on the system they were listed on, as far as its repodata tells."""
    exact = [f"{line.name} =={line.pin.version}" for line in lines if line.pin]
    try:
        found = solver.candidates(foreign, exact)
    except NetworkError:
        return set()
    return {_first_word(d) for r in found for d in r.depends if _first_word(d) != r.name.normalized}


def _first_word(dependency: str) -> str:
    return dependency.split(" ", 1)[0]


def _relaxed(
    lines: Sequence[_Line],
    rows: Sequence[Row],
    found: Relaxed[tuple[CondaRecord, ...]],
    platform: str,
    foreign: str | None,
) -> list[Relaxation]:
    chosen = {record.name: record for record in found.answer}
    relaxed = []
    for i, (line, row, level) in enumerate(zip(lines, rows, found.levels, strict=True)):
        if level == 0 or line.pin is None:
            continue
        if level > row.floor:
            refused = found.refused.get(i)
            why = shortened(refused) if refused else "time ran out before anything nearer was tried"
        elif level > row.builds:
            why = f"no channel has {line.name} {line.pin.version} for {platform}"
        elif foreign:
            why = f"builds of {foreign} do not exist for {platform}"
        else:
            why = f"no channel has this build for {platform}"
        got = _got(chosen, line.name)
        relaxed.append(Relaxation(line.requirement.text, got, why, platform, line.requirement.where))
    return relaxed


def _no_longer_needed(
    lines: Sequence[_Line],
    records: Sequence[CondaRecord],
    platform: str,
    foreign: str | None,
    ledger: Ledger,
) -> list[Relaxation]:
    """What ``foreign`` pulled in and nothing here needs; of those that came after all, the relaxation."""
    chosen = {record.name: record for record in records}
    came = []
    for line in lines:
        text, where = line.requirement.text, line.requirement.where
        if line.name in chosen:
            why = f"it was pulled in on {foreign}, and is on {platform} as something there needs it"
            came.append(Relaxation(text, _got(chosen, line.name), why, platform, where))
        else:
            reason = f"it was pulled in on {foreign}; nothing needs it on {platform}"
            ledger.add(Action.DROPPED, text, reason, where=where)
    return came


def _got(chosen: Mapping[str, CondaRecord], name: str) -> str:
    record = chosen.get(name)
    return f"{record.version} {record.build}" if record else "not there"
