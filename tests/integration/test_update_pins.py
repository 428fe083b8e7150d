"""Pins are data: looked up again from a release in GitHub's form and a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.config import Config
from envpack.errors import EnvpackError, IntegrityError
from envpack.recipes import pins
from tests.conftest import Served
from tests.standins import server
from tools import update_pins

MACHINES = {"x86_64": "1" * 64, "aarch64": "2" * 64, "ppc64le": "3" * 64}


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Served]:
    """A release with hashes beside its installers."""
    folder = tmp_path / "release"
    (folder / "99.1.0-0").mkdir(parents=True)
    (folder / "latest").write_text(json.dumps({"tag_name": "99.1.0-0"}))
    for machine, digits in MACHINES.items():
        name = f"Miniforge3-99.1.0-0-Linux-{machine}.sh"
        (folder / "99.1.0-0" / f"{name}.sha256").write_text(f"{digits}  ./build/{name}\n")
    with server.serving(folder) as url:
        yield Served(url, folder)


def text(release: Served) -> str:
    """Our own pins, with the release in place of the real one."""
    real = update_pins.FILE.read_text("utf-8")
    return real.replace("https://github.com/conda-forge/miniforge/releases/download", release.url)


def test_all_of_it_is_looked_up(release: Served, config: Config, registry: Served, tmp_path: Path) -> None:
    found = update_pins.updated(text(release), config, f"{release.url}/latest")
    (tmp_path / "pins.toml").write_text(found)
    new = pins.load(tmp_path / "pins.toml")
    assert new.version == "99.1.0-0"
    assert list(new.sha256.values()) == list(MACHINES.values())
    index = json.loads((registry.path / "index.json").read_text())["manifests"][0]
    assert str(new.runtime.digest) == index["digest"]
    assert found.count("\n#") == text(release).count("\n#")
    assert update_pins.updated(found, config, f"{release.url}/latest") == found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latest", '{"tag_name": "1; id"}'),
        ("99.1.0-0/Miniforge3-99.1.0-0-Linux-aarch64.sh.sha256", "not found\n"),
        ("99.1.0-0/Miniforge3-99.1.0-0-Linux-aarch64.sh.sha256", ""),
    ],
)
def test_what_makes_no_sense_is_refused(release: Served, config: Config, name: str, content: str) -> None:
    (release.path / name).write_text(content)
    with pytest.raises(IntegrityError):
        update_pins.updated(text(release), config, f"{release.url}/latest")


def test_an_absent_hash_is_an_error(release: Served, config: Config) -> None:
    (release.path / "99.1.0-0" / "Miniforge3-99.1.0-0-Linux-ppc64le.sh.sha256").unlink()
    with pytest.raises(EnvpackError):
        update_pins.updated(text(release), config, f"{release.url}/latest")
