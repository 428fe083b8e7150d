"""One platform's request against real solves: what is relaxed, what is left out, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from envpack.config import Config
from envpack.errors import BaseImageError, Location, NetworkError, SolveError
from envpack.ledger import Action, Finding, Ledger
from envpack.locking import elsewhere, request
from envpack.locking.request import Answer
from envpack.locking.solver import CondaSolver
from envpack.progress import Quiet
from envpack.spec import EnvSpec, Requirement
from tests.unit.locking.conftest import Channel, serving


@dataclass
class Asked:
    """What came of a request: versions by name, the answer, and the ledger as (action, line) with text."""

    answer: Answer
    findings: list[Finding]

    @property
    def versions(self) -> dict[str, str]:
        """Version by name."""
        return {r.name: r.version for r in self.answer.records}

    @property
    def said(self) -> dict[str, Action]:
        """Action by line; no line has two."""
        assert len({f.where for f in self.findings}) == len(self.findings)
        return {f.subject: f.action for f in self.findings}

    def reason(self, subject: str) -> str:
        """Why, of one line."""
        (found,) = (f.reason for f in self.findings if f.subject == subject)
        return found


def ask(
    channel: Channel,
    config: Config,
    *texts: str,
    complete: bool = False,
    exported_from: str | None = None,
    glibc: str = "2.36",
) -> Asked:
    wanted = tuple(Requirement(t, Location("environment.yml", n)) for n, t in enumerate(texts, 1))
    spec = EnvSpec("x", (channel.url,), wanted, complete=complete, exported_from=exported_from)
    solver = CondaSolver(spec.channels, wanted, config)
    ledger = Ledger()
    there = elsewhere.with_names(spec, wanted, ["linux-64"], solver, ledger)["linux-64"]
    answer = request.solve(
        spec, there, "linux-64", glibc, solver=solver, ledger=ledger, progress=Quiet()
    )  # fmt: skip
    return Asked(answer, list(ledger))


def minimal(
    channel: Channel, config: Config, found: Asked, levels: dict[str, list[str]], fixed: list[str]
) -> bool:
    """Whether no relaxed line can be one level tighter: ``levels`` has those up to the one that was taken."""
    solver = CondaSolver([channel.url], (), config)
    loose = {name: texts[-1] for name, texts in levels.items()}
    solver.solve("linux-64", "2.36", [Requirement(t) for t in (*fixed, *loose.values())])
    for name, texts in levels.items():
        tighter = [*fixed, *({**loose, name: texts[-2]}).values()]
        try:
            solver.solve("linux-64", "2.36", [Requirement(t) for t in tighter])
        except SolveError:
            continue
        return False
    return True


def releases(channel: Channel, name: str, *versions: str, **more: object) -> None:
    for version in versions:
        channel.add(name, version, **more)  # type: ignore[arg-type]  # passed on as it is


def test_what_solves_is_taken_as_it_is(channel: Channel, config: Config) -> None:
    releases(channel, "a", "1.0.0", "1.0.1")
    found = ask(channel, config, "a ==1.0.0 0")
    assert found.versions == {"a": "1.0.0"}
    assert (found.findings, found.answer.relaxed, found.answer.leaves) == ([], (), None)


def test_a_build_that_is_gone(channel: Channel, config: Config) -> None:
    channel.add("a", "1.0.0", build="h1_0")
    found = ask(channel, config, "a ==1.0.0 h0_0")
    assert found.said == {"a ==1.0.0 h0_0": Action.RELAXED}
    assert found.reason("a ==1.0.0 h0_0") == "1.0.0 h1_0: no channel has this build for linux-64"


@pytest.mark.parametrize(
    ("there", "got"),
    [(["1.2.4", "1.3.0", "2.0"], "1.2.4"), (["1.1.0", "1.3.0", "2.0"], "1.3.0"), (["2.0", "3.0"], "3.0")],
)
def test_a_version_that_is_gone(channel: Channel, config: Config, there: list[str], got: str) -> None:
    releases(channel, "a", *there)
    found = ask(channel, config, "a=1.2.3")
    assert found.versions == {"a": got}
    assert found.reason("a=1.2.3") == f"{got} 0: no channel has a 1.2.3 for linux-64"
    (relaxed,) = found.answer.relaxed
    assert (relaxed.wanted, relaxed.got) == ("a=1.2.3", f"{got} 0")
    assert relaxed.where == Location("environment.yml", 1)


def test_pins_that_do_not_fit_together(channel: Channel, config: Config) -> None:
    releases(channel, "base", "1.0", "2.0")
    channel.add("a", "1.0.0", depends=["base 1.*"])
    channel.add("b", "1.0.0", depends=["base 2.*"])
    channel.add("b", "1.0.1", depends=["base 1.*"])
    channel.add("c", "1.0.0")
    found = ask(channel, config, "a ==1.0.0", "b ==1.0.0", "c ==1.0.0")
    assert found.versions == {"a": "1.0.0", "b": "1.0.1", "base": "1.0", "c": "1.0.0"}
    assert found.said == {"b ==1.0.0": Action.RELAXED}
    assert "base" in found.reason("b ==1.0.0")
    assert "\n" not in found.reason("b ==1.0.0")
    assert minimal(channel, config, found, {"b": ["b ==1.0.0", "b =1.0"]}, ["a ==1.0.0", "c ==1.0.0"])


def test_over_pinned(channel: Channel, config: Config) -> None:
    """Two packages stand against the third's version; only that gives way, and as little as it can."""
    releases(channel, "numpy", "1.19.5", "1.20.3", "1.26.0", "2.0.0")
    channel.add("pandas", "1.2.0", depends=["numpy >=1.20,<2"])
    channel.add("scipy", "1.6.0", depends=["numpy <1.26"])
    wanted = ["pandas ==1.2.0", "scipy ==1.6.0", "numpy ==1.19.5"]
    found = ask(channel, config, *wanted)
    assert found.versions == {"numpy": "1.20.3", "pandas": "1.2.0", "scipy": "1.6.0"}
    assert found.said == {"numpy ==1.19.5": Action.RELAXED}
    assert minimal(channel, config, found, {"numpy": ["numpy =1.19", "numpy =1"]}, wanted[:2])


def test_ranges_are_never_relaxed(channel: Channel, config: Config) -> None:
    releases(channel, "base", "1.0", "2.0")
    channel.add("a", "1.0.0", depends=["base 1.*"])
    with pytest.raises(SolveError, match="do not fit together") as caught:
        ask(channel, config, "a ==1.0.0", "base >=2")
    assert "base" in (caught.value.why or "")
    with pytest.raises(SolveError, match="do not fit together"):
        ask(channel, config, "a", "base >=2")


def test_a_newer_glibc_is_asked_for_before_pins_are_relaxed(channel: Channel, config: Config) -> None:
    channel.add("a", "1.0.0")
    channel.add("a", "1.0.1", depends=["__glibc >=2.34"])
    with pytest.raises(BaseImageError, match="too old"):
        ask(channel, config, "a ==1.0.1", glibc="2.31")


def macos(channel: Channel) -> list[str]:
    """A channel for both systems, and what conda env export prints on a Mac."""
    channel.packages["osx-64"] = {}
    both = {"zlib": (), "openssl": ("zlib",), "numpy": ("python", "zlib"), "pandas": ("numpy", "python")}
    for name, needs in both.items():
        channel.add(name, "1.2.3", subdir="linux-64", build="hlinux_0", depends=needs)
        osx = (*needs, "libcxx") if name == "numpy" else needs
        channel.add(name, "1.2.3", subdir="osx-64", build="hosx_0", depends=osx)
    channel.add("libcxx", "14.0.6", subdir="osx-64", build="hosx_0")
    channel.add("libcxx", "14.0.6", subdir="linux-64", build="hlinux_0")
    channel.add("appnope", "0.1.2", subdir="osx-64", build="py311_0")
    channel.add("six", "1.16.0", build="pyh_0", depends=["python"])
    channel.add("pyobjc", "9.0", build="pyh_1", depends=["__osx", "python"])
    channel.add("python", "3.11.7", subdir="osx-64", build="hosx_0", depends=["openssl"])
    return [
        "appnope ==0.1.2 py311_0",
        "libcxx ==14.0.6 hosx_0",
        "numpy ==1.2.3 hosx_0",
        "openssl ==1.2.3 hosx_0",
        "pandas ==1.2.3 hosx_0",
        "pyobjc ==9.0 pyh_1",
        "python ==3.11.7 hosx_0",
        "six ==1.16.0 pyh_0",
        "zlib ==1.2.3 hosx_0",
    ]


def test_an_export_of_macos(channel: Channel, config: Config) -> None:
    lines = macos(channel)
    found = ask(channel, config, *lines, complete=True, exported_from="osx-64")
    assert found.said == {
        "appnope ==0.1.2 py311_0": Action.DROPPED,
        "libcxx ==14.0.6 hosx_0": Action.DROPPED,
        "numpy ==1.2.3 hosx_0": Action.RELAXED,
        "openssl ==1.2.3 hosx_0": Action.DROPPED,
        "pandas ==1.2.3 hosx_0": Action.RELAXED,
        "pyobjc ==9.0 pyh_1": Action.DROPPED,
        "python ==3.11.7 hosx_0": Action.RELAXED,
        "zlib ==1.2.3 hosx_0": Action.RELAXED,
    }
    assert found.versions == {
        "numpy": "1.2.3", "pandas": "1.2.3", "python": "3.11.7", "six": "1.16.0", "zlib": "1.2.3",
    }  # fmt: skip
    assert found.reason(lines[0]) == "appnope is for macOS (osx-64): there is none for linux-64"
    assert found.reason(lines[1]) == "it was pulled in on osx-64; nothing needs it on linux-64"
    assert found.reason(lines[2]) == "1.2.3 hlinux_0: builds of osx-64 do not exist for linux-64"
    assert found.reason(lines[5]) == "pyobjc is for macOS: there is none for linux-64"


def test_what_counts_as_asked_for_is_what_nothing_else_needs(channel: Channel, config: Config) -> None:
    lines = macos(channel)
    found = ask(channel, config, *lines, complete=True, exported_from="osx-64")
    assert found.answer.leaves == frozenset({"pandas", "python", "six"})
    own = ask(channel, config, "numpy ==1.2.3 hlinux_0", "pandas ==1.2.3", "zlib=1.2.3", complete=True)
    assert own.findings == []
    assert own.answer.leaves == frozenset({"pandas"})


def test_an_export_of_windows(channel: Channel, config: Config) -> None:
    channel.packages["win-64"] = {}
    channel.add("python", "3.11.7", subdir="win-64", build="hwin_0", depends=["vc"])
    for name in ("vc", "vs2015_runtime", "pywin32", "wincertstore"):
        channel.add(name, "14.2.1", subdir="win-64", build="hwin_0")
    lines = [f"{name} ==14.2.1 hwin_0" for name in ("vc", "vs2015_runtime", "pywin32", "wincertstore")]
    found = ask(channel, config, *lines, "python ==3.11.7 hwin_0", complete=True, exported_from="win-64")
    assert found.versions == {"python": "3.11.7"}
    assert found.said == {**dict.fromkeys(lines, Action.DROPPED), "python ==3.11.7 hwin_0": Action.RELAXED}


def test_what_was_pulled_in_gives_way_first(channel: Channel, config: Config) -> None:
    channel.packages["osx-64"] = {}
    for subdir in ("linux-64", "osx-64"):
        channel.add("zapp", "1.0.0", subdir=subdir, depends=["alib"])
        releases(channel, "alib", "1.0.0", "1.1.0", subdir=subdir)
    channel.packages["linux-64"].clear()
    channel.add("zapp", "1.0.0", subdir="linux-64", depends=["alib >=1.1"])
    channel.add("zapp", "0.9.0", subdir="linux-64", depends=["alib"])
    releases(channel, "alib", "1.0.0", "1.1.0", subdir="linux-64")
    found = ask(channel, config, "alib ==1.0.0", "zapp ==1.0.0", complete=True, exported_from="osx-64")
    assert found.versions == {"alib": "1.1.0", "zapp": "1.0.0"}
    assert found.said == {"alib ==1.0.0": Action.RELAXED}


def test_by_hand_another_systems_package_needs_you(channel: Channel, config: Config) -> None:
    channel.packages["osx-arm64"] = {}
    channel.add("appnope", subdir="osx-arm64")
    channel.add("pyobjc", depends=["__osx"])
    found = ask(channel, config, "appnope", "pyobjc", "python")
    assert found.said == {"appnope": Action.NEEDS_YOU, "pyobjc": Action.NEEDS_YOU}
    assert found.versions == {"python": "3.11.7"}


def test_names_that_nobody_has(channel: Channel, config: Config) -> None:
    channel.packages["osx-64"] = {}
    channel.add("appnope", subdir="osx-64")
    with pytest.raises(SolveError) as caught:
        ask(channel, config, "appnope", "pythom", "zzz")
    assert [p.what for p in caught.value.problems] == ["no channel has pythom", "no channel has zzz"]
    found = ask(channel, config, "appnope ==1.0", "gone ==1.0 0", "python ==3.11.7", complete=True)
    assert found.said == {"appnope ==1.0": Action.DROPPED, "gone ==1.0 0": Action.NEEDS_YOU}
    assert found.versions == {"python": "3.11.7"}


def test_nothing_that_exists_is_an_error(channel: Channel, config: Config) -> None:
    with pytest.raises(SolveError, match="do not exist"):
        ask(channel, config, "gone ==1.0 0", complete=True)


def test_other_systems_are_asked_only_about_missing_names(channel: Channel, config: Config) -> None:
    channel.add("a")
    ask(channel, config, "a", "python")
    assert not [path for path in channel.seen if "osx" in path or "win" in path]


def test_a_channel_that_has_no_other_systems(channel: Channel, config: Config) -> None:
    found = ask(channel, config, "gone ==1.0 0", "python", complete=True, exported_from="win-64")
    assert found.said == {"gone ==1.0 0": Action.NEEDS_YOU}


def test_a_channel_that_goes_away(channel: Channel, config: Config) -> None:
    channel.behaviour = 503
    with pytest.raises(NetworkError):
        ask(channel, config, "a", complete=True, exported_from="osx-64")


def test_a_looser_version_stays_in_its_channel(channel: Channel, config: Config) -> None:
    """The first channel has another python only: a pin on the second's is not loosened into that one."""
    other = Channel()
    channel.add("tool", "3.0.0")
    releases(other, "tool", "2.7.1", "2.7.2", "2.8.0")
    other.add("app", "1.0.0", depends=["tool 2.7.2|2.8.*"])
    with serving(other, "/channel"):
        wanted = tuple(Requirement(text) for text in ("tool ==2.7.1", "app ==1.0.0"))
        spec = EnvSpec("x", (channel.url, other.url), wanted)
        solver, ledger = CondaSolver(spec.channels, wanted, config), Ledger()
        answer = request.solve(
            spec, wanted, "linux-64", "2.36", solver=solver, ledger=ledger, progress=Quiet()
        )
    assert {r.name: r.version for r in answer.records} == {"app": "1.0.0", "tool": "2.7.2"}
    assert [f.subject for f in ledger] == ["tool ==2.7.1"]


def test_where_its_channel_does_not_do_the_next_one_may(channel: Channel, config: Config) -> None:
    other = Channel()
    releases(channel, "tool", "3.0.0")
    releases(other, "tool", "2.7.1")
    channel.add("app", "1.0.0", depends=["tool 3.*"])
    with serving(other, "/channel"):
        wanted = tuple(Requirement(text) for text in ("tool ==2.7.1", "app ==1.0.0"))
        spec = EnvSpec("x", (channel.url, other.url), wanted)
        solver, ledger = CondaSolver(spec.channels, wanted, config), Ledger()
        answer = request.solve(
            spec, wanted, "linux-64", "2.36", solver=solver, ledger=ledger, progress=Quiet()
        )
    assert {r.name: r.version for r in answer.records} == {"app": "1.0.0", "tool": "3.0.0"}
    assert [f.subject for f in ledger] == ["tool ==2.7.1"]


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        (
            "The following packages are incompatible\n├─ a * can be installed\n└─ b * cannot be installed\n"
            "   └─ b 1.0 would require\n      └─ base 2.*, which conflicts with any installable versions.",
            "b 1.0 would require base 2.*, which conflicts with any installable versions",
        ),
        ("No candidates were found for a ==1.", "No candidates were found for a ==1"),
        (
            "└─ a 1 is excluded because due to strict channel priority not using this option from: 'http://c/'",
            "a 1 is not in the channel that comes first",
        ),
    ],
)
def test_the_line_that_matters(tree: str, line: str) -> None:
    assert request.shortened(tree) == line
