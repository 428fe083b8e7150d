"""Environments of this machine by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.ledger import Ledger
from envpack.sources import from_env


def make(prefix: Path) -> Path:
    """A conda environment with one package, called as its folder."""
    (prefix / "conda-meta").mkdir(parents=True)
    record = {"name": "a", "version": "1", "build": "0", "subdir": "linux-64", "channel": "conda-forge"}
    (prefix / "conda-meta" / "a-1-0.json").write_text(json.dumps(record))
    return prefix


def found(name: str, tmp_path: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """The environment's name and the record that was read, relative to ``tmp_path``."""
    spec = from_env(name, directory=tmp_path, environ=environ, ledger=Ledger())
    return spec.name, str(spec.conda[0].where)


def test_places(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".conda").mkdir(parents=True)
    (home / ".condarc").write_text("envs_dirs:\n  - ~/scratch/envs\n  - $WORK/envs\n  - relative\n")
    listed = make(tmp_path / "far" / "listed")
    (home / ".conda" / "environments.txt").write_text(f"/nowhere/listed\n{listed}\n")
    make(tmp_path / "conda")
    for place in ("conda/envs/active", "conda/envs/other", "home/miniforge3/envs/usual", "mamba/envs/mamba",
                  "home/scratch/envs/tilde", "work/envs/variable", "dirs/dirs"):  # fmt: skip
        make(tmp_path / place)
    environ = {
        "HOME": str(home),
        "CONDA_PREFIX": str(tmp_path / "conda" / "envs" / "active"),
        "MAMBA_ROOT_PREFIX": str(tmp_path / "mamba"),
        "CONDA_ENVS_DIRS": str(tmp_path / "dirs"),
        "WORK": str(tmp_path / "work"),
    }
    for name, place in {
        "active": "conda/envs/active", "other": "conda/envs/other", "base": "conda",
        "mamba": "mamba/envs/mamba", "usual": "home/miniforge3/envs/usual",
        "tilde": "home/scratch/envs/tilde",
        "listed": "far/listed", "variable": "work/envs/variable", "dirs": "dirs/dirs",
    }.items():  # fmt: skip
        assert found(name, tmp_path, environ) == (name, f"{place}/conda-meta/a-1-0.json")


def test_a_path(tmp_path: Path) -> None:
    make(tmp_path / "x" / "env")
    assert found("x/env", tmp_path, {})[0] == "env"
    assert found(str(tmp_path / "x" / "env"), tmp_path, {})[0] == "env"
    assert found("~/env", tmp_path, {"HOME": str(tmp_path / "x")})[0] == "env"
    assert found("env", tmp_path / "x", {})[0] == "env"
    with pytest.raises(SourceError, match="there is no environment in x/y"):
        found("x/y", tmp_path, {})


def test_all_places_are_said(tmp_path: Path) -> None:
    (tmp_path / ".condarc").write_text("envs_dirs: [unclosed\n")
    with pytest.raises(SourceError, match="there is no environment 'work'") as caught:
        found("work", tmp_path, {"HOME": str(tmp_path), "MAMBA_ROOT_PREFIX": "/mamba"})
    why = caught.value.why or ""
    for place in (tmp_path / "miniforge3/envs/work", tmp_path / ".conda/envs/work", "/mamba/envs/work"):
        assert str(place) in why
    with pytest.raises(SourceError) as caught:
        found("base", tmp_path, {"HOME": str(tmp_path)})
    assert f"{tmp_path}/miniforge3, " in (caught.value.why or "")
