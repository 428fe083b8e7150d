"""Errors carry what, where, why and what next, and each kind has its own exit code."""

from __future__ import annotations

from envpack import errors
from envpack.errors import EnvpackError, Location, Problem, SourceError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EnvpackError) and kind is not EnvpackError
]


def test_every_kind_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes) > 10
    assert EnvpackError.exit_code not in codes
    assert all(0 < code < 256 for code in codes)


def test_locations() -> None:
    assert str(Location("a.yml")) == "a.yml"
    assert str(Location("a.yml", 3)) == "a.yml:3"
    assert str(Location("a.yml", 3, 7)) == "a.yml:3:7"
    assert str(Location("a.yml", None, 7)) == "a.yml"


def test_the_whole_text() -> None:
    error = SourceError(
        "two things are wrong",
        where=Location("a.yml", 1),
        why="because",
        hint="Mend them.",
        problems=[Problem("the first", Location("a.yml", 2), "too long"), Problem("the second")],
    )
    assert str(error).splitlines() == [
        "a.yml:1: two things are wrong",
        "  a.yml:2: the first (too long)",
        "  the second",
        "because",
        "Mend them.",
    ]
    assert error.exit_code == 3
