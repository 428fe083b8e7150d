"""pip and conda as one story, and GPU said plainly: the stand-in channel, the real index, real uv."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envpack import locking
from envpack.config import Config
from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.locking import cuda, preference, python_guess
from envpack.locking.preference import Prefer
from envpack.locking.solver import CondaSolver
from envpack.spec import EnvSpec, PipOptions, Requirement

PLATFORM = "linux-64"
GLIBC = "2.36"


def spec(conda: list[str], pip: list[str] | None = None) -> EnvSpec:
    return EnvSpec(
        "story",
        channels=("conda-forge",),
        conda=tuple(Requirement(text, Location("environment.yml", n)) for n, text in enumerate(conda, 1)),
        pip=tuple(Requirement(text, Location("environment.yml", n)) for n, text in enumerate(pip or [], 101)),
    )


def locked(
    asked: EnvSpec, config: Config, *, prefer: Prefer | None = None, gpu: str | None = None
) -> tuple[dict[str, str], list[tuple[Action, str]]]:
    """Manager and version or build of every package, and what was said; as the pipeline does it."""
    ledger = Ledger()
    settled = preference.settle(
        asked,
        prefer=prefer,
        names=CondaSolver(asked.channels, (), config).names(PLATFORM),
        on_index=python_guess.on_index(asked.pip_options, platform=PLATFORM, glibc=GLIBC),
        ledger=ledger,
    )
    settled, version = cuda.settle(settled, gpu, ledger)
    solution = locking.solve(
        settled, platforms=[PLATFORM], glibc=GLIBC, config=config, ledger=ledger, cuda=version
    )
    cuda.check(settled, solution.packages, ledger, platform=PLATFORM, wanted=gpu)
    chosen = {p.name: f"{p.manager} {p.version} {p.build or ''}".strip() for p in solution.packages}
    return chosen, [(f.action, f.subject) for f in ledger]


def test_lines_end_where_their_packages_are(config: Config) -> None:
    """click and six are conda's, humanize is pip's; json is nobody's."""
    asked = spec(["python=3.11", "click", "humanize>=4", "json"], ["click>=8", "six"])
    chosen, said = locked(asked, config)
    assert chosen["click"].startswith("conda 8")
    assert chosen["humanize"].startswith("pip 4")
    assert "json" not in chosen
    assert (Action.REPLACED, "humanize>=4") in said
    assert (Action.DROPPED, "json") in said
    assert (Action.DROPPED, "click>=8") in said
    assert [subject for _, subject in said].count("click>=8") == 1


def test_conda_preferred_and_pip_preferred(config: Config) -> None:
    chosen, said = locked(spec(["python=3.11"], ["click>=8", "humanize"]), config, prefer="conda")
    assert chosen["click"].startswith("conda 8")
    assert chosen["humanize"].startswith("pip")
    assert (Action.TRANSLATED, "click>=8") in said
    chosen, said = locked(spec(["python=3.11", "click>=8"]), config, prefer="pip")
    assert chosen["click"].startswith("pip 8")
    assert chosen["python"].startswith("conda 3.11")
    assert (Action.TRANSLATED, "click>=8") in said


def test_a_request_for_cuda_gets_it(config: Config) -> None:
    chosen, said = locked(spec(["gpu_demo", "cudatoolkit=11.8"]), config)
    assert chosen["gpu_demo"] == "conda 1.0 cuda118_200"
    assert said == [(Action.GUESSED, "CUDA 11.8")]
    assert locked(spec(["gpu_demo"]), config)[0]["gpu_demo"] == "conda 1.0 cpu_0"
    assert locked(spec(["gpu_demo"]), config, gpu="12.4")[0]["gpu_demo"] == "conda 1.0 cuda118_200"
    assert "needs_cuda" in locked(spec(["needs_cuda"]), config, gpu="12")[0]


def test_no_build_for_the_cpu_comes_silently(config: Config) -> None:
    _, said = locked(spec(["gpu_demo=*=cpu*", "cudatoolkit=11.8"]), config)
    assert (Action.NEEDS_YOU, "gpu_demo 1.0 cpu_0") in said


def test_builds_for_the_cpu_where_they_are_wanted(config: Config) -> None:
    chosen, said = locked(spec(["gpu_demo=*=*cuda*", "cudatoolkit=11.8"]), config, gpu="none")
    assert chosen["gpu_demo"] == "conda 1.0 cpu_0"
    assert "cudatoolkit" not in chosen
    assert said == [(Action.RELAXED, "gpu_demo=*=*cuda*"), (Action.DROPPED, "cudatoolkit=11.8")]


@pytest.mark.parametrize(
    ("lines", "python"),
    [
        (["numpy==1.19.5"], "3.9"),
        (["torch==1.8.1", "there-is-no-such-package==1.0"], "3.9"),
        (["tensorflow==2.5.0"], "3.9"),  # needs what has no wheel at all: what it tells itself counts
        (["rich==13.7.1"], python_guess.PYTHONS[0]),
        (["rich"], None),
        (["there-is-no-such-package==1.0"], None),
    ],
)
def test_the_python_of_a_freeze(lines: list[str], python: str | None) -> None:
    ledger = Ledger()
    requirements = [Requirement(line, Location("requirements.txt", 1)) for line in lines]
    found = python_guess.python_for(requirements, PipOptions(), platform=PLATFORM, glibc=GLIBC, ledger=ledger)
    assert found == python
    assert [(f.action, f.subject) for f in ledger] == (
        [(Action.GUESSED, f"python {python}")] if python else []
    )


def test_a_freeze_without_python_is_solved_for_the_one_it_fits(config: Config) -> None:
    asked = spec(["python"], ["MarkupSafe==2.1.2"])  # its wheels end with cp311
    ledger = Ledger()
    after = python_guess.settle(asked, platform=PLATFORM, glibc=GLIBC, ledger=ledger)
    assert [r.text for r in after.conda] == ["python =3.11"]
    chosen, _ = locked(after, config)
    assert chosen["markupsafe"] == "pip 2.1.2"
    assert chosen["python"].startswith("conda 3.11")
    assert [(f.action, f.subject) for f in ledger] == [(Action.GUESSED, "python 3.11")]
    for asked_python, found in ((">=3.8,<3.11", "3.10"), (">=3.9", "3.11"), ("=3.12", None)):
        lock = replace(spec([f"python {asked_python}"], ["MarkupSafe==2.1.2"]), complete=True)
        after = python_guess.settle(lock, platform=PLATFORM, glibc=GLIBC, ledger=Ledger())
        assert [r.text for r in after.conda] == [f"python ={found}" if found else f"python {asked_python}"]
    given = spec(["python =3.12"], ["MarkupSafe==2.1.2"])
    assert python_guess.settle(given, platform=PLATFORM, glibc=GLIBC, ledger=Ledger()) is given


@pytest.mark.parametrize("conda", [("python",), ("python", "six")])
def test_a_python_that_nobody_named_is_said_once(conda: tuple[str, ...]) -> None:
    pip = (Requirement("rich", Location("requirements.txt", 1)),)
    for where, said in ((None, ["python"]), (Location("environment.yml", 1), [])):
        ledger = Ledger()
        asked = EnvSpec("x", ("conda-forge",), tuple(Requirement(text, where) for text in conda), pip)
        assert python_guess.settle(asked, platform=PLATFORM, glibc=GLIBC, ledger=ledger) is asked
        assert [f.subject for f in ledger if f.action is Action.GUESSED] == said


@pytest.mark.parametrize("prefer", [None, "conda", "pip"])
def test_no_line_of_the_field_gets_lost(corpus: Path, prefer: Prefer | None) -> None:
    """Every line of real environments is one afterwards, or something is said of it."""
    from envpack import sources
    from envpack.errors import EnvpackError

    names = set(json.loads((corpus.parent / "mapping" / "conda_pypi_names.json").read_text("utf-8")))
    read = 0
    for path in sorted(p for p in corpus.glob("*/*") if p.is_file()):
        try:
            asked = sources.read(str(path), directory=path.parent, ledger=Ledger())
        except EnvpackError:
            continue
        read += 1
        ledger = Ledger()
        after = preference.settle(asked, prefer=prefer, names=names, ledger=ledger)
        after, _ = cuda.settle(after, "none" if prefer else None, ledger)
        there = {(r.text, str(r.where)) for r in (*after.conda, *after.pip)}
        said = {str(finding.where) for finding in ledger}
        for line in (*asked.conda, *asked.pip):
            assert (line.text, str(line.where)) in there or str(line.where) in said, f"{path}: {line.text}"
    assert read > 20
