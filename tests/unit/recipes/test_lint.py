"""The field's own critics find nothing in any recipe: hadolint, and shellcheck for every script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin, LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, dockerfile
from envpack.recipes.pins import Pins
from envpack.recipes.stages import stages
from tests.unit.recipes.test_apptainer_def import HOSTILE, sections

CONTENTS: dict[str, Callable[[LockedPackage], bool]] = {
    "conda": lambda package: package.manager == "conda",
    "conda-pip": lambda _: True,
    "without-pip": lambda package: package.name != "pip",
    "without-python": lambda package: package.name == "six",
}
SCRIPTS = ("1 %post", "2 %environment", "2 %runscript", "2 %startscript", "2 %test")


@pytest.fixture(params=["ubuntu:20.04", "rockylinux:9", "condaforge/miniforge3:latest"])
def linted(request: pytest.FixtureRequest, recipe: Recipe, pins: Pins) -> Recipe:
    """A recipe of each family with values that need quoting."""
    base = BasePin(parse_reference(request.param), Digest("sha256:" + "b" * 64), "2.31")
    values = {"LINES": HOSTILE, "MARKS": 'it\'s "x" \\ $(id) `id` # {{ x }}', "TEXT": "Zürich"}
    return replace(
        recipe,
        base=base,
        stages=stages(base, recipe.platform, pins),
        variables=values,
        labels={"org.example.marks": 'it\'s "x" \\ $(id) `id` #', "org.example.text": "Zürich"},
    )


@pytest.fixture
def linted_on_system_python(linted: Recipe, pins: Pins) -> Recipe:
    """The same on the base's own python."""
    made = stages(linted.base, linted.platform, pins, "3.8")
    return replace(linted, stages=made, system_python="3.8")


def lint(program: str, *arguments: str | Path, text: str) -> str:
    """What ``program``, from the package of its name, says about ``text``."""
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments, "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr if done.returncode or done.stdout else ""


@pytest.mark.parametrize("content", CONTENTS)
def test_hadolint(content: str, linted: Recipe, packages: list[LockedPackage]) -> None:
    text = dockerfile.render(linted, [p for p in packages if CONTENTS[content](p)])
    assert lint("hadolint", "--no-color", text=text) == ""


def test_hadolint_on_system_python(linted_on_system_python: Recipe, wheels: list[LockedPackage]) -> None:
    assert lint("hadolint", "--no-color", text=dockerfile.render(linted_on_system_python, wheels)) == ""


def test_hadolint_is_awake() -> None:
    assert "DL3006" in lint("hadolint", "--no-color", text="FROM ubuntu\n")


@pytest.mark.parametrize("content", CONTENTS)
def test_shellcheck(content: str, linted: Recipe, packages: list[LockedPackage]) -> None:
    check_scripts(linted, [p for p in packages if CONTENTS[content](p)])


def test_shellcheck_on_system_python(linted_on_system_python: Recipe, wheels: list[LockedPackage]) -> None:
    check_scripts(linted_on_system_python, wheels, "2 %post")


def check_scripts(recipe: Recipe, packages: list[LockedPackage], *more: str) -> None:
    found = sections(apptainer_def.render(recipe, packages))
    for name in (*SCRIPTS, *more):
        assert lint("shellcheck", "--norc", "--shell=sh", text=found[name]) == "", name
    for text in (*found.values(), activation.entrypoint(recipe)):
        assert "shellcheck disable" not in text
    assert lint("shellcheck", "--norc", text=activation.entrypoint(recipe)) == ""


def test_shellcheck_is_awake() -> None:
    assert "SC2086" in lint("shellcheck", "--norc", "--shell=sh", text="ls $1\n")
