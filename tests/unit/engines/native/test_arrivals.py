"""Work begins when its files are there, and not before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from envpack.engines.native.arrivals import Arrivals

A, B = Path("a"), Path("b")


def test_work_waits_for_all_of_its_files() -> None:
    with Arrivals(2, lambda: None) as arrivals:
        both = arrivals.when([A, B], lambda: "both")
        one = arrivals.when([A], lambda: "one")
        arrivals.arrived(A)
        assert one.result(10) == "one"
        assert not both.done()
        arrivals.arrived(B)
        assert both.result(10) == "both"
        assert arrivals.when([A, B], lambda: "late").result(10) == "late"


def test_errors_are_those_of_the_work() -> None:
    with Arrivals(1, lambda: None) as arrivals, pytest.raises(ZeroDivisionError):
        arrivals.when([], lambda: 1 / 0).result(10)


def test_an_error_drops_what_has_not_begun() -> None:
    began, stop = threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        began.set()
        assert stop.wait(10)
        done.append("first")

    def interrupted() -> None:
        with Arrivals(1, stop.set) as arrivals:
            arrivals.when([], first)
            arrivals.when([], lambda: done.append("second"))
            assert began.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["first"]
