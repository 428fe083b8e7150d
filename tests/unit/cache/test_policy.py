"""What goes: by age, by size, the least recently used first."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from envpack.cache.policy import Item, Kind, excess

NOW = 1_000_000.0


def item(name: str, size: int, age: float) -> Item:
    return Item(Kind.SEGMENT, Path(name), size, NOW - age)


A, B, C = item("a", 10, age=300), item("b", 20, age=200), item("c", 30, age=100)


def test_by_age() -> None:
    assert excess([C, A, B], now=NOW, older_than=150) == (A, B)
    assert excess([C, A, B], now=NOW, older_than=300) == ()


def test_by_size() -> None:
    assert excess([C, A, B], now=NOW, max_size=60) == ()
    assert excess([C, A, B], now=NOW, max_size=59) == (A,)
    assert excess([C, A, B], now=NOW, max_size=45) == (A, B)
    assert excess([C, A, B], now=NOW, max_size=0) == (A, B, C)


def test_both_and_neither() -> None:
    assert excess([A, B, C], now=NOW, older_than=250, max_size=50) == (A,)
    assert excess([A, B, C], now=NOW, older_than=250, max_size=49) == (A, B)
    assert excess([A, B, C], now=NOW) == ()


sizes = st.integers(0, 100)
found = st.lists(st.tuples(sizes, st.floats(0, 1000)), max_size=30)


@given(found, st.floats(0, 1000), st.integers(0, 2000))
def test_what_stays_is_younger_and_small_enough(
    things: list[tuple[int, float]], age: float, most: int
) -> None:
    items = [item(str(n), size, each) for n, (size, each) in enumerate(things)]
    gone = excess(items, now=NOW, older_than=age, max_size=most)
    stays = [i for i in items if i not in gone]
    assert sum(i.size for i in stays) <= most
    assert all(NOW - i.used <= age for i in stays)
    if gone and NOW - gone[-1].used <= age:
        assert sum(i.size for i in (*stays, gone[-1])) > most, "no more than it takes"
    assert all(i.used <= s.used for i in gone for s in stays)
