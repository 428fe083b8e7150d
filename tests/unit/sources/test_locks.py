"""Locks of other tools as sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.ledger import Action, Finding, Ledger
from envpack.sources import read
from envpack.spec import EnvSpec

FORGE = "https://conda.anaconda.org/conda-forge"
WHEEL = "https://files.example/rich-13.9.4-py3-none-any.whl"


def package(
    name: str, url: str, *, platform: str = "linux-64", manager: str = "conda", category: str = "main"
) -> str:
    return (
        f"- name: {name}\n  version: '1'\n  manager: {manager}\n  platform: {platform}\n  url: {url}\n"
        f"  dependencies: {{}}\n  hash: {{md5: '00'}}\n  category: {category}\n  optional: false\n"
    )


def conda_lock(*packages: str, channels: Sequence[str] = ("conda-forge",), custom: str = "") -> str:
    urls = "".join(f"  - {{url: {channel}, used_env_vars: []}}\n" for channel in channels)
    return f"version: 1\nmetadata:\n  channels:\n{urls}{custom}package:\n{''.join(packages)}"


def spec_of(
    tmp_path: Path, text: str, file: str = "conda-lock.yml", platforms: Sequence[str] = ()
) -> tuple[EnvSpec, list[Finding]]:
    (tmp_path / file).write_text(text)
    ledger = Ledger()
    return read(file, directory=tmp_path, platforms=platforms, ledger=ledger), list(ledger)


def conda(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.conda]


def said(findings: list[Finding], action: Action) -> list[str]:
    return [finding.subject for finding in findings if finding.action is action]


LOCK = conda_lock(
    package("xz", f"{FORGE}/osx-arm64/xz-1-0.conda", platform="osx-arm64"),
    package("xz", f"{FORGE}/linux-64/xz-1-1.conda"),
    package("xz", f"{FORGE}/linux-aarch64/xz-1-2.conda", platform="linux-aarch64"),
    package("pytest", f"{FORGE}/noarch/pytest-1-0.conda", category="dev"),
    package("sphinx", f"{FORGE}/noarch/sphinx-1-0.conda", category="docs"),
    package("rich", WHEEL, manager="pip"),
    package("own", "git+https://host.example/own@abc", manager="pip"),
    channels=("bioconda", "conda-forge", "defaults"),
)


def test_a_conda_lock(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, LOCK)
    assert conda(spec) == ["conda-forge::xz ==1 1", "conda-forge::pytest ==1 0"]
    assert [r.text for r in spec.pip] == ["rich==1"]
    assert spec.channels == ("bioconda", "conda-forge"), "in their order"
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, "linux-64", ("linux-64",))
    assert said(findings, Action.DROPPED) == [
        "1 packages for osx-arm64",
        "1 packages for linux-aarch64",
        "sphinx 1",
    ]
    assert said(findings, Action.NEEDS_YOU) == ["git+https://host.example/own@abc"]
    assert all(f.where and f.where.line for f in findings if f.action is not Action.GUESSED)


def test_the_platform_that_is_wanted(tmp_path: Path) -> None:
    spec, _ = spec_of(tmp_path, LOCK, platforms=["linux-aarch64"])
    assert (conda(spec), spec.platforms) == (["conda-forge::xz ==1 2"], ("linux-aarch64",))


def test_a_lock_of_another_system_alone(tmp_path: Path) -> None:
    spec, _ = spec_of(tmp_path, conda_lock(package("xz", f"{FORGE}/win-64/xz-1-0.conda", platform="win-64")))
    assert (conda(spec), spec.exported_from, spec.platforms) == (["xz ==1 0"], "win-64", ())


def test_envpacks_own_lock(tmp_path: Path) -> None:
    custom = "  custom_metadata:\n    envpack.name: work\n    envpack.variable.A: b c\n"
    spec, _ = spec_of(tmp_path, conda_lock(package("xz", f"{FORGE}/linux-64/xz-1-0.conda"), custom=custom))
    assert (spec.name, spec.variables) == ("work", {"A": "b c"})


def test_another_version_of_a_format(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"conda-lock\.yml:1:10: .*version 2 of conda-lock's format"):
        spec_of(tmp_path, LOCK.replace("version: 1", "version: 2", 1))
    with pytest.raises(SourceError, match="version 1 of pixi's format"):
        spec_of(tmp_path, "version: 1\nenvironments: {}\n", "pixi.lock")


def test_a_lock_without_packages(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="lists no packages"):
        spec_of(tmp_path, conda_lock())


PIXI = f"""\
version: VERSION
environments:
  default:
    channels:
    - url: {FORGE}/
    - url: https://conda.anaconda.org/bioconda/
    indexes:
    - https://index.example/simple
    packages:
      osx-arm64:
      - conda: {FORGE}/osx-arm64/xz-5.2.6-h0_0.conda
      linux-64:
      - conda: {FORGE}/linux-64/xz-5.2.6-h166bdaf_0.tar.bz2
      - conda: .
      - pypi: {WHEEL}
      - pypi: https://files.example/odd.zip
      - pypi: ./own
  test:
    channels:
    - url: {FORGE}/
    packages:
      linux-64:
      - conda: {FORGE}/noarch/pytest-8.0-0.conda
packages:
"""
DETAILS = {
    "5": "- kind: pypi\n  name: odd\n  version: 2.0\n  url: https://files.example/odd.zip\n",
    "6": "- pypi: https://files.example/odd.zip\n  name: odd\n  version: '2.0'\n",
}


@pytest.mark.parametrize(
    ("version", "details"), [("4", DETAILS["5"]), ("5", DETAILS["5"]), ("6", DETAILS["6"])]
)
def test_a_pixi_lock(tmp_path: Path, version: str, details: str) -> None:
    spec, findings = spec_of(tmp_path, PIXI.replace("VERSION", version) + details, "pixi.lock")
    assert conda(spec) == ["conda-forge::xz ==5.2.6 h166bdaf_0"]
    assert [r.text for r in spec.pip] == ["rich==13.9.4", "odd==2.0"]
    assert spec.channels == ("conda-forge", "bioconda")
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, "linux-64", ("linux-64",))
    assert said(findings, Action.DROPPED) == ["environment test", "1 packages for osx-arm64"]
    assert said(findings, Action.NEEDS_YOU) == [".", "./own"]


def test_a_folder_in_a_pixi_lock(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pyproject.toml").touch()
    details = f"{DETAILS['6']}- pypi: ./own\n  name: Own.Name\n"
    spec, findings = spec_of(tmp_path, PIXI.replace("VERSION", "6") + details, "pixi.lock")
    assert [(p.text, p.path, p.name) for p in spec.local] == [("./own", tmp_path / "own", "own-name")]
    assert said(findings, Action.NEEDS_YOU) == ["."]


def test_a_pixi_lock_without_the_default_environment(tmp_path: Path) -> None:
    text = PIXI.replace("VERSION", "6").replace("  default:", "  gpu:")
    spec, findings = spec_of(tmp_path, text, "pixi.lock")
    assert spec.name == "gpu"
    assert said(findings, Action.GUESSED) == ["environment gpu"]


@pytest.mark.parametrize(
    "text", ["version: 6\nenvironments: 3\n", "version: 6\nenvironments:\n  default: [1]\n"]
)
def test_a_lock_of_another_shape(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="lists no packages"):
        spec_of(tmp_path, text, "pixi.lock")
