"""The search: minimal, by few solves, in order of importance, and within its time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from envpack.errors import SolveError
from envpack.locking.relax import Relaxed, Row, Search

LOOSE = 4
Clash = dict[int, int]  # rows by number, and the loosest level at which they still clash


def rows(count: int, **more: int) -> list[Row]:
    return [Row(tuple(str(level) for level in range(LOOSE + 1)), **more) for _ in range(count)]


class Solver:
    """A stand-in for a solver: what clashes is given."""

    def __init__(self, clashes: Sequence[Clash]) -> None:
        self.clashes = clashes
        self.now = 0.0

    def __call__(self, texts: Sequence[str], left: float) -> tuple[str, ...]:
        assert left > 0
        self.now += 1
        levels = [int(text) for text in texts]
        for clash in self.clashes:
            if all(levels[row] <= level for row, level in clash.items()):
                raise SolveError("no", why=f"clash of {sorted(clash)}")
        return tuple(texts)


def search(
    count: int, clashes: Sequence[Clash], seconds: float = 1e9, **more: int
) -> Relaxed[tuple[str, ...]]:
    solver = Solver(clashes)
    found = Search(rows(count, **more), solver, seconds=seconds, clock=lambda: solver.now)
    return found.run(tuple(str(LOOSE) for _ in range(count)))


def is_minimal(found: Relaxed[tuple[str, ...]], clashes: Sequence[Clash]) -> bool:
    for row, level in enumerate(found.levels):
        if level == 0:
            continue
        tighter = [str(old - (i == row)) for i, old in enumerate(found.levels)]
        try:
            Solver(clashes)(tighter, 1)
        except SolveError:
            continue
        return False
    return True


def test_what_fits_takes_two_solves() -> None:
    found = search(200, [], builds=1)
    assert found.levels == (0,) * 200
    assert found.solves == 2


def test_one_that_does_not_fit_among_many() -> None:
    found = search(200, [{77: 2}])
    assert [row for row, level in enumerate(found.levels) if level] == [77]
    assert found.levels[77] == 3
    assert found.refused[77] == "clash of [77]"
    assert found.solves < 25


def test_what_matters_least_gives_way() -> None:
    assert search(3, [{0: 3, 2: 0}]).levels == (0, 0, 1)


def test_versions_matter_more_than_builds() -> None:
    # the build of the first stands against the version of the last
    assert search(3, [{0: 0, 2: 1}], builds=1).levels == (1, 0, 0)


def test_what_does_not_exist_is_not_tried() -> None:
    solver = Solver([])
    solver(["2"], 1)
    wanted = [Row(("0", "1", "2"), floor=2), Row(("0", "1"), floor=1)]
    found = Search(wanted, solver, seconds=9, clock=lambda: 0).run(("2", "1"))
    assert (found.levels, found.solves) == ((2, 1), 0)


@pytest.mark.parametrize("seed", range(150))
def test_nothing_can_be_undone(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(1, 30)
    clashes = [
        {chance.randrange(count): chance.randrange(LOOSE) for _ in range(chance.randint(1, 3))}
        for _ in range(chance.randint(0, 6))
    ]
    found = search(count, clashes, builds=chance.randint(0, 1))
    assert is_minimal(found, clashes)
    assert found.answer == tuple(str(level) for level in found.levels)
    assert not found.untried


def test_a_test_of_the_test() -> None:
    assert not is_minimal(Relaxed(("1", "0"), (1, 0), {}, False, 1), [])


def test_when_time_runs_out_the_best_so_far_counts() -> None:
    clashes = [{n: 1} for n in range(40)]
    whole = search(40, clashes)
    found = search(40, clashes, seconds=whole.solves // 2)
    assert found.untried
    assert not whole.untried
    assert found.solves <= whole.solves // 2
    assert set(found.levels) == {2, LOOSE}
    assert found.answer == tuple(str(level) for level in found.levels)
