"""Relaxing against real repodata: conda-forge's and defaults' of 2016, and the stand-in's; and locks.

The packages of 2016 are gone, and their repodata has no sha256, so these are solved and not locked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from envpack import lockfile, locking
from envpack.config import Config
from envpack.errors import Location, SolveError
from envpack.image import Digest, parse_reference
from envpack.ledger import Action, Finding, Ledger
from envpack.lockfile import BasePin, BuildPins, PlatformPin
from envpack.locking import elsewhere, pins, request
from envpack.locking.request import Answer
from envpack.locking.solver import CondaSolver
from envpack.progress import Quiet
from envpack.spec import EnvSpec, Requirement
from tests.conftest import Served
from tests.standins import server

FILES = {"forge": "conda-forge-linux-64-2016-08.json", "free": "pkgs-free-linux-64-2016-09.json"}
CHANNEL = "https://conda.anaconda.org/conda-forge"
BASE = BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "a" * 64), "2.31")
OSX = ("appnope", "libcxx", "python.app")
WIN = ("vs2008_runtime", "pywin32", "wincertstore")


@pytest.fixture(scope="module")
def channels(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The two channels as they were in 2016, and what two other systems have beside them."""
    root = tmp_path_factory.mktemp("channels")
    for name, file in FILES.items():
        source = corpus.parent / "repodata" / file
        if not source.is_file():
            pytest.skip(f"no repodata of 2016 in {source}")
        _publish(root / name, "linux-64", source.read_bytes())
        _publish(root / name, "noarch", _repodata("noarch"))
        _publish(root / name, "osx-64", _repodata("osx-64", *OSX))
        _publish(root / name, "win-64", _repodata("win-64", *WIN))
    with server.serving(root) as url:
        yield tuple(f"{url}/{name}" for name in FILES)


def _publish(channel: Path, subdir: str, data: bytes) -> None:
    (channel / subdir).mkdir(parents=True)
    (channel / subdir / "repodata.json").write_bytes(data)


def _repodata(subdir: str, *names: str) -> bytes:
    packages = {
        f"{name}-1.0-0.tar.bz2": {
            "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": subdir,
        }
        for name in names
    }  # fmt: skip
    return json.dumps({"info": {"subdir": subdir}, "packages": packages}).encode()


class Asked:
    """One request, solved; ``solves`` counts the solver's."""

    def __init__(self, channels: Sequence[str], texts: Sequence[str], cache: Path, *, complete: bool = False,
                 exported_from: str | None = None) -> None:  # fmt: skip
        self.texts = texts
        wanted = tuple(Requirement(text, Location("environment.yml", n)) for n, text in enumerate(texts, 1))
        spec = EnvSpec("x", tuple(channels), wanted, complete=complete, exported_from=exported_from)
        self.solver, ledger = CondaSolver(spec.channels, wanted, Config(cache)), Ledger()
        there = elsewhere.with_names(spec, wanted, ["linux-64"], self.solver, ledger)["linux-64"]
        begun = time.monotonic()
        self.answer: Answer = request.solve(
            spec, there, "linux-64", "2.36", solver=self.solver, ledger=ledger, progress=Quiet()
        )
        self.seconds = time.monotonic() - begun
        self.findings: list[Finding] = list(ledger)
        self.versions = {record.name: record.version for record in self.answer.records}
        self.changed = {finding.subject for finding in self.findings}

    def check(self) -> None:
        """Every line is either met as it is, or has one finding; and no relaxed line could be tighter."""
        from rattler import MatchSpec

        assert len({f.where for f in self.findings}) == len(self.findings)
        assert {f.subject for f in self.findings if f.action is Action.RELAXED} == {
            relaxed.wanted for relaxed in self.answer.relaxed
        }
        chosen = {r.name: r for r in self.answer.records}
        for text in set(self.texts) - self.changed:
            wanted, record = MatchSpec(text), chosen[MatchSpec(text).name.normalized]
            if wanted.version and str(wanted.version).startswith("=="):
                assert str(wanted.version) == f"=={record.version}"
                assert wanted.build is None or str(wanted.build) == record.build

    def minimal(self) -> bool:
        """Whether the request no longer solves when any one relaxed line is as it was written."""
        kept = [text for text in self.texts if text not in self.changed]
        relaxed = [r.wanted for r in self.answer.relaxed]
        names = {text: elsewhere.name_of(Requirement(text)) for text in relaxed}
        for undone in relaxed:
            others = [f"{names[t]} =={self.versions[names[t]]}" for t in relaxed if t != undone]
            try:
                self.solver.solve("linux-64", "2.36", [Requirement(t) for t in (*kept, *others, undone)])
            except SolveError:
                continue
            return False
        return True


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache."""
    return tmp_path_factory.mktemp("cache")


def whole(channels: Sequence[str], cache: Path) -> list[str]:
    """A whole environment of 2016, as ``conda list --export`` has it: python 2.7 and over 100 more."""
    asked = ["python 2.7*", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "ipython", "h5py",
             "jupyter", "sphinx", "django", "flask", "sqlalchemy", "requests", "netcdf4", "basemap",
             "statsmodels", "scikit-image", "bokeh", "pytest", "cython", "seaborn", "nltk", "gdal",
             "rasterio", "cartopy", "pytables", "numba", "theano", "boto", "tornado", "twisted", "scrapy",
             "dask", "xarray", "networkx", "sympy", "astropy", "biopython", "paramiko"]  # fmt: skip
    solver = CondaSolver(channels, (), Config(cache))
    kept: list[Requirement] = []
    for text in asked:
        try:
            records = solver.solve("linux-64", "2.36", [*kept, Requirement(text)])
        except SolveError:
            continue
        kept.append(Requirement(text))
    records = solver.solve("linux-64", "2.36", kept)
    return [f"{r.name} =={r.version} {r.build}" for r in records]


# python 2.7 era, by hand: builds that were never here, versions that are gone or do not go together
HAND_WRITTEN = {
    "a build that is gone": (["python=2.7.12=99", "six"], {"python=2.7.12=99"}),
    "old versions gone": (["python 2.7*", "django=1.5.1", "six=1.0.7"], {"django=1.5.1", "six=1.0.7"}),
    "pandas against numpy": (["python=3.5.1", "numpy=1.7.1", "pandas=0.18.1"], {"numpy=1.7.1"}),
    "builds for two numpys": (
        ["python ==2.7.11 0", "pandas ==0.17.1 np110py27_0", "scipy ==0.17.0 np19py27_2"],
        {"scipy ==0.17.0 np19py27_2"},
    ),
    "builds for two pythons": (
        ["six ==1.10.0 py35_0", "python ==2.7.11 0", "flask ==0.11.1 py35_0"],
        {"six ==1.10.0 py35_0", "flask ==0.11.1 py35_0"},
    ),
    "what nothing else minds": (["python 2.7*", "jinja2 ==2.8", "six ==1.10.0"], set()),
}  # fmt: skip


@pytest.mark.parametrize(("texts", "changed"), HAND_WRITTEN.values(), ids=HAND_WRITTEN)
def test_by_hand(channels: tuple[str, ...], cache: Path, texts: list[str], changed: set[str]) -> None:
    found = Asked(channels, texts, cache)
    assert found.changed == changed
    found.check()
    assert found.minimal()


def test_by_hand_a_name_of_macos(channels: tuple[str, ...], cache: Path) -> None:
    found = Asked(channels, ["python 2.7*", "appnope", "six ==1.10.0"], cache)
    assert [(f.action, f.subject) for f in found.findings] == [(Action.NEEDS_YOU, "appnope")]


@pytest.mark.parametrize(("system", "own"), [("osx-64", OSX), ("win-64", WIN)])
def test_a_whole_export_of_another_system(
    channels: tuple[str, ...], cache: Path, system: str, own: tuple[str, ...]
) -> None:
    """Its versions are all here, its builds are not, and some packages are its own."""
    here = whole(channels, cache)
    lines = [f"{line.rpartition(' ')[0]} h{n:05}_0" for n, line in enumerate(here)]
    lines += [f"{name} ==1.0 0" for name in own] + ["long_gone ==1.0 0"]
    found = Asked(channels, lines, cache, complete=True, exported_from=system)
    found.check()
    assert {f.subject.split(" ")[0] for f in found.findings if f.action is Action.DROPPED} == set(own)
    assert [f.subject for f in found.findings if f.action is Action.NEEDS_YOU] == ["long_gone ==1.0 0"]
    assert len(found.answer.relaxed) == len(here)
    assert {r.why for r in found.answer.relaxed} == {f"builds of {system} do not exist for linux-64"}
    assert found.versions == {line.split(" ")[0]: line.split(" ")[1][2:] for line in here}
    assert found.answer.leaves is not None
    assert {"python", "seaborn"} <= found.answer.leaves
    assert "openssl" not in found.answer.leaves


def test_a_whole_export_with_versions_gone(channels: tuple[str, ...], cache: Path) -> None:
    """Every tenth version is one that no channel has: only these change, as little as they can."""
    lines = whole(channels, cache)
    broken = [line.replace(" ", ".99 ", 2).replace(".99 ", " ", 1) if n % 10 == 0 else line
              for n, line in enumerate(lines)]  # fmt: skip
    found = Asked(channels, broken, cache, complete=True)
    found.check()
    assert found.changed == set(broken) - set(lines)
    assert found.minimal()


@pytest.mark.parametrize("name", ["numpy", "six", "openssl", "libpng"])
def test_one_wrong_pin_among_many(channels: tuple[str, ...], cache: Path, name: str) -> None:
    """A version that exists and goes with nothing: an over-pinned file."""
    lines = whole(channels, cache)
    assert len(lines) > 100
    (right,) = (line for line in lines if line.startswith(f"{name} =="))
    solver = CondaSolver(channels, (), Config(cache))
    oldest = min(solver.candidates("linux-64", [name]), key=lambda r: r.version)
    wrong = f"{name} =={oldest.version} {oldest.build}"
    found = Asked(channels, [wrong if line == right else line for line in lines], cache, complete=True)
    assert wrong in found.changed
    assert len(found.changed) <= 3
    found.check()
    assert found.minimal()
    assert found.seconds < 10


def test_when_time_runs_out_it_is_said(channels: tuple[str, ...], cache: Path) -> None:
    lines = [f"{line.rpartition(' ')[0]} hosx_0" for line in whole(channels, cache)]
    wanted = tuple(Requirement(line, Location("environment.yml", n)) for n, line in enumerate(lines, 1))
    spec = EnvSpec("x", channels, wanted, complete=True, exported_from="osx-64")
    solver, ledger = CondaSolver(channels, wanted, Config(cache)), Ledger()
    answer = request.solve(
        spec, wanted, "linux-64", "2.36", solver=solver, ledger=ledger, progress=Quiet(), seconds=0
    )
    assert len(answer.relaxed) == len(lines)
    assert "time ran out" in answer.relaxed[0].why


@pytest.fixture
def mirrored(channel: Served, tmp_path: Path) -> Config:
    """conda-forge from the stand-in."""
    return Config(tmp_path / "cache", mirrors={CHANNEL: (channel.url,)})


def locked(spec: EnvSpec, config: Config, path: Path, **more: object) -> tuple[locking.Solution, Ledger]:
    ledger = Ledger()
    solution = locking.solve(
        spec, platforms=["linux-64"], glibc="2.36", config=config, ledger=ledger, **more  # type: ignore[arg-type]  # passed on
    )  # fmt: skip
    pinned = {"linux-64": PlatformPin(BASE, solution.requested["linux-64"])}
    locking.write(solution, BuildPins(spec.name, "/opt/env", solution.epoch, pinned), path)
    return solution, ledger


def test_a_relaxed_lock_answers_the_source_as_written(mirrored: Config, tmp_path: Path) -> None:
    texts = ("timeline ==1.9 0", "conflict_a ==1.0 0", "conflict_base ==2.0", "gone ==1 0", "python")
    wanted = tuple(Requirement(text, Location("environment.yml", n)) for n, text in enumerate(texts, 1))
    spec = EnvSpec("x", ("conda-forge",), wanted, complete=True, exported_from="osx-arm64")
    path = tmp_path / "x.conda-lock.yml"
    solution, ledger = locked(spec, mirrored, path)
    lock = lockfile.read(path)
    locking.check(lock, spec, ["linux-64"])
    with pytest.raises(Exception, match="no longer answers"):
        locking.check(lock, EnvSpec("x", ("conda-forge",), wanted[1:]), ["linux-64"])
    found = {p.name: p.version for p in lock.packages}
    assert found["timeline"] == "1.1"
    assert found["conflict_base"] == "1.0"
    assert "gone" not in found
    assert {(f.action, f.subject) for f in ledger} == {
        (Action.RELAXED, "timeline ==1.9 0"),
        (Action.RELAXED, "conflict_base ==2.0"),
        (Action.NEEDS_YOU, "gone ==1 0"),
    }
    assert [(r.wanted, r.got) for r in solution.relaxed] == [
        ("timeline ==1.9 0", "1.1 1"), ("conflict_base ==2.0", "1.0 0")
    ]  # fmt: skip
    assert solution.requested["linux-64"] == ("conda:conflict_a", "conda:python", "conda:timeline")


@pytest.mark.parametrize(("pin", "version"), [("exact", "1.0"), ("minor", "1.0"), ("none", "3.0")])
def test_pin(mirrored: Config, tmp_path: Path, pin: pins.Pinning, version: str) -> None:
    spec = EnvSpec("x", ("conda-forge",), (Requirement("timeline ==1.0 0"),))
    path = tmp_path / "x.conda-lock.yml"
    _, ledger = locked(spec, mirrored, path, pin=pin)
    (package,) = lockfile.read(path).packages
    assert package.version == version
    assert [f.action for f in ledger] == ([] if pin == "exact" else [Action.RELAXED])
    locking.check(lockfile.read(path), spec, ["linux-64"])


def test_a_whole_freeze(mirrored: Config, tmp_path: Path) -> None:
    """The real package index: a name it does not have, a version without wheels for this python."""
    pip = ("humanize==4.9.0", "envpack-no-such-project==1.0", "markupsafe==0.23")
    spec = EnvSpec(
        "x",
        ("conda-forge",),
        (Requirement("python=3.11"),),
        tuple(Requirement(text, Location("requirements.txt", n)) for n, text in enumerate(pip, 1)),
        complete=True,
    )
    path = tmp_path / "x.conda-lock.yml"
    solution, ledger = locked(spec, mirrored, path)
    lock = lockfile.read(path)
    locking.check(lock, spec, ["linux-64"])
    found = {p.name: p.version for p in lock.packages if p.manager == "pip"}
    assert found["humanize"] == "4.9.0"
    assert "markupsafe" in found
    assert {f.subject: f.action for f in ledger} == {
        "envpack-no-such-project==1.0": Action.NEEDS_YOU,
        "markupsafe==0.23": Action.RELAXED,
    }
    assert [r.wanted for r in solution.relaxed] == ["markupsafe==0.23"]
    assert "pip:humanize" in solution.requested["linux-64"]
