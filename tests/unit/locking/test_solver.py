"""The embedded solver: choices, unknown names, conflicts, and channels that do not answer."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from envpack.config import Config
from envpack.errors import Location, NetworkError, SolveError
from envpack.locking.solver import CondaSolver
from envpack.spec import Requirement
from tests.unit.locking.conftest import Channel, serving


def solver(channel: Channel, config: Config, *specs: str) -> CondaSolver:
    requirements = [Requirement(s, Location("environment.yml", n)) for n, s in enumerate(specs, 1)]
    return CondaSolver([channel.url], requirements, config)


def versions(channel: Channel, config: Config, *specs: str, glibc: str = "2.36") -> dict[str, str]:
    records = solver(channel, config, *specs).solve("linux-64", glibc)
    return {record.name: record.version for record in records}


def test_a_solve_gives_whole_records_sorted(channel: Channel, config: Config) -> None:
    channel.add("a", "2.0", depends=["b >=1"])
    channel.add("b", "1.5", timestamp=1_600_000_000_500)
    a, b = solver(channel, config, "a").solve("linux-64", "2.36")
    assert (a.name, b.name) == ("a", "b")
    assert b.url == f"{channel.url}/noarch/b-1.5-0.conda"
    assert (b.build, b.size, b.timestamp) == ("0", 1000, 1_600_000_000)
    assert len(b.sha256 or "") == 64
    assert len(b.md5 or "") == 32
    assert a.depends == ("b >=1",)


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ("a", "3.10"),
        ("a=3.1", "3.1"),
        ("a 3.1", "3.1"),
        ("a <3.10", "3.9"),
        ("a>=3.1,!=3.10", "3.9"),
        ("a[version='>=3.1,<3.9']", "3.1"),
        ("a=3.9=0", "3.9"),
    ],
)
def test_conda_ways_to_write_a_version(channel: Channel, config: Config, spec: str, version: str) -> None:
    for one in ("3.1", "3.9", "3.10"):
        channel.add("a", one)
    assert versions(channel, config, spec) == {"a": version}


def test_the_glibc_given_counts_not_this_machines(channel: Channel, config: Config) -> None:
    channel.add("a", "1.0")
    channel.add("a", "2.0", depends=["__glibc >=2.34"])
    assert versions(channel, config, "a", glibc="2.31") == {"a": "1.0"}
    assert versions(channel, config, "a", glibc="2.39") == {"a": "2.0"}


@pytest.mark.parametrize(
    ("dependency", "fits"),
    [
        ("__linux", True),
        ("__unix", True),
        ("__archspec 1 x86_64", True),
        ("__archspec 1 x86_64_v3", False),
        ("__cuda", False),
        ("__win", False),
        ("__osx", False),
    ],
)
def test_virtual_packages_of_the_target(
    channel: Channel, config: Config, dependency: str, fits: bool
) -> None:
    channel.add("a", depends=[dependency])
    if fits:
        assert versions(channel, config, "a") == {"a": "1.0"}
    else:
        with pytest.raises(SolveError, match="do not fit together"):
            versions(channel, config, "a")


def test_all_unknown_names_at_once_with_the_nearest(channel: Channel, config: Config) -> None:
    for name in ("numpy", "scikit-learn", "pytorch", "only-here"):
        channel.add(name, subdir="linux-64")
    with pytest.raises(SolveError) as caught:
        solver(channel, config, "numpi", "numpy", "scikit_learn>=1", "torch", "only-here", "zzz").check_names(
            ["linux-64", "linux-aarch64"]
        )
    assert [(str(p.where), p.what, p.hint) for p in caught.value.problems] == [
        ("environment.yml:1", "no channel has numpi", "Did you mean numpy?"),
        ("environment.yml:2", "no channel has numpy (for linux-aarch64)", None),
        ("environment.yml:3", "no channel has scikit_learn", "Did you mean scikit-learn?"),
        ("environment.yml:4", "no channel has torch", "Did you mean pytorch?"),
        ("environment.yml:5", "no channel has only-here (for linux-aarch64)", None),
        ("environment.yml:6", "no channel has zzz", None),
    ]


def test_a_conflict_gives_the_solvers_tree(channel: Channel, config: Config) -> None:
    channel.add("a", depends=["base 1.*"])
    channel.add("b", depends=["base 2.*"])
    channel.add("base", "1.0")
    channel.add("base", "2.0")
    with pytest.raises(SolveError) as caught:
        versions(channel, config, "a", "b")
    assert caught.value.what == "the packages asked for do not fit together on linux-64"
    why = caught.value.why or ""
    assert "└─" in why
    assert "base" in why
    assert "Traceback" not in str(caught.value)
    assert not why.startswith("Cannot solve")


def test_the_first_channel_that_has_a_package_is_its_only_one(channel: Channel, config: Config) -> None:
    other = Channel()
    channel.add("a", "1.0")
    other.add("a", "2.0")
    other.add("b", "1.0")
    with serving(other, "/channel"):
        found = CondaSolver([channel.url, other.url], [Requirement("a"), Requirement("b")], config).solve(
            "linux-64", "2.36"
        )
        assert {r.name: r.version for r in found} == {"a": "1.0", "b": "1.0"}


def test_a_channel_named_in_a_match_spec_is_asked_too(channel: Channel, config: Config) -> None:
    other = Channel()
    channel.add("a", "1.0")
    other.add("a", "0.5")
    with serving(other, "/channel"):
        found = CondaSolver([channel.url], [Requirement(f"{other.url}::a")], config)
        found.check_names(["linux-64"])
        (record,) = found.solve("linux-64", "2.36")
    assert record.url.startswith(other.url)


def test_a_mirror_answers_and_the_channels_own_urls_are_kept(channel: Channel, config: Config) -> None:
    channel.add("a")
    name = "https://conda.anaconda.org/conda-forge"
    mirrored = dataclasses.replace(config, mirrors={name: (channel.url,)})
    found = CondaSolver(["conda-forge"], [Requirement("a"), Requirement("conda-forge::a")], mirrored)
    found.check_names(["linux-64"])
    (record,) = found.solve("linux-64", "2.36")
    assert record.url == f"{name}/noarch/a-1.0-0.conda"
    assert not any("shards" in path for path in channel.seen)


def test_another_mirror_has_another_cache(channel: Channel, config: Config) -> None:
    name = "https://conda.anaconda.org/conda-forge"
    other = Channel()
    channel.add("a", "1.0")
    other.add("a", "2.0")
    with serving(other, "/channel"):
        found = []
        for url in (channel.url, other.url):
            mirrored = dataclasses.replace(config, mirrors={name: (url,)})
            (record,) = CondaSolver(["conda-forge"], [Requirement("a")], mirrored).solve("linux-64", "2.36")
            found.append(record.version)
    assert found == ["1.0", "2.0"]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (401, "refuses access (401)"),
        (403, "refuses access (403)"),
        (404, "does not exist"),
        (429, "asks to come back later (429)"),
        (500, "has a fault of its own (500)"),
        (503, "has a fault of its own (503)"),
        ("slow", "did not answer in time"),
        ("closed", "broke the connection"),
        ("garbage", "did not answer with package data"),
    ],
)
@pytest.mark.parametrize("mirrored", [False, True], ids=["direct", "mirrored"])
def test_channels_that_do_not_answer(
    channel: Channel, config: Config, behaviour: int | str, said: str, mirrored: bool
) -> None:
    channel.behaviour = behaviour
    url = "https://conda.anaconda.org/conda-forge" if mirrored else channel.url
    if mirrored:
        config = dataclasses.replace(config, mirrors={url: (channel.url,)})
    with pytest.raises(NetworkError) as caught:
        CondaSolver([url], [Requirement("a")], config).check_names(["linux-64"])
    assert caught.value.what == f"the channel {url} {said}"
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)


def test_a_channel_that_nobody_serves(config: Config) -> None:
    gone = Channel()
    with serving(gone, "/channel"):
        pass
    with pytest.raises(NetworkError) as caught:
        CondaSolver([gone.url], [Requirement("a")], config).check_names(["linux-64"])
    assert caught.value.what == f"the channel {gone.url} refuses connections"


def test_a_host_that_does_not_exist(config: Config) -> None:
    with pytest.raises(NetworkError) as caught:
        CondaSolver(["http://no-such-host.invalid/c"], [Requirement("a")], config).check_names(["linux-64"])
    assert caught.value.what.startswith("the channel http://no-such-host.invalid/c ")


def test_all_channels_that_do_not_answer_are_named(channel: Channel, config: Config) -> None:
    gone = Channel(behaviour=500)
    with serving(gone, "/channel"), pytest.raises(NetworkError) as caught:
        CondaSolver([channel.url, gone.url, f"{channel.url}/no"], [Requirement("a")], config).check_names(
            ["linux-64"]
        )
    assert [p.what for p in caught.value.problems] == [
        f"the channel {gone.url} has a fault of its own (500)",
        f"the channel {channel.url}/no does not exist",
    ]


def test_passwords_are_not_in_messages(
    channel: Channel, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    channel.behaviour = 403
    url = channel.url.replace("://", "://me:${PASSWORD}@")
    with pytest.raises(NetworkError) as caught:
        CondaSolver([url], [Requirement("a")], config).check_names(["linux-64"])
    assert "hunter2" not in str(caught.value)


def test_a_solve_inside_a_running_event_loop(channel: Channel, config: Config) -> None:
    channel.add("a")

    async def notebook() -> dict[str, str]:
        return versions(channel, config, "a")

    assert asyncio.run(notebook()) == {"a": "1.0"}
