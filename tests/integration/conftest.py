"""Projects that are locked once and copied for every test that builds them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.integration.commands import envpack
from tests.standins.settings import config_toml

# Three packages without python: built in a second. One of them has files that the other replaces.
PLAIN = "name: plain\nchannels: [conda-forge]\ndependencies: [clobber_a, clobber_b, legacy_demo]\n"
# Python with all that it needs, and bytecode to compile.
PYTHON = "name: python\nchannels: [conda-forge]\ndependencies: [six, hello_prefix]\n"


@dataclass(frozen=True)
class Project:
    """A folder with an environment.yml and its lock, and the cache and configuration to build it with."""

    name: str
    folder: Path
    cache: Path
    config: Path

    @property
    def lock(self) -> Path:
        return self.folder / "lockfiles" / f"{self.name}.conda-lock.yml"

    @property
    def image(self) -> Path:
        return self.folder / "images" / f"{self.name}.sif"


@dataclass(frozen=True)
class Prepared:
    """A locked project, to be copied, and the image that it gives."""

    name: str
    folder: Path
    sha256: str
    channel: str
    registry: str

    def copied(self, target: Path, *, built: bool = False, channel: str = "", registry: str = "") -> Project:
        """A copy in ``target``; if ``built``, with all that a build caches. Servers may be replaced."""
        project = Project(self.name, target / "project", target / "cache", target / "config.toml")
        shutil.copytree(self.folder / "project", project.folder)
        if built:
            shutil.copytree(self.folder / "cache", project.cache)
        project.config.write_text(
            config_toml(project.cache, channel or self.channel, registry or self.registry), "utf-8"
        )
        return project


def _prepared(name: str, source: str, folder: Path, channel: Served, registry: Served) -> Prepared:
    import hashlib

    project = folder / "project"
    project.mkdir()
    (project / "environment.yml").write_text(source, "utf-8")
    config = folder / "config.toml"
    config.write_text(config_toml(folder / "cache", channel.url, registry.url), "utf-8")
    envpack("lock", config=config, cwd=project)
    image = folder / "image.sif"
    envpack("build", "-o", str(image), config=config, cwd=project)
    shutil.rmtree(project / "recipes")
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    return Prepared(name, folder, digest, channel.url, registry.url)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Prepared:
    """A locked project without python."""
    return _prepared("plain", PLAIN, tmp_path_factory.mktemp("plain"), channel, registry)


@pytest.fixture(scope="session")
def with_python(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Prepared:
    """A locked project with python."""
    return _prepared("python", PYTHON, tmp_path_factory.mktemp("python"), channel, registry)
