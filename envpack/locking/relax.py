"""The fewest changes to exact pins that let a request solve.

A request that solves still solves when it is loosened. So the search starts with everything loose, which is
the one answer whether there is a real conflict, and tightens: first those that matter most, many at once,
in halves where many at once do not solve. What ends up loose could not be tightened with less asked for
than in the end, so no single change can be undone: the result is minimal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from envpack.errors import SolveError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One requirement: its ``texts`` from the one wanted to the loosest.

    Nothing tighter than ``texts[floor]`` exists; the first ``builds`` of them name a build.
    """

    texts: tuple[str, ...]
    floor: int = 0
    builds: int = 0


@dataclass(frozen=True, slots=True)
class Relaxed(Generic[T]):
    """What was found: the answer, the level of each row, and why some are not tighter.

    ``refused`` has the solver's words for rows that did not fit one level tighter, ``untried`` is set when
    time ran out, and then rows may be looser than they need to be.
    """

    answer: T
    levels: tuple[int, ...]
    refused: Mapping[int, str]
    untried: bool
    solves: int


class Search(Generic[T]):
    """One search over ``rows`` in order of importance. ``attempt`` gives an answer or raises SolveError."""

    def __init__(
        self,
        rows: Sequence[Row],
        attempt: Callable[[Sequence[str], float], T],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        counted: Callable[[], None] = lambda: None,
    ) -> None:
        """``attempt`` is given the texts and how many seconds are left; ``counted`` is called for each."""
        self._rows = rows
        self._attempt = attempt
        self._clock = clock
        self._end = clock() + seconds
        self._counted = counted
        self._levels = [len(row.texts) - 1 for row in rows]
        self._refused: dict[int, str] = {}
        self._untried = False
        self._solves = 0

    def run(self, answer: T, *, doubtful: bool = False) -> Relaxed[T]:
        """Tighten from ``answer``, which is that of everything at its loosest.

        ``doubtful``: looser need not be easier, so what was refused at first is tried again at the end.
        """
        self._answer = answer
        everything = range(len(self._rows))
        # versions matter more than builds: all of them first
        self._tighten(everything, [max(row.floor, row.builds) for row in self._rows])
        exact = [i for i in everything if self._levels[i] == self._rows[i].builds]
        self._tighten(exact, [row.floor for row in self._rows])
        while doubtful and any(self._try({i: self._levels[i] - 1}) for i in everything if self._loose(i)):
            pass
        return Relaxed(self._answer, tuple(self._levels), self._refused, self._untried, self._solves)

    def _loose(self, row: int) -> bool:
        return self._levels[row] > self._rows[row].floor

    def _tighten(self, chunk: Sequence[int], goal: Sequence[int], *, hopeless: bool = False) -> bool:
        """Bring ``chunk`` as near to its ``goal`` as solves; gives whether all of it got there.

        ``hopeless``: that not all of it gets there is known.
        """
        chunk = [i for i in chunk if self._levels[i] > goal[i]]
        if not chunk:
            return True
        if self._clock() >= self._end:
            self._untried = True
            return False
        if len(chunk) == 1:
            (row,) = chunk
            return any(self._try({row: level}) for level in range(goal[row], self._levels[row])) and (
                self._levels[row] == goal[row]
            )
        if not hopeless and self._try({i: goal[i] for i in chunk}):
            return True
        half = len(chunk) // 2
        first = self._tighten(chunk[:half], goal)
        second = self._tighten(chunk[half:], goal, hopeless=first)
        return first and second

    def _try(self, change: Mapping[int, int]) -> bool:
        left = self._end - self._clock()
        if left <= 0:
            self._untried = True
            return False
        levels = [change.get(i, level) for i, level in enumerate(self._levels)]
        self._solves += 1
        self._counted()
        try:
            texts = [row.texts[level] for row, level in zip(self._rows, levels, strict=True)]
            self._answer = self._attempt(texts, left)
        except SolveError as error:
            if self._clock() >= self._end:  # cut short: no answer is not a refusal
                self._untried = True
            elif len(change) == 1:
                self._refused[next(iter(change))] = error.why or error.what
            return False
        self._levels = levels
        return True
