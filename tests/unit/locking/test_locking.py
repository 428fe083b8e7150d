"""The whole way: from a request to a lock file, and back to the question whether it still answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envpack import lockfile, locking
from envpack.config import Config
from envpack.errors import BaseImageError, CheckFailed, Location, SolveError
from envpack.image import Digest, parse_reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin, BuildPins, PlatformPin
from envpack.spec import EnvSpec, Requirement
from tests.unit.locking.conftest import MANYLINUX, Channel, Index

BOTH = ("linux-64", "linux-aarch64")
BASE = BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "a" * 64), "2.31")


def request(channel: Channel, *conda: str, pip: tuple[str, ...] = (), **more: object) -> EnvSpec:
    return EnvSpec(
        "study",
        (channel.url,),
        tuple(Requirement(t, Location("environment.yml", n)) for n, t in enumerate(conda, 1)),
        tuple(Requirement(t, Location("environment.yml", n)) for n, t in enumerate(pip, 10)),
        **more,  # type: ignore[arg-type]  # whatever the test gives
    )


def solve(
    spec: EnvSpec,
    config: Config,
    platforms: tuple[str, ...] = ("linux-64",),
    glibc: dict[str, str] | str = "2.36",
) -> locking.Solution:
    return locking.solve(spec, platforms=platforms, glibc=glibc, config=config, ledger=Ledger())


def pins(solution: locking.Solution) -> BuildPins:
    platforms = {p: PlatformPin(BASE, solution.requested[p]) for p in solution.platforms}
    return BuildPins("study", "/opt/env", solution.epoch, platforms, solution.spec.variables)


def test_of_two_requests_for_a_package_the_one_that_holds_is_told(
    stocked: Channel, index: Index, config: Config
) -> None:
    index.add("old", "1.0")
    index.add("old", "2.0")
    markers = ("python_version < '3.12'", "python_version >= '3.12'")
    asked = [f"old=={n}.0 ; {marker}" for n, marker in enumerate(markers, 1)]
    for lines in (asked, asked[::-1]):
        found = solve(request(stocked, "python =3.11", pip=tuple(lines)), config)
        assert {p.name: p.version for p in found.packages}["old"] == "1.0"
        assert found.asked["pip:old"] == asked[0]


@pytest.fixture
def stocked(channel: Channel, index: Index) -> Channel:
    for subdir, build in (("linux-64", "py311h1_0"), ("linux-aarch64", "py311h2_0")):
        channel.add(
            "numpy",
            "1.26.4",
            subdir=subdir,
            build=build,
            depends=["python >=3.11,<3.12.0a0", "__glibc >=2.28,<3.0.a0"],
            timestamp=1_700_000_500_000,
        )
    index.add("rich", "13.7.0", requires=["pygments", "numpy"])
    index.add("pygments", "2.17.2")
    index.add("fast", "1.0", tag=f"cp311-cp311-{MANYLINUX}")
    index.add("fast", "1.0", tag="cp311-cp311-manylinux_2_34_aarch64")
    return channel


def test_a_solution_for_two_platforms(stocked: Channel, config: Config) -> None:
    spec = request(stocked, "numpy", "python=3.11", pip=("rich", "fast", "gone; python_version < '3'"))
    solution = solve(spec, config, ("linux-aarch64", "linux-64", "linux-64"))
    assert solution.platforms == BOTH
    named = [(p.platform, p.manager, p.name) for p in solution.packages]
    one = [("conda", "numpy"), ("conda", "pip"), ("conda", "python")]
    one_pip = [("pip", "fast"), ("pip", "pygments"), ("pip", "rich")]
    assert named == [(s, *p) for part in (one, one_pip) for s in BOTH for p in part]
    assert solution.requested["linux-64"] == ("conda:numpy", "conda:python", "pip:fast", "pip:rich")
    assert solution.epoch == 1_700_000_500
    assert solution.glibc == {
        "linux-64": ("2.28", "numpy 1.26.4"),
        "linux-aarch64": ("2.34", "fast 1.0"),
    }
    assert solution.packages[0].size == 1000


def test_glibc_by_platform(stocked: Channel, config: Config) -> None:
    spec = request(stocked, "numpy")
    with pytest.raises(BaseImageError, match=r"glibc 2\.17, and numpy needs 2\.28 on linux-aarch64"):
        solve(spec, config, BOTH, {"linux-64": "2.36", "linux-aarch64": "2.17"})


def test_nothing_says_what_glibc_it_needs(channel: Channel, config: Config) -> None:
    channel.add("data", timestamp=None)
    solution = solve(request(channel, "data"), config)
    assert solution.glibc == {}
    assert solution.epoch == 0


def test_the_lock_reads_back(stocked: Channel, config: Config, tmp_path: Path) -> None:
    source = tmp_path / "environment.yml"
    spec = request(stocked, "numpy", pip=("rich",), variables={"A": "b: #c"}, sources=(source,))
    solution = solve(spec, config, BOTH)
    path = tmp_path / "lockfiles" / "study.conda-lock.yml"
    locking.write(solution, pins(solution), path)
    lock = lockfile.read(path)
    assert lock.platforms == BOTH
    assert lock.channels == (stocked.url,)
    assert lock.pins == pins(solution)
    assert {(p.platform, p.manager, p.name, p.url, p.sha256) for p in lock.packages} == {
        (p.platform, p.manager, p.name, p.url, p.sha256) for p in solution.packages
    }
    text = path.read_text("utf-8")
    assert "  sources:\n  - ../environment.yml\n" in text
    assert str(tmp_path) not in text
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_solving_again_gives_the_same_bytes(stocked: Channel, config: Config, tmp_path: Path) -> None:
    written = []
    for number, platforms in enumerate((BOTH, BOTH[::-1])):
        fresh = dataclasses.replace(config, cache=tmp_path / f"cache{number}")
        solution = solve(request(stocked, "numpy", pip=("rich", "fast")), fresh, platforms)
        path = tmp_path / str(number) / "study.conda-lock.yml"
        locking.write(solution, pins(solution), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_packages_without_sha256_are_all_named(channel: Channel, config: Config) -> None:
    channel.add("a", depends=["b"], sha256=None)
    channel.add("b", sha256=None)
    with pytest.raises(SolveError) as caught:
        solve(request(channel, "a"), config)
    assert [p.what for p in caught.value.problems] == ["a 1.0 has no sha256", "b 1.0 has no sha256"]


def test_passwords_of_channels_are_variables_in_the_lock(
    channel: Channel, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.add("a")
    monkeypatch.setenv("CHANNEL_PASSWORD", "hunter2")
    url = channel.url.replace("://", "://me:${CHANNEL_PASSWORD}@")
    solution = solve(EnvSpec("study", (url,), (Requirement("a"),)), config)
    path = tmp_path / "x.yml"
    locking.write(solution, pins(solution), path)
    text = path.read_text("utf-8")
    assert "hunter2" not in text
    assert f"{url}/noarch/a-1.0-0.conda" in text
    assert solution.packages[0].url == f"{url}/noarch/a-1.0-0.conda"


def test_pip_needs_a_python(channel: Channel, config: Config, index: Index) -> None:
    index.add("rich")
    channel.add("pip", "99", depends=[])
    channel.add("a")
    with pytest.raises(SolveError, match="no python"):
        solve(request(channel, "a", pip=("rich",)), config)


def test_a_lock_that_answers(stocked: Channel, config: Config, tmp_path: Path) -> None:
    spec = request(stocked, "numpy", pip=("rich",), variables={"A": "b"})
    solution = solve(spec, config, BOTH)
    path = tmp_path / "x.yml"
    locking.write(solution, pins(solution), path)
    lock = lockfile.read(path)
    stocked.behaviour = "closed"
    asked = len(stocked.seen)
    locking.check(lock, spec, BOTH)
    assert len(stocked.seen) == asked

    changed = {
        "requirements or channels": dataclasses.replace(spec, conda=(Requirement("numpy<2"),)),
        "channels have changed": dataclasses.replace(spec, channels=("other",)),
        "requirements": dataclasses.replace(spec, pip=()),
        "the name has changed from study to other": dataclasses.replace(spec, name="other"),
        "the variables have changed": dataclasses.replace(spec, variables={"A": "c"}),
    }
    for text, other in changed.items():
        with pytest.raises(CheckFailed) as caught:
            locking.check(lock, other, BOTH)
        assert text in str(caught.value)
    with pytest.raises(CheckFailed, match="no longer answers") as fewer:
        locking.check(lock, spec, ["linux-64", "linux-ppc64le"])
    assert [p.what for p in fewer.value.problems] == [
        "the lock has nothing for linux-ppc64le",
        "the lock has linux-aarch64, which is not asked for",
    ]
    with pytest.raises(CheckFailed) as foreign:
        locking.check(dataclasses.replace(lock, pins=None), spec, BOTH)
    assert "not written by envpack" in str(foreign.value)
