"""Pip's part of a whole environment, by real uv: what is left out, relaxed, and said of it."""

from __future__ import annotations

import pytest

from envpack.errors import Location, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking import pip_relax
from envpack.locking.solver import CondaRecord
from envpack.locking.target import Target
from envpack.spec import PipOptions, Requirement
from tests.unit.locking.conftest import Index

AIM = Target("linux-64", "3.11.7", "", "2.36")


def solved(
    *texts: str, records: tuple[CondaRecord, ...] = (), in_one_line: bool = False
) -> tuple[dict[str, str], dict[str, Action], list[str]]:
    """Versions by name, actions by line, and the reasons in order of the lines."""
    ledger = Ledger()
    numbers = [1] * len(texts) if in_one_line else range(1, len(texts) + 1)
    wanted = [Requirement(t, Location("requirements.txt", n)) for t, n in zip(texts, numbers, strict=True)]
    found, relaxed = pip_relax.solve(wanted, PipOptions(), records, AIM, ledger)
    said = {f.subject: f.action for f in ledger}
    assert len(said) == len(ledger)
    assert [r.wanted for r in relaxed] == [s for s, action in said.items() if action is Action.RELAXED]
    return {r.name: r.version for r in found}, said, [f.reason for f in ledger]


@pytest.mark.parametrize(
    "levels",
    [
        ("a==1.2.3", "a==1.2.*", "a==1.*", "a"),
        ("a[x]==1!2.0; m", "a[x]==1!2.0.*; m", "a[x]==1!2.*; m", "a[x]; m"),
        ("a===0.18ubuntu0.1", "a"),
        ("a>=1",),
        ("a",),
        ("a @ https://h/a-1-py3-none-any.whl",),
    ],
)  # fmt: skip
def test_levels(levels: tuple[str, ...]) -> None:
    marker = 'python_version > "3"'
    wanted = tuple(level.replace("; m", f"; {marker}") for level in levels)
    assert pip_relax.loosened(wanted[0]) == wanted


def test_of_several_in_one_line_the_one_to_blame(index: Index) -> None:
    index.add("a", "1.0")
    index.add("a", "1.1")
    index.add("b", "2.0")
    found, said, _ = solved("a==1.0", "b==2.0.1", "gone==1.0", in_one_line=True)
    assert found == {"a": "1.0", "b": "2.0"}
    assert said == {"b==2.0.1": Action.RELAXED, "gone==1.0": Action.NEEDS_YOU}


def test_what_resolves_is_taken_as_it_is(index: Index) -> None:
    index.add("a", "1.0")
    index.add("a", "2.0")
    assert solved("a==1.0") == ({"a": "1.0"}, {}, [])


def test_names_on_no_index_are_left_out_all_at_once(index: Index) -> None:
    index.add("a", "1.0")
    found, said, _ = solved("gone==1.0", "a==1.0", "lost==2")
    assert found == {"a": "1.0"}
    assert said == {"gone==1.0": Action.NEEDS_YOU, "lost==2": Action.NEEDS_YOU}


@pytest.mark.parametrize(
    ("there", "got"), [(["1.2.4", "1.3"], "1.2.4"), (["1.1", "1.3", "2.0"], "1.3"), (["2.0"], "2.0")]
)
def test_a_version_that_is_gone(index: Index, there: list[str], got: str) -> None:
    for version in there:
        index.add("a", version)
    index.add("b", "1.0")
    index.add("b", "2.0")
    found, said, reasons = solved("a==1.2.3", "b==1.0")
    assert found == {"a": got, "b": "1.0"}
    assert said == {"a==1.2.3": Action.RELAXED}
    assert reasons == [f"{got}: it has no such version on the index"]


def test_a_version_without_a_wheel_for_the_target(index: Index) -> None:
    index.add("a", "1.2.3", tag="cp37-cp37m-win_amd64")
    index.add("a", "1.2.2")
    index.add("s", "0.1.0", sdist=True)
    index.add("s", "0.2.0")
    found, said, _ = solved("a==1.2.3", "s==0.1.0")
    assert found == {"a": "1.2.2", "s": "0.2.0"}
    assert said == {"a==1.2.3": Action.RELAXED, "s==0.1.0": Action.RELAXED}


def test_pins_that_do_not_go_together(index: Index) -> None:
    index.add("a", "1.0", requires=["b>=2"])
    index.add("b", "1.0")
    index.add("b", "2.0")
    index.add("c", "1.0")
    index.add("c", "2.0")
    found, said, reasons = solved("a==1.0", "b==1.0", "c==1.0")
    assert found["b"] == "2.0"
    assert found["c"] == "1.0"
    assert said["b==1.0"] is Action.RELAXED
    assert "does not go with the others" in reasons[-1]


def test_ranges_are_never_relaxed(index: Index) -> None:
    index.add("a", "1.0")
    with pytest.raises(SolveError):
        solved("a>=2")


def test_a_package_that_is_nowhere_but_needed_is_an_error(index: Index) -> None:
    index.add("a", "1.0", requires=["gone"])
    with pytest.raises(SolveError, match="cannot be met"):
        solved("a>=1")
