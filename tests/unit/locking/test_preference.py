"""Every package is asked of conda or of pip: what moves, what goes, and that it is said."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from packaging.specifiers import SpecifierSet

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.locking import preference
from envpack.locking.preference import Prefer
from envpack.locking.specifiers import conda_in_pip, to_conda, to_pip
from envpack.spec import EnvSpec, Requirement

NAMES = {
    "python", "pip", "numpy", "pandas", "pytorch", "pytables", "scikit-learn", "typing_extensions", "zlib",
    "python-graphviz", "graphviz", "py-opencv", "rich", "cudatoolkit", "matplotlib-base", "dask-core",
}  # fmt: skip
ON_INDEX = {"torcheval", "pandsa", "pywin32==300", "azureml-defaults==1.18.*", "tables==3.6"}


def spec(
    conda: Collection[str],
    pip: Collection[str],
    *,
    asked: frozenset[str] | None = None,
    complete: bool = False,
) -> EnvSpec:
    return EnvSpec(
        "e",
        conda=tuple(Requirement(text, Location("e.yml", n)) for n, text in enumerate(conda, 1)),
        pip=tuple(Requirement(text, Location("e.yml", n)) for n, text in enumerate(pip, 101)),
        asked=asked,
        complete=complete,
    )


def settled(
    asked: EnvSpec, prefer: Prefer | None = None, names: Collection[str] | None = NAMES
) -> tuple[list[str], list[str], list[tuple[Action, int]]]:
    """conda's and pip's lines afterwards, and what was said of which line."""
    ledger = Ledger()
    after = preference.settle(
        asked, prefer=prefer, names=names, on_index=ON_INDEX.__contains__, ledger=ledger
    )
    said = [(f.action, (f.where.line or 0) if f.where else 0) for f in ledger]
    assert len(said) == len(set(said)), "a line is said twice"
    return [r.text for r in after.conda], [r.text for r in after.pip], said


def test_what_is_right_stays_and_nothing_is_said() -> None:
    conda, pip = ["python=3.9", "numpy=1.21", "graphviz"], ["rich>=13", "graphviz", "torcheval"]
    assert settled(spec(conda, pip)) == (conda, pip, [])
    assert settled(spec(conda, pip), names=None) == (conda, pip, [])


@pytest.mark.parametrize(
    ("conda", "pip", "after"),
    [
        ("numpy", "numpy", "numpy"),
        ("numpy=1.21", "numpy", "numpy=1.21"),
        ("numpy", "numpy==1.21.2", "numpy ==1.21.2"),
        ("numpy=1.20", "NumPy==1.21.2", "numpy ==1.21.2"),
        ("numpy ==1.21.2 py39h0_0", "numpy==1.21.2", "numpy ==1.21.2 py39h0_0"),
        ("numpy ==1.21.2 py39h0_0", "numpy>=1.20", "numpy ==1.21.2 py39h0_0"),
        ("numpy ==1.21.2 py39h0_0", "numpy>=1.22", "numpy >=1.22"),
        ("numpy >=1.20", "numpy<2", "numpy >=1.20,<2"),
        ("numpy >=1.20,<2", "numpy<2,>=1.20", "numpy >=1.20,<2"),
        ("conda-forge::numpy", "numpy~=1.21.2", "conda-forge::numpy >=1.21.2,1.21.*"),
        ("pytorch", "torch==2.1.0", "pytorch ==2.1.0"),
        ("matplotlib-base", "matplotlib", "matplotlib-base"),
    ],
)
def test_asked_of_both_is_asked_of_conda_in_pips_version(conda: str, pip: str, after: str) -> None:
    expected = [(Action.DROPPED, 101)] + ([(Action.REPLACED, 1)] if after != conda else [])
    assert settled(spec([conda], [pip])) == ([after], [], expected)


def test_a_version_that_conda_has_not_is_pips() -> None:
    found = settled(spec(["python", "pytorch"], ["torch==2.1.0+cu121"]))
    assert found == (["python"], ["torch==2.1.0+cu121"], [(Action.DROPPED, 2)])


def test_extras_and_markers_are_left_to_the_solve() -> None:
    pip = ["dask[complete]", "numpy; python_version < '3.9'"]
    assert settled(spec(["dask-core", "numpy"], pip)) == (["dask-core", "numpy"], pip, [])


def test_match_specs_among_pips_lines() -> None:
    pip = [
        "scikit-learn=1.0=py39_0",
        "numpy=1.21",
        "pytorch=1.4.0",
        "zlib=1.2.11",
        "python=3.8.1",
        "_libgcc_mutex=0.1",
    ]
    conda, left, said = settled(spec([], pip))
    assert left == ["scikit-learn==1.0", "numpy==1.21", "torch==1.4.0"]
    assert conda == ["zlib ==1.2.11", "python ==3.8.1", "_libgcc_mutex ==0.1"]
    assert said == [(Action.TRANSLATED, line) for line in range(101, 107)]


def test_what_the_channels_lack_is_looked_for_under_other_names() -> None:
    asked = ["typing-extensions=4", "torch=2.1", "tables", "opencv-python", "numpy"]
    conda, pip, said = settled(spec(asked, []))
    assert conda == ["typing_extensions 4.*", "pytorch 2.1.*", "pytables", "py-opencv", "numpy"]
    assert pip == []
    assert said == [(Action.REPLACED, line) for line in (1, 2, 3, 4)]
    of_an_export = ["torch ==2.1 py39_0", "typing-extensions ==4.1 pyh_0"]
    conda, _, said = settled(spec(of_an_export, [], complete=True))
    assert conda == ["torch ==2.1 py39_0", "typing_extensions ==4.1 pyh_0"]
    assert said == [(Action.REPLACED, 2)]


def test_what_only_pip_has_goes_there() -> None:
    found = settled(spec(["python", "torcheval", "azureml-defaults=1.18"], []))
    moved = ["torcheval", "azureml-defaults==1.18.*"]
    assert found == (["python"], moved, [(Action.REPLACED, 2), (Action.REPLACED, 3)])
    absent = ["nosuchpackage", "torcheval|3", "pywin32 ==300 py39_0", "other::torcheval"]
    assert settled(spec(absent, [])) == (absent, [], [])
    assert settled(spec(["torcheval"], [], complete=True)) == (["torcheval"], [], [])


def test_a_slip_is_not_installed_from_pip() -> None:
    assert "pandsa" in ON_INDEX
    assert settled(spec(["pandsa"], [])) == (["pandsa"], [], [])


def test_pythons_own_modules_are_dropped() -> None:
    found = settled(spec(["pandas", "json", "os"], ["sys", "rich"]))
    assert found == (["pandas"], ["rich"], [(Action.DROPPED, 2), (Action.DROPPED, 3), (Action.DROPPED, 101)])
    ledger = Ledger()
    kept = preference.settle(spec(["python"], ["typing==3.7"]), names=NAMES, ledger=ledger)
    assert ([r.text for r in kept.pip], len(ledger)) == (["typing==3.7"], 0)  # the index was not asked


def test_conda_preferred() -> None:
    pip = [
        "numpy==1.21.2", "tables~=3.6.1", "typing.extensions!=4.1", "graphviz", "torch==2.1+cu121",
        "dask[complete]", "azureml-defaults", "rich>=13; sys_platform == 'linux'", "pandas; os_name == 'nt'",
        "pandas; python_version < '3.9'",
    ]  # fmt: skip
    conda, left, said = settled(spec(["python"], pip), "conda")
    assert conda[:3] == ["python", "numpy ==1.21.2", "pytables >=3.6.1,3.6.*"]
    assert conda[3:] == ["typing_extensions !=4.1", "python-graphviz", "rich >=13"]
    assert left == [
        "torch==2.1+cu121",
        "dask[complete]",
        "azureml-defaults",
        "pandas; python_version < '3.9'",
    ]
    actions = dict.fromkeys(range(101, 111), Action.KEPT)
    actions |= dict.fromkeys((101, 102, 103, 104, 108), Action.TRANSLATED) | {109: Action.DROPPED}
    assert said == [(actions[line], line) for line in range(101, 111)]


def test_pip_preferred() -> None:
    asked = [
        "numpy=1.21", "pytorch >=2,<3", "zlib", "graphviz", "rich ==13.7.1 pyhd8ed1ab_0", "pandas 1.4|1.5",
        "jaxlib=0.4=*cuda*", "typing_extensions", "pip",
    ]  # fmt: skip
    conda, pip, said = settled(spec(asked, ["numpy==1.22"]), "pip")
    assert conda == ["python", "zlib", "graphviz", "pandas 1.4|1.5", "jaxlib=0.4=*cuda*", "pip"]
    assert pip == ["numpy==1.22", "torch<3,>=2", "rich==13.7.1", "typing-extensions"]
    assert said[0] == (Action.DROPPED, 1)


def test_that_somebody_asked_for_it_goes_along() -> None:
    asked = frozenset({"conda:torch", "pip:rich", "conda:json", "pip:numpy", "conda:zlib"})
    before = spec(["torch", "json", "zlib", "numpy", "pandas"], ["rich", "numpy"], asked=asked)
    after = preference.settle(before, prefer="conda", names=NAMES, ledger=Ledger())
    assert after.asked == frozenset({"conda:pytorch", "conda:rich", "conda:numpy", "conda:zlib"})


def test_the_base_images_python_has_no_conda() -> None:
    from dataclasses import replace

    before = replace(spec([], ["numpy", "json", "rich=13.7"]), system_python=True)
    assert settled(before, "conda")[:2] == ([], ["numpy", "json", "rich==13.7"])


@pytest.mark.parametrize(
    ("pip", "conda"),
    [
        ("", ""),
        ("==1.2", "==1.2"),
        ("===1.2", "==1.2"),
        ("==1.2.*", "1.2.*"),
        ("~=1.4.2", ">=1.4.2,1.4.*"),
        ("~=1.4", ">=1.4,1.*"),
        ("!=1.5.*", "!=1.5.*"),
        (">=1,<2", "<2,>=1"),
        ("==1.0+cu121", None),
    ],
)
def test_pips_constraints_in_condas_words(pip: str, conda: str | None) -> None:
    from rattler import MatchSpec

    assert to_conda(SpecifierSet(pip)) == conda
    if conda:
        MatchSpec(f"name {conda}")


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("", ""),
        ("*", ""),
        ("==1.21", "==1.21"),
        ("1.21.*", "==1.21.*"),
        (">=1.2,<2", ">=1.2,<2"),
        ("!=1.5.*", "!=1.5.*"),
        ("~=1.4.2", "~=1.4.2"),
        (">=1.2.*", ">=1.2"),
        ("==1.2|==1.3", None),
        ("==1.1.1d", None),
    ],
)
def test_condas_constraints_in_pips_words(conda: str, pip: str | None) -> None:
    assert to_pip(conda) == (None if pip is None else SpecifierSet(pip))


def test_what_is_no_match_spec_among_pips_lines() -> None:
    assert conda_in_pip("numpy = 1.21") == ("numpy", "1.21", None)
    for text in (
        "numpy==1.21",
        "numpy>=1.21",
        "numpy",
        "-e .",
        "numpy=latest",
        "numpy=1.2; python_version<'3'",
    ):
        assert conda_in_pip(text) is None
