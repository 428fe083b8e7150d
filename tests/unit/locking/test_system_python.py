"""Locks for the python of a base image's distribution: pip's packages alone, and no channel is asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file

from envpack import lockfile, locking
from envpack.config import Config
from envpack.errors import CheckFailed, Location, SolveError
from envpack.image import Digest, parse_reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin, BuildPins, PlatformPin
from envpack.spec import EnvSpec, Requirement
from tests.unit.locking.conftest import Index

BOTH = ("linux-64", "linux-aarch64")
BASE = BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "a" * 64), "2.31")


def request(*pip: str) -> EnvSpec:
    requirements = tuple(Requirement(t, Location("requirements.txt", n)) for n, t in enumerate(pip, 1))
    return EnvSpec("study", pip=requirements, system_python=True)


def solve(
    spec: EnvSpec, config: Config, platforms: tuple[str, ...] = ("linux-64",), python: str = "3.8.10"
) -> locking.Solution:
    return locking.solve(
        spec, platforms=platforms, glibc="2.31", config=config, ledger=Ledger(), system_python=python
    )


@pytest.fixture
def stocked(index: Index) -> Index:
    index.add("pip", "25.0.1")
    for machine in ("x86_64", "aarch64"):
        index.add("fast", "1.0", tag=f"cp38-cp38-manylinux_2_28_{machine}")
        index.add("fast", "1.0", tag=f"cp311-cp311-manylinux_2_28_{machine}")
    index.add("slow", "2.0", requires=["fast", "late; python_version >= '3.9'"])
    return index


def test_wheels_for_that_python_and_the_pip_that_installs_them(stocked: Index, config: Config) -> None:
    solution = solve(request("slow", "fast"), config, BOTH)
    assert [(p.platform, p.manager, p.name) for p in solution.packages] == [
        (platform, "pip", name) for platform in BOTH for name in ("fast", "pip", "slow")
    ]
    assert all("cp38" in p.url for p in solution.packages if p.name == "fast")
    assert solution.requested["linux-64"] == ("pip:fast", "pip:slow")
    assert solution.glibc["linux-64"] == ("2.28", "fast 1.0")
    later = solve(request("fast"), config, python="3.11.2")
    assert "cp311" in next(p.url for p in later.packages if p.name == "fast")


def test_a_pip_that_is_asked_for_is_the_one(stocked: Index, config: Config) -> None:
    stocked.add("pip", "24.0")
    solution = solve(request("fast", "Pip==24.0"), config)
    assert [p.version for p in solution.packages if p.name == "pip"] == ["24.0"]
    assert solution.requested["linux-64"] == ("pip:fast", "pip:pip")


def test_the_lock_is_one_and_answers(stocked: Index, config: Config, tmp_path: Path) -> None:
    spec = request("slow")
    solution = solve(spec, config, BOTH)
    platforms = {p: PlatformPin(BASE, solution.requested[p]) for p in BOTH}
    pins = BuildPins("study", "/opt/env", solution.epoch, platforms, system_python="3.8")
    path = tmp_path / "study.conda-lock.yml"
    locking.write(solution, pins, path)
    text = path.read_text("utf-8")
    assert "conda.invalid" not in text
    assert "conda-lock install" not in text
    lock = lockfile.read(path)
    assert lock.pins == pins
    assert lock.channels == ()
    asked = {(p.platform, p.manager, p.name, p.url, p.sha256) for p in solution.packages}
    assert {(p.platform, p.manager, p.name, p.url, p.sha256) for p in lock.packages} == asked
    theirs = parse_conda_lock_file(path).package
    assert {(p.platform, p.manager, p.name, p.url, p.hash.sha256) for p in theirs} == asked

    locking.check(lock, spec, BOTH)
    with pytest.raises(CheckFailed) as changed:
        locking.check(lock, request("slow", "fast"), BOTH)
    assert "requirements or channels have changed" in str(changed.value)
    on_conda = dataclasses.replace(spec, conda=(Requirement("python"),), system_python=False)
    with pytest.raises(CheckFailed) as other:
        locking.check(lock, on_conda, BOTH)
    assert "the lock is for another python" in str(other.value)


@pytest.mark.parametrize(
    ("requirement", "what"),
    [
        ("new", "does not satisfy Python>=3.9"),
        ("other", "other has no wheel for python 3.8.10 on linux-64"),
    ],
)
def test_what_is_not_for_that_python(requirement: str, what: str, stocked: Index, config: Config) -> None:
    stocked.add("new")
    page = stocked.files["/simple/new/"]
    stocked.files["/simple/new/"] = page.replace(b"<a ", b'<a data-requires-python="&gt;=3.9" ')
    stocked.add("other", tag="cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(SolveError) as caught:
        solve(request(requirement), config)
    assert what in str(caught.value)
    assert "--base" in (caught.value.hint or "")
    assert "conda" not in str(caught.value)
