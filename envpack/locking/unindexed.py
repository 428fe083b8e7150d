"""What pip's index cannot give and the channels can: it is asked of conda.

That is known when pip's part has failed, for a python and a platform. One failure names all that is missing,
so that one more solve of the whole usually does; there are at most :data:`ROUNDS` of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.errors import BaseImageError, Problem, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking.names import conda_names, project_of
from envpack.locking.solver import CondaSolver
from envpack.locking.specifiers import to_conda
from envpack.locking.target import Target
from envpack.locking.uv_messages import ABSENT, blames
from envpack.markers import on_linux
from envpack.progress import Progress
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from rattler import RepoDataRecord

T = TypeVar("T")
ROUNDS = 3
_NO_WHEEL = " has no wheel "
_OF_PYTHON = ("python", "python_abi")


class Instead:
    """What pip's solve tells its failures; conda is asked instead where that can help."""

    def __init__(self, spec: EnvSpec, platforms: Sequence[str], channels: CondaSolver | None) -> None:
        """``channels`` are those of ``spec``; without them nothing can be asked of conda."""
        self.spec = spec
        self.moves: list[_Move] = []
        self._written = spec
        self._platforms = platforms
        self._channels = channels
        self._rounds = 0

    def failed(self, error: SolveError, aim: Target, *, any_version: bool = False) -> None:
        """Raise :class:`Moved` if what ``error`` blames can be had of conda for ``aim``, and return if not.

        A version that conda has not is taken for a name that no index has, or with ``any_version``.
        """
        if self._channels is None or self._rounds >= ROUNDS:
            return
        wanted = [found for p in error.problems if (found := self._wanted(p, error, any_version))]
        before = {move.name for move in self.moves}  # what pip's part does not see, and fails for again
        moves = [move for move in self._possible(wanted, aim) if move.name not in before]
        if moves:
            self._rounds += 1
            self.moves += moves
            self.spec = _moved(self.spec, moves)
            raise Moved(", ".join(move.name for move in moves))

    def names(self, platform: str) -> Collection[str]:
        """The names of the packages that the channels have for ``platform``; none where nobody asked them."""
        return self._channels.names(platform) if self._channels else ()

    def undo(self) -> bool:
        """Go back to what was written, for good; gives whether that is anything else."""
        there = bool(self.moves)
        self.spec, self.moves, self._rounds = self._written, [], ROUNDS
        return there

    def _wanted(self, problem: Problem, error: SolveError, any_version: bool) -> _Wanted | None:
        """What to ask of conda because of ``problem``; ``None`` where it is none that conda can mend."""
        line = next((r for r in self.spec.pip if problem.where and blames(problem, r)), None)
        text = line.text if line else problem.what.split(" ", 1)[0]
        if line is None and (needed := re.search(rf"\bon ({re.escape(text)}[=<>!~]\S+)", error.why or "")):
            text = needed[1].rstrip(",")
        try:
            asked = Pep508(text)
        except InvalidRequirement:
            return None
        if asked.extras or asked.url or (asked.marker and not on_linux(asked.marker)):
            return None
        absent = problem.what.endswith(ABSENT)
        why = "no such name" if absent else problem.what.partition(" has ")[2].removesuffix(" on the index")
        free = absent or (any_version and _NO_WHEEL in problem.what)
        return _Wanted(line, asked, f"pip's index has {why}", free)

    def _possible(self, wanted: Sequence[_Wanted], aim: Target) -> list[_Move]:
        """Those of ``wanted`` that the channels have on every platform, for the python of ``aim``.

        Pip's pins of what they need themselves come along: conda would choose other versions.
        """
        moves = []
        lines = {id(one.line) for one in wanted}
        for one in wanted:
            for name in _names(one.asked.name):
                version = to_conda(one.asked.specifier)
                exact = f"{name} {version}".rstrip() if version is not None else None
                texts = [text for text in (exact, name if one.free else None) if text]
                there = next((found for text in texts if (found := self._there(text, aim.python))), None)
                if there:
                    moves.append(_Move(one.line, name, exact or name, one.why, str(one.asked)))
                    needed = {d.split(" ", 1)[0] for record in there for d in record.depends}
                    along = self._needed(name, needed, lines, aim.python)
                    lines |= {id(move.line) for move in along}
                    moves += along
                    break
        return moves

    def _needed(self, by: str, names: Collection[str], without: Collection[int], python: str) -> list[_Move]:
        """The pins among pip's lines, ``without`` some, that are of ``names`` and that conda has."""
        moves = []
        for line in self.spec.pip:
            asked = Pep508(line.text)
            if id(line) in without or asked.extras or asked.url or asked.marker or "==" not in line.text:
                continue
            name = next((name for name in _names(asked.name) if name in names), None)
            version = to_conda(asked.specifier)
            if name and version and self._there(f"{name} {version}", python):
                why = f"conda's {by} needs it"
                moves.append(_Move(line, name, f"{name} {version}", why, line.text))
        return moves

    def _there(self, text: str, python: str) -> list[RepoDataRecord]:
        """The packages that ``text`` can mean, of all platforms; none where one platform has none."""
        assert self._channels is not None
        found = []
        for platform in self._platforms:
            if text.split(" ", 1)[0] not in self._channels.names(platform):
                return []
            here = [r for r in self._channels.candidates(platform, [text]) if _fits(r, python)]
            if not here:
                return []
            found += here
        return found


class Moved(Exception):
    """The request is another one now, with these names asked of conda."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A line of pip's, or what another package needs (``line`` is ``None``), as pip would have it.

    ``free``: conda's may be of any version.
    """

    line: Requirement | None
    asked: Pep508
    why: str
    free: bool


@dataclass(frozen=True, slots=True)
class _Move:
    """``text`` is the match spec to ask of conda, ``subject`` what pip was asked for."""

    line: Requirement | None
    name: str
    text: str
    why: str
    subject: str


def solve(
    spec: EnvSpec,
    platforms: Sequence[str],
    channels: CondaSolver | None,
    attempt: Callable[[Instead, Ledger], T],
    *,
    ledger: Ledger,
    progress: Progress,
) -> tuple[EnvSpec, T]:
    """``spec`` with what moved to conda, said in ``ledger``, and what ``attempt`` makes of it.

    ``attempt`` solves the ``spec`` of what it is given, with a ledger for this one try, and tells it the
    failures of pip's part. Where what moved has no solution, nothing moves. Raises what ``attempt`` raises.
    """
    instead = Instead(spec, platforms, channels)
    while True:
        said = Ledger()
        for move in instead.moves:
            where = move.line.where if move.line else None
            said.add(Action.REPLACED, move.subject, f"{move.why}: asked of conda, {move.text}", where=where)
        try:
            found = attempt(instead, said)
        except Moved as moved:
            progress.note(f"pip's index does not have what is asked for, and conda has: {moved}")
            continue
        except (SolveError, BaseImageError):
            if instead.undo():
                continue
            _tell(said, ledger)
            raise
        _tell(said, ledger)
        return instead.spec, found


def _tell(said: Ledger, ledger: Ledger) -> None:
    for finding in said:
        ledger.add(
            finding.action, finding.subject, finding.reason, where=finding.where, remedy=finding.remedy
        )


def _names(project: str) -> list[str]:
    """The conda packages that may be the PyPI project: known ones, and those of its name."""
    normal = canonicalize_name(project)
    same = [project.lower(), normal, normal.replace("-", "_")]
    return list(dict.fromkeys([*conda_names(project), *same]))


def _moved(spec: EnvSpec, moves: Sequence[_Move]) -> EnvSpec:
    lines = [move.line for move in moves if move.line is not None]
    asked = spec.asked
    if asked is not None:
        tokens = {f"pip:{project_of(m.line)}": m.name for m in moves if m.line}
        asked = frozenset(f"conda:{tokens[token]}" if token in tokens else token for token in asked)
    return replace(
        spec,
        conda=(*spec.conda, *(Requirement(m.text, m.line.where if m.line else None) for m in moves)),
        pip=tuple(line for line in spec.pip if line not in lines),
        asked=asked,
    )


def _fits(record: RepoDataRecord, python: str) -> bool:
    """Whether ``record`` is for this python, as far as its dependencies tell."""
    from rattler import MatchSpec, Version, VersionSpec

    needs = (dependency for dependency in record.depends if dependency.split(" ", 1)[0] in _OF_PYTHON)
    versions = (MatchSpec(dependency).version for dependency in needs)
    return all(not version or VersionSpec(str(version)).matches(Version(python)) for version in versions)
