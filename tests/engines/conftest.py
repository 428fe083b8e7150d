"""Fixtures for tests with real engines: the data stack, locked and built by the two commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.lockfile import Lockfile
from tests.conftest import Served
from tests.engines.docker import Docker, daemon
from tests.standins.settings import config_toml

ENVIRONMENT = """\
name: data-stack
channels: [conda-forge]
dependencies: [python, numpy, scipy, pandas, matplotlib, ipython, pip: [humanize, rich]]
"""


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A Docker daemon of the tests' own."""
    with daemon() as running:
        yield running


@pytest.fixture(scope="session")
def project(data_channel: Served, registry: Served) -> Iterator[Path]:
    """A folder in which the two commands were typed; in /tmp, which the unprivileged user sees too."""
    folder = Path(tempfile.mkdtemp(prefix="envpack-image-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        (folder / "environment.yml").write_text(ENVIRONMENT)
        settings = folder / "config.toml"
        settings.write_text(config_toml(folder / "cache", data_channel.url, registry.url))
        for command in ("lock", "build"):
            done = subprocess.run(
                [sys.executable, "-m", "envpack", command],
                cwd=folder, env={**os.environ, "ENVPACK_CONFIG": str(settings)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def image(project: Path) -> Path:
    return project / "images" / "data-stack.sif"


@pytest.fixture(scope="session")
def lock(project: Path) -> Lockfile:
    return lockfile.read(project / "lockfiles" / "data-stack.conda-lock.yml")


@pytest.fixture(scope="session")
def versions(lock: Lockfile) -> dict[str, str]:
    """Locked name to version."""
    return {p.name: p.version for p in lock.packages}
