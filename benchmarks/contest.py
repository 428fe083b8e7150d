"""Contestants, measured in turn, and their medians."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Command, CommandFailed, Cost, count, measure


@dataclass(frozen=True)
class Contestant:
    """What is measured under ``key``, in at most ``rounds``.

    ``prepare`` is given the number of the round, does what is not measured, and says what to run. ``size`` is
    how many bytes the result has; ``kept`` are the folders in which files may stay.
    """

    key: str
    title: str
    prepare: Callable[[int], Command]
    size: Callable[[], int] | None = None
    kept: Sequence[Path] = ()
    rounds: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """What is not measured on this machine; ``key`` is that of what was tried and failed."""

    title: str
    why: str
    key: str = ""


@dataclass
class Row:
    """A contestant's results, one for each round."""

    key: str
    title: str
    note: str = ""
    costs: list[Cost] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(cost.wall for cost in self.costs)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest."""
        walls = [cost.wall for cost in self.costs]
        return min(walls), max(walls)

    @property
    def cpu(self) -> float:
        return statistics.median(cost.cpu for cost in self.costs)

    @property
    def memory(self) -> int:
        """The highest peak of all rounds, for a limit must hold each time."""
        return max(cost.memory for cost in self.costs)

    @property
    def inodes(self) -> int:
        return int(statistics.median(cost.inodes for cost in self.costs))

    @property
    def temporary(self) -> int:
        """Of :attr:`inodes`, those that are gone at the end."""
        return max(0, self.inodes - int(statistics.median(self.kept)))

    @property
    def size(self) -> int | None:
        return int(statistics.median(self.sizes)) if self.sizes else None


def play(
    contestants: Sequence[Contestant], rounds: int, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, Row], list[Absent]]:
    """Measure all, in every other round from the last to the first, so that drift favours nobody.

    Gives the rows by key, and who failed.
    """
    rows: dict[str, Row] = {}
    failed: dict[str, Absent] = {}
    for contestant, number in schedule(contestants, rounds):
        if contestant.key in failed:
            continue
        try:
            command = contestant.prepare(number)
            before = sum(map(count, contestant.kept))
            cost = measure(command, folder)
        # Programs of the tests' fixtures, which fail by assertions, are among what prepares.
        except (CommandFailed, OSError, AssertionError, subprocess.SubprocessError) as error:
            failed[contestant.key] = Absent(contestant.title, f"it failed: {error}", contestant.key)
            say(f"{contestant.title}: {error}")
            continue
        row = rows.setdefault(contestant.key, Row(contestant.key, contestant.title, contestant.note))
        row.costs.append(cost)
        row.kept.append(sum(map(count, contestant.kept)) - before)
        if contestant.size:
            row.sizes.append(contestant.size())
        say(f"{number + 1}/{rounds} {contestant.title}: {cost.wall:.2f} s, {cost.memory >> 20} MiB")
    order = [contestant.key for contestant in contestants]
    kept = {key: rows[key] for key in order if key in rows and key not in failed}
    return kept, list(failed.values())


def schedule(contestants: Sequence[Contestant], rounds: int) -> Iterator[tuple[Contestant, int]]:
    """Who is measured when."""
    for number in range(rounds):
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            if contestant.rounds is None or number < contestant.rounds:
                yield contestant, number
