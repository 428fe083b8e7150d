"""Locks of real packages: a channel's real repodata, sharded too, the real PyPI, and other tools' readers."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file

from envpack import lockfile, locking, sources
from envpack.config import Config
from envpack.image import Digest, parse_reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin, BuildPins, Lockfile, PlatformPin
from tests.conftest import Served
from tests.standins import server

FILE = """\
name: small
channels: [conda-forge]
dependencies:
  - python=3.11
  - click
  - pip:
      - rich>=13
      - humanize
      - click
"""
BOTH = ("linux-64", "linux-aarch64")
BASE = BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "a" * 64), "2.31")
CHANNEL = "https://conda.anaconda.org/conda-forge"

READ_BY_RATTLER = """\
import json, os, sys, rattler
lock = rattler.LockFile.from_path(sys.argv[1])
(_, environment), = lock.environments()
found = {p.name: sorted(k.location for k in environment.packages(p)) for p in environment.platforms()}
print(json.dumps(found), flush=True)
os._exit(0)  # rattler's threads may bring the interpreter down on its way out
"""


@pytest.fixture
def mirrored(channel: Served, tmp_path: Path) -> Config:
    """conda-forge from the stand-in."""
    return Config(tmp_path / "cache", mirrors={CHANNEL: (channel.url,)})


def make(project: Path, config: Config, platforms: tuple[str, ...]) -> tuple[Path, Lockfile]:
    project.mkdir(exist_ok=True)
    (project / "environment.yml").write_text(FILE, "utf-8")
    spec = sources.read(None, directory=project, ledger=Ledger())
    solution = locking.solve(spec, platforms=platforms, glibc="2.36", config=config, ledger=Ledger())
    pins = {p: PlatformPin(BASE, solution.requested[p]) for p in platforms}
    path = project / "lockfiles" / "small.conda-lock.yml"
    locking.write(solution, BuildPins("small", "/opt/env", solution.epoch, pins), path)
    return path, lockfile.read(path)


def test_real_wheels_beside_conda_packages(mirrored: Config, tmp_path: Path) -> None:
    path, lock = make(tmp_path / "a", mirrored, BOTH)
    for platform in BOTH:
        pip = {p.name: p for p in lock.for_platform(platform) if p.manager == "pip"}
        assert {"rich", "humanize", "markdown-it-py", "mdurl", "pygments"} == set(pip)
        assert all(p.url.endswith("-py3-none-any.whl") for p in pip.values())
    assert lock.pins is not None
    assert lock.pins.platforms["linux-64"].requested == (
        "conda:click",
        "conda:python",
        "pip:humanize",
        "pip:rich",
    )
    again = dataclasses.replace(mirrored, cache=tmp_path / "another-cache")
    assert make(tmp_path / "b", again, BOTH)[0].read_bytes() == path.read_bytes()


def test_other_tools_read_the_same_packages(mirrored: Config, tmp_path: Path) -> None:
    path, lock = make(tmp_path, mirrored, BOTH)
    locations = {s: sorted(p.url for p in lock.for_platform(s)) for s in BOTH}
    theirs = parse_conda_lock_file(path)
    assert {s: sorted(p.url for p in theirs.package if p.platform == s) for s in BOTH} == locations
    done = subprocess.run(
        [sys.executable, "-c", READ_BY_RATTLER, str(path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == locations


def test_a_sharded_channel_is_read_by_shards(channel: Served, tmp_path: Path) -> None:
    """CEP 16, which conda-forge serves: an index of names, then one small file a package."""
    copy = tmp_path / "sharded"
    for archive in channel.path.rglob("*.conda"):
        target = copy / archive.relative_to(channel.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, target)
    index = "import asyncio, os, sys; from rattler.index import index_fs; from pathlib import Path\n"
    index += "asyncio.run(index_fs(Path(sys.argv[1]), write_shards=True)); os._exit(0)"
    subprocess.run([sys.executable, "-c", index, str(copy)], check=True)
    for other in copy.rglob("repodata.json*"):
        other.unlink()
    with server.serving(copy) as url:
        config = Config(tmp_path / "cache")
        spec = dataclasses.replace(
            sources.read("-", directory=tmp_path, stdin=FILE.encode(), ledger=Ledger()),
            channels=(url,),
            pip=(),
        )
        solution = locking.solve(spec, platforms=["linux-64"], glibc="2.36", config=config, ledger=Ledger())
    assert {"python", "click"} <= {p.name for p in solution.packages}
    assert all(p.url.startswith(url) for p in solution.packages)
