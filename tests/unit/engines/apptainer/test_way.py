"""How an image can be built: the rules of Apptainer and Singularity as a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.engines.apptainer.facts import Facts, Program
from envpack.engines.apptainer.way import choose
from envpack.errors import EngineError

NO_LINE = "/etc/subuid has no line for me"
CLONE = "kernel.unprivileged_userns_clone is 0"
MAXIMUM = "user.max_user_namespaces is 0"
APPTAINER, OLD_APPTAINER = ("apptainer", (1, 4, 5)), ("apptainer", (1, 0, 3))
CE_4, CE_3_10, OLD = ("singularity-ce", (4, 1, 0)), ("singularity-ce", (3, 10, 0)), ("singularity", (3, 8, 7))


def program(name: str, version: tuple[int, ...]) -> Program:
    return Program(Path("/usr/bin") / name, name, version)


def user(
    *words: str,
    no_ranges: str | None = None,
    no_namespaces: str | None = None,
    no_own_namespaces: str | None = None,
) -> Facts:
    """An ordinary user; ``words`` are what there is."""
    return Facts(
        False,
        "me",
        "setuid" in words,
        "listed" in words,
        no_ranges,
        no_namespaces,
        no_own_namespaces,
        "newuidmap" in words,
        "fakeroot" in words,
        "proot" in words,
        (2, 36),
    )


@pytest.mark.parametrize(
    ("which", "facts", "options", "words"),
    [
        (APPTAINER, Facts(True, "root", no_namespaces=MAXIMUM, no_own_namespaces=MAXIMUM), (), "as root"),
        (OLD, Facts(True, "root"), (), "as root"),
        # Apptainer from 1.1 on
        (APPTAINER, user("listed", "newuidmap"), (), "with the ids of /etc/subuid"),
        (APPTAINER, user("listed", "setuid"), (), "with the ids of /etc/subuid"),
        (APPTAINER, user("listed"), ("--ignore-subuid",), "there is no newuidmap"),
        (
            APPTAINER,
            user("listed", "newuidmap", no_ranges="/etc/subgid has no line for me"),
            ("--ignore-subuid",),
            "/etc/subgid has no line",
        ),
        (APPTAINER, user(no_ranges=NO_LINE), (), "without the fakeroot command"),
        (APPTAINER, user("fakeroot", no_ranges=NO_LINE), (), "with the fakeroot command"),
        (
            APPTAINER,
            user("setuid", "fakeroot", no_ranges=NO_LINE, no_own_namespaces=CLONE),
            (),
            "without user namespaces",
        ),
        (
            APPTAINER,
            user("setuid", "fakeroot", "listed", "newuidmap", no_own_namespaces=CLONE),
            ("--ignore-subuid",),
            "without user namespaces",
        ),
        # Singularity, and Apptainer when it was one still
        (OLD, user("listed", "newuidmap"), ("--fakeroot",), "--fakeroot"),
        (OLD, user("listed", "setuid", no_own_namespaces=CLONE), ("--fakeroot",), "--fakeroot"),
        (OLD_APPTAINER, user("listed", "newuidmap"), ("--fakeroot",), "--fakeroot"),
        (CE_4, user("listed", "newuidmap", "proot"), ("--fakeroot",), "--fakeroot"),
        (CE_4, user("proot", no_ranges=NO_LINE), (), "with proot"),
        (CE_4, user("proot", "setuid", no_ranges=NO_LINE, no_own_namespaces=CLONE), (), "with proot"),
    ],
)
def test_ways(which: tuple[str, tuple[int, ...]], facts: Facts, options: tuple[str, ...], words: str) -> None:
    way = choose(program(*which), facts, (2, 36))
    assert way.options == options
    assert words in way.words


def test_a_base_image_too_old_for_this_machine_s_fakeroot() -> None:
    facts = user("fakeroot", no_ranges=NO_LINE)
    way = choose(program(*APPTAINER), facts, (2, 31))
    assert way.options == ("--ignore-fakeroot-command",)
    facts = user("setuid", "fakeroot", no_ranges=NO_LINE, no_own_namespaces=CLONE)
    assert choose(program(*APPTAINER), facts, (2, 31)).options == (), "there is nothing else"


@pytest.mark.parametrize(
    ("which", "facts", "reasons"),
    [
        (("singularity", (3, 1, 0)), Facts(True, "root"), ["too old: building in stages"]),
        (APPTAINER, user("listed", "newuidmap", no_own_namespaces=CLONE), [CLONE, "not installed setuid"]),
        (APPTAINER, user("setuid", no_own_namespaces=MAXIMUM), [MAXIMUM, "no fakeroot command"]),
        (
            CE_4,
            user(no_ranges=NO_LINE, no_own_namespaces=CLONE),
            [NO_LINE, CLONE, "no newuidmap", "no proot"],
        ),
        (CE_4, user("proot", no_ranges=NO_LINE, no_own_namespaces=CLONE), [NO_LINE, CLONE, "no newuidmap"]),
        (CE_4, user("listed", "setuid", no_namespaces=MAXIMUM), [MAXIMUM, "no proot"]),
        (CE_3_10, user("proot", "newuidmap", no_ranges=NO_LINE), [NO_LINE, "cannot build with proot"]),
        (OLD, user("proot", "listed"), ["no newuidmap", "cannot build with proot"]),
        (
            ("singularity", (3, 2, 1)),
            user("listed", "setuid"),
            ["too old for --fakeroot", "cannot build with proot"],
        ),
        (OLD_APPTAINER, user("newuidmap", no_ranges=NO_LINE), [NO_LINE, "cannot build with proot"]),
    ],
)
def test_every_reason_why_not(which: tuple[str, tuple[int, ...]], facts: Facts, reasons: list[str]) -> None:
    with pytest.raises(EngineError) as caught:
        choose(program(*which), facts)
    error = caught.value
    assert error.what == f"{program(*which)} cannot build an image here as you"
    assert len(error.problems) == len(reasons)
    for reason, problem in zip(reasons, error.problems, strict=True):
        assert reason in f"{problem.what} ({problem.why})"
    assert "leave --engine away" in (error.hint or "")
