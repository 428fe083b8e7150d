"""Fixtures for all tests: stand-ins for channels and registries, on 127.0.0.1 for the whole session.

A stand-in that cannot be built is an error with the reason, never a skip.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envpack.config import Config, load
from tests.standins import base, server
from tests.standins import registry as docker_registry
from tests.standins.channel import channel as built_channel
from tests.standins.settings import config_toml, hub_images, without_proxy


@dataclass(frozen=True)
class Served:
    """A folder and the base URL it is served under."""

    url: str
    path: Path


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> Iterator[None]:
    """Test servers are asked directly, even where a proxy leads to the network."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in without_proxy(os.environ).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def channel() -> Iterator[Served]:
    """A small conda channel: python, pip, a few small packages, and all of ``standins/awkward.py``."""
    path = built_channel("mini")
    with server.serving(path) as url:
        yield Served(url, path)


@pytest.fixture(scope="session")
def data_channel() -> Iterator[Served]:
    """A conda channel with the data stack too: numpy, scipy, pandas, matplotlib, IPython."""
    path = built_channel("data")
    with server.serving(path) as url:
        yield Served(url, path)


@pytest.fixture(scope="session")
def registry() -> Iterator[Served]:
    """A registry with the base image, an index of amd64 and arm64, under the names of the catalogue.

    ``path`` is the OCI layout that was pushed. Push more with ``tests.standins.registry.push``.
    """
    layout = base.image()
    with docker_registry.serving() as url:
        for repository, tag in hub_images():
            docker_registry.push(url, repository, tag, layout)
        yield Served(url, layout)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache folder (not yet made)."""
    return tmp_path / "cache"


@pytest.fixture
def config_file(tmp_path: Path, cache: Path, channel: Served, registry: Served) -> Path:
    """A ``config.toml`` (for ENVPACK_CONFIG) with stand-ins for conda-forge, defaults and Docker Hub."""
    path = tmp_path / "config.toml"
    path.write_text(config_toml(cache, channel.url, registry.url), "utf-8")
    return path


@pytest.fixture
def config(config_file: Path) -> Config:
    """The :class:`Config` that ``config_file`` describes, with an empty cache."""
    return load({"ENVPACK_CONFIG": str(config_file), "HOME": str(config_file.parent)})


@pytest.fixture
def data_config_file(tmp_path: Path, cache: Path, data_channel: Served, registry: Served) -> Path:
    """Like ``config_file``, with the data stack in the channel."""
    path = tmp_path / "data-config.toml"
    path.write_text(config_toml(cache, data_channel.url, registry.url), "utf-8")
    return path


@pytest.fixture
def data_config(data_config_file: Path) -> Config:
    """The :class:`Config` that ``data_config_file`` describes, with an empty cache."""
    return load({"ENVPACK_CONFIG": str(data_config_file), "HOME": str(data_config_file.parent)})


@pytest.fixture(scope="session")
def corpus() -> Path:
    """A collection of environment files from the field: ``$ENVPACK_CORPUS``, or one beside the checkout."""
    named = os.environ.get("ENVPACK_CORPUS")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "corpus"
    if not path.is_dir():
        pytest.skip(f"no collection of environment files in {path}: name one in ENVPACK_CORPUS")
    return path


@pytest.fixture(scope="session")
def apptainer() -> list[str]:
    """The command that is Apptainer: ``$ENVPACK_TEST_APPTAINER`` (words, as for a shell), else from PATH."""
    if command := os.environ.get("ENVPACK_TEST_APPTAINER"):
        return shlex.split(command)
    if not shutil.which("apptainer"):
        pytest.fail("there is no apptainer: run `nox -s engines`, or set ENVPACK_TEST_APPTAINER")
    return ["apptainer"]


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """An empty folder in /tmp that engines, which may run as another user, can read and write."""
    with tempfile.TemporaryDirectory(prefix="envpack-engines-", dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish() -> None:
    """Let the threads of py-rattler end: at interpreter exit they crash now and then."""
    time.sleep(0.05)
