"""One platform's conda request: as it was written if that solves, else with the fewest changes that do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from envpack.errors import BaseImageError, NetworkError, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking import elsewhere, pins
from envpack.locking.relax import Relaxed, Row, Search
from envpack.locking.solution import Relaxation
from envpack.locking.solver import SOLVE_SECONDS, CondaRecord, CondaSolver
from envpack.progress import Progress
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from rattler import RepoDataRecord

SECONDS = 120
# In a solver's explanation, what tells most first.
_TELLING = (
    "no candidates were found",
    "conflicts with",
    "not in the channel",
    "no viable options",
    "would require",
)
_OTHER_CHANNEL = re.compile(r"(\S.*) is excluded because due to strict channel priority not using this .*")
_ALWAYS_ASKED = frozenset({"python"})


Records = tuple[CondaRecord, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The packages, what was relaxed for them, and ``leaves``: listed names that no other package needs.

    ``leaves`` is ``None`` where the source itself says what was asked for.
    """

    records: Records
    relaxed: tuple[Relaxation, ...] = ()
    leaves: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A requirement, its name, and as a pin if it is one."""

    requirement: Requirement
    name: str
    pin: pins.Pin | None


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

    def ask(asked: Sequence[_Line], texts: Sequence[str], left: float = SOLVE_SECONDS) -> Records:
        wanted = [Requirement(text, n.requirement.where) for text, n in zip(texts, asked, strict=True)]
        return solver.solve(platform, glibc, wanted, max(left, 1))

    rows, records, doubtful = _loosest(lines, candidates, ask)
    leaves = _leaves(lines, records) if find_leaves else None
    needless: list[_Line] = []
    if foreign and leaves is not None:
        there = leaves - _needed_there(lines, foreign, solver) | (leaves & _ALWAYS_ASKED)
        needless = [line for line in lines if line.name in leaves - there and line.name != "pip"]
        leaves = there
    if needless:
        lines = [line for line in lines if line not in needless]
        rows, records, doubtful = _loosest(lines, candidates, ask)
    asked = leaves if leaves is not None else _asked(spec, lines)
    order = sorted(
        range(len(lines)), key=lambda i: (lines[i].name not in _ALWAYS_ASKED, lines[i].name not in asked, i)
    )
    lines, rows = [lines[i] for i in order], [rows[i] for i in order]

    def attempt(texts: Sequence[str], left: float) -> Records:
        try:
            return ask(lines, texts, left)
        except BaseImageError as error:
            raise SolveError(error.what, why=error.what) from None

    with progress.step(f"Finding the versions nearest to those asked for, on {platform}") as task:
        search = Search(rows, attempt, seconds=seconds, clock=clock, counted=task.advance)
        found = search.run(records, doubtful=doubtful)
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
    lines = [_OTHER_CHANNEL.sub(r"\1 is not in the channel that comes first", line) for line in lines]
    for mark in _TELLING:
        for before, told in zip(["", *lines], lines, strict=False):
            if mark in told:
                return f"{before} {told}" if before.endswith("would require") else told
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


def _loosest(
    lines: Sequence[_Line],
    candidates: Mapping[str, Sequence[RepoDataRecord]],
    ask: Callable[[Sequence[_Line], Sequence[str]], Records],
) -> tuple[list[Row], Records, bool]:
    """The rows for a search, the answer to their loosest texts, and whether the search may be misled.

    The solver takes a package from the first channel that has something the text takes: a looser text can
    mean another channel, whose packages do not fit. So the channel that has the version wanted stays the
    channel, unless there is no answer with that.
    """
    rows = [_row(line, candidates.get(line.name, [])) for line in lines]
    try:
        return rows, ask(lines, [row.texts[-1] for row in rows]), False
    except SolveError:
        free = [
            replace(row, texts=line.pin.texts) if line.pin else row
            for row, line in zip(rows, lines, strict=True)
        ]
        if free == rows:
            raise
    return free, ask(lines, [row.texts[-1] for row in free]), True


def _row(line: _Line, candidates: Sequence[RepoDataRecord]) -> Row:
    """``line`` for the search; texts that no package answers need not be tried."""
    from rattler import MatchSpec

    if line.pin is None:
        return Row((line.requirement.text,))
    texts = line.pin.texts
    for level, text in enumerate(texts):
        match = MatchSpec(text.partition("::")[2] or text)
        there = next((record for record in candidates if match.matches(record)), None)
        if there is None:
            continue
        if "::" not in text and there.channel and there.channel != candidates[0].channel:
            head = f"{there.channel.rstrip('/')}::"
            texts = (*texts[: level + 1], *(head + looser for looser in texts[level + 1 :]))
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
    found: Relaxed[Records],
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
