"""``conda list`` in its forms: tables, exports, JSON, and lists of addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.ledger import Action, Finding, Ledger
from envpack.sources import read
from envpack.spec import EnvSpec

TABLE = """\
(base) ada@host:~$ conda list -n work
# packages in environment at /home/ada/miniconda3/envs/work:
#
# Name                    Version                   Build  Channel
_libgcc_mutex             0.1                        main
numpy                     1.26.4          py311h64a7726_0    conda-forge
r-base                    4.3.1                h2a7b1c3_0
rich                      13.9.4                   pypi_0    pypi
old                       1.0                       <pip>
own                       0.1.0                     dev_0    <develop>
built                     2.0                      py_0    file:///home/ada/conda-bld
Collecting package metadata: done
"""
EXPORT = """\
# This file may be used to create an environment using:
# $ conda create --name <env> --file <this file>
# platform: osx-arm64
numpy=1.26.4=py311h7125741_0
rich=13.9.4=pypi_0
"""
MICROMAMBA = """\
List of packages in environment: "/opt/conda/envs/work"

  Name    Version  Build            Channel
──────────────────────────────────────────────────────
  numpy   1.26.4   py311h64a7726_0  conda-forge
"""
FREE = "https://repo.anaconda.com/pkgs/free"
EXPLICIT = """\
# platform: linux-64
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/xz-5.2.6-h166bdaf_0.tar.bz2#2161070d867d1b1204ea749c8eec4ef0
https://repo.anaconda.com/pkgs/main/noarch/tzdata-2024a-h04d1e81_0.conda
https://me:secret@host.example/t/secret-token/lab/linux-64/a-b-1%211.0-0.conda#sha256:00
file:///home/ada/pkgs/own-1.0-0.conda
https://host.example/a.zip
# pip rich @ https://files.example/rich-13.9.4-py3-none-any.whl --hash=sha256:00
"""


def spec_of(tmp_path: Path, text: str | bytes, file: str = "list.txt") -> tuple[EnvSpec, list[Finding]]:
    (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    ledger = Ledger()
    return read(file, directory=tmp_path, ledger=ledger), list(ledger)


def conda(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.conda]


def pip(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.pip]


def lines(findings: list[Finding], *actions: Action) -> list[int | None]:
    """The lines of the findings of ``actions``."""
    return [f.where.line for f in findings if f.where and f.where.line and f.action in actions]


@pytest.mark.parametrize("encode", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table(tmp_path: Path, encode: str, end: str) -> None:
    spec, findings = spec_of(tmp_path, TABLE.replace("\n", end).encode(encode))
    assert conda(spec) == [
        "defaults::_libgcc_mutex ==0.1 main",
        "conda-forge::numpy ==1.26.4 py311h64a7726_0",
        "r-base ==4.3.1 h2a7b1c3_0",
    ]
    assert pip(spec) == ["rich==13.9.4", "old==1.0"]
    assert (spec.name, spec.channels) == ("work", ("defaults", "conda-forge"))
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, "linux-64", ("linux-64",))
    assert str(spec.conda[1].where) == "list.txt:6"
    assert lines(findings, Action.KEPT) == [5, 6, 7, 8, 9]
    assert lines(findings, Action.NEEDS_YOU) == [10, 11, 12]
    assert lines(findings, Action.DROPPED) == [1]
    assert all(f.remedy for f in findings if f.action is Action.NEEDS_YOU)


def test_a_table_of_windows(tmp_path: Path) -> None:
    table = r"""# packages in environment at C:\Users\ada\envs\my env:
#
numpy   1.26.4   py311_0
"""
    spec, _ = spec_of(tmp_path, table)
    assert (spec.exported_from, spec.platforms, spec.channels) == ("win-64", (), ("defaults",))
    assert conda(spec) == ["numpy ==1.26.4 py311_0"]


def test_micromambas_table(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, MICROMAMBA)
    assert (conda(spec), spec.channels) == (["numpy ==1.26.4 py311h64a7726_0"], ("conda-forge",))
    assert {f.action for f in findings} == {Action.KEPT}


def test_an_export(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, EXPORT)
    assert (conda(spec), pip(spec)) == (["numpy ==1.26.4 py311h7125741_0"], ["rich==13.9.4"])
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, "osx-arm64", ())
    assert lines(findings, Action.KEPT) == [4, 5]


@pytest.mark.parametrize(
    ("builds", "channels", "system"),
    [
        (["pyhd8ed1ab_0", "main", "pyh29332c3_0"], ("conda-forge", "defaults"), None),
        (["py311h06a4308_0", "pyhd3eb1b0_0"], ("defaults",), "linux-64"),
        (["hce30654_0"], ("conda-forge",), "osx-arm64"),
        (["py38haa95532_0", "py3.8_cuda11.1_cudnn8.0.5_0"], ("defaults", "pytorch"), "win-64"),
        (["np19py27_0", "4"], ("defaults", FREE), None),
        (["py35_0", "0", "py35_1"], ("defaults", FREE), None),
        (["py36_0", "py36h06a4308_0"], ("defaults",), "linux-64"),  # a few have no hash to this day
    ],
)
def test_builds_tell_channels_and_system(
    tmp_path: Path, builds: list[str], channels: tuple[str, ...], system: str | None
) -> None:
    text = "".join(f"p{number}=1.0={build}\n" for number, build in enumerate(builds))
    spec, findings = spec_of(tmp_path, text)
    assert (spec.channels, spec.exported_from) == (channels, system)
    named = [channel for channel in channels if channel != FREE]
    assert any(f.subject == f"channels: {', '.join(named)}" for f in findings)
    assert any(f.subject == f"channel {FREE}" for f in findings) == (FREE in channels)


def test_a_table_from_before_2017(tmp_path: Path) -> None:
    """Its packages of defaults are not asked of today's first channel of these alone."""
    text = "numpy 1.11.1 np111py35_0\nzlib 1.2.8 3\nbiopython 1.68 np111py35_0 bioconda\n"
    spec, findings = spec_of(tmp_path, f"# packages in environment at /x:\n#\n{text}")
    assert spec.channels == ("defaults", "bioconda", FREE)
    assert conda(spec) == [
        "numpy ==1.11.1 np111py35_0",
        "zlib ==1.2.8 3",
        "bioconda::biopython ==1.68 np111py35_0",
    ]
    assert [f.subject for f in findings if f.action is Action.GUESSED and "free" in f.subject]


def test_json(tmp_path: Path) -> None:
    text = """[
  {"channel": "conda-forge", "dist_name": "a-1-0", "build_string": "0", "name": "a",
   "platform": "osx-64", "version": "1"},
  {"channel": "pypi", "dist_name": "rich-13.9.4-pypi_0", "build_string": "pypi_0", "name": "rich",
   "platform": "pypi", "version": "13.9.4"},
  {}
]"""
    spec, findings = spec_of(tmp_path, text, "list.json")
    assert (conda(spec), pip(spec), spec.exported_from) == (["a ==1 0"], ["rich==13.9.4"], "osx-64")
    assert (lines(findings, Action.KEPT), lines(findings, Action.NEEDS_YOU)) == ([2, 4], [6])


def test_addresses(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, EXPLICIT)
    assert conda(spec) == [
        "conda-forge::xz ==5.2.6 h166bdaf_0",
        "https://repo.anaconda.com/pkgs/main::tzdata ==2024a h04d1e81_0",
        "https://host.example/lab::a-b ==1!1.0 0",
    ]
    assert pip(spec) == ["rich==13.9.4"]
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, "linux-64", ("linux-64",))
    assert lines(findings, Action.KEPT) == [3, 4, 5, 8]
    assert lines(findings, Action.NEEDS_YOU) == [6, 7]
    assert "secret" not in repr(spec) + repr(findings)


def test_what_packages_are_for_counts(tmp_path: Path) -> None:
    text = "# platform: linux-64\n@EXPLICIT\nhttps://host.example/c/win-64/a-1-0.conda\n"
    assert spec_of(tmp_path, text)[0].exported_from == "win-64"


def test_no_packages(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"list\.txt:1: list\.txt lists no packages"):
        spec_of(tmp_path, "# packages in environment at /home/ada/envs/x:\n#\n# Name Version Build Channel\n")
    with pytest.raises(SourceError, match="lists no packages"):
        spec_of(tmp_path, "@EXPLICIT\n")


def test_what_makes_no_list_is_refused_at_once(tmp_path: Path) -> None:
    text = "<<<<<<< HEAD\na=1=0\n=======\na=2=0\n>>>>>>> work\nb=1=0\nb=1=0\n"
    with pytest.raises(SourceError) as caught:
        spec_of(tmp_path, text)
    assert [p.where and p.where.line for p in caught.value.problems] == [1, 3, 5, 4]
    assert caught.value.problems[-1].why == "as 1 0 and as 2 0"


def test_hostile_rows(tmp_path: Path) -> None:
    text = "good=1=0\nx;reboot=1=0\n../x=1=0\na=$(id)=0\nb=1=0]\nc=1=pypi_0\nd=one/two=pypi_0\n"
    spec, findings = spec_of(tmp_path, text)
    assert (conda(spec), pip(spec)) == (["good ==1 0"], ["c==1"])
    assert lines(findings, Action.NEEDS_YOU) == [2, 3, 4, 5, 7]


def test_what_pip_installed_for_another_system_alone(tmp_path: Path) -> None:
    text = f"{EXPORT}tensorflow-macos=2.12.0=pypi_0\n"
    spec, findings = spec_of(tmp_path, text)
    assert [line.text for line in spec.pip] == ["rich==13.9.4"]
    (found,) = (f for f in findings if "tensorflow" in f.subject)
    assert (found.action, found.reason) == (Action.DROPPED, "it exists for macOS alone")
    assert found.remedy == "Ask for tensorflow, if that is meant."
