"""Projects whose recipes are built by real Docker and real Apptainer, from the written files alone.

All that the recipes name is served on 127.0.0.1: channel, index and registry hold stand-ins, and so does the
pinned installer (``tests/standins/miniforge.py``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.lockfile import Lockfile
from tests.conftest import Served
from tests.engines.docker import Docker
from tests.standins import base, debian_root, index, miniforge, server
from tests.standins import registry as docker_registry

# What every distribution's image has, and something to download with, as Rocky Linux has.
BASE_PACKAGES = ("curl", "gzip", "tar")
FAMILIES = {"any-base": "library/ubuntu:20.04", "miniforge3": "condaforge/miniforge3:latest"}
CONTENTS = {
    "conda": "[python, pyyaml, six, activate_demo, postlink_demo]",
    "conda-pip": "[python, pip, pyyaml, activate_demo, {pip: [click, markupsafe, tabulate]}]",
    "pip": "[python, {pip: [click, python-dateutil, ./own]}]",
}
# A package that no index has, with a build backend of its own: nothing is fetched to build it.
OWN = {
    "pyproject.toml": """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "own"
version = "1.0"
""",
    "backend.py": """\
import base64, hashlib, pathlib, zipfile

def digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")

def build_wheel(folder, config_settings=None, metadata_directory=None):
    about = "own-1.0.dist-info"
    files = {
        "own.py": "",
        f"{about}/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\nRequires-Dist: six\\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{name},sha256={digest(text)},{len(text)}\\n" for name, text in files.items())
    files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\\n"
    with zipfile.ZipFile(pathlib.Path(folder, "own-1.0-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return "own-1.0-py3-none-any.whl"
""",
}
# Every character that means something to a shell, to Docker or to Apptainer.
HOSTILE = {
    "HOSTILE_LINES": "a\n%post\n    touch /pwned\nBootstrap: docker\nRUN touch /pwned\n",
    "HOSTILE_QUOTES": 'it\'s "quoted" `touch /pwned` $(touch /pwned) ${HOME} $HOME',
    "HOSTILE_MARKS": "back\\slash \\\\ # % {{ HOME }} ; & | > * ? ~ !",
    "HOSTILE_TEXT": "Zürich 東京 \N{SNOWMAN}",
}


@dataclass(frozen=True)
class Project:
    """A folder with a lock and the recipes of it."""

    folder: Path
    lock: Lockfile

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def recipes(self) -> Path:
        return self.folder / "recipes" / self.name

    def versions(self) -> dict[str, dict[str, str]]:
        """Manager to locked name to version."""
        return {
            manager: {p.name: p.version for p in self.lock.packages if p.manager == manager}
            for manager in ("conda", "pip")
        }


@pytest.fixture(scope="session")
def plain_registry() -> Iterator[Served]:
    """A registry with a base image of every family."""
    layout = base.image(BASE_PACKAGES)
    with docker_registry.serving() as url:
        docker_registry.push(url, "library/ubuntu", "20.04", layout)
        docker_registry.push(url, "condaforge/miniforge3", "latest", miniforge.image(layout))
        yield Served(url, layout)


@pytest.fixture(scope="session")
def apt_base(plain_registry: Served) -> str:
    """The reference of a base image in which ``apt-get`` installs Debian's packages."""
    docker_registry.push(plain_registry.url, "library/debian", "12", debian_root.image())
    return f"{plain_registry.url.partition('//')[2]}/library/debian:12"


@pytest.fixture(scope="session")
def work() -> Iterator[Path]:
    """A folder in /tmp, which the unprivileged user sees and may write to."""
    with tempfile.TemporaryDirectory(prefix="envpack-recipes-", dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture(scope="session")
def settings(work: Path, plain_registry: Served) -> Iterator[dict[str, str]]:
    """The variables by which envpack, uv and the recipes meet stand-ins."""
    installer = miniforge.installer()
    runtime = docker_registry.push(plain_registry.url, "library/ubuntu", "24.04", plain_registry.path)
    with server.serving(installer.parent) as installers, server.serving(index.index()) as wheels:
        (work / "pins.toml").write_text(
            f'[miniforge]\nversion = "0-stand-in"\nurl = "{installers}/miniforge.sh"\n'
            f'[miniforge.sha256]\nlinux-64 = "{hashlib.sha256(installer.read_bytes()).hexdigest()}"\n'
            f'[runtime]\nreference = "{plain_registry.url.partition("//")[2]}/library/ubuntu:24.04"\n'
            f'digest = "{runtime}"\n'
        )
        (work / "config.toml").write_text(
            f'cache = "{work}/cache"\npins = "{work}/pins.toml"\n[docker]\nnetwork = "host"\n'
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        yield {
            **kept,
            "ENVPACK_CONFIG": str(work / "config.toml"),
            "UV_CACHE_DIR": str(work / "uv"),
            "UV_DEFAULT_INDEX": f"{wheels}/simple",
            "UV_NO_CONFIG": "1",
        }


@pytest.fixture(scope="session")
def project(
    work: Path, settings: dict[str, str], plain_registry: Served, channel: Served
) -> Callable[[str, str], Project]:
    """A function that locks and writes recipes for a family and a content, once each."""
    made: dict[str, Project] = {}

    def make(family: str, content: str) -> Project:
        name = f"{family}-{content}"
        if name not in made:
            folder = work / name
            folder.mkdir()
            (folder / "own").mkdir()
            for filename, text in OWN.items():
                (folder / "own" / filename).write_text(text)
            variables = "".join(f"  {key}: {_yaml(value)}\n" for key, value in HOSTILE.items())
            (folder / "environment.yml").write_text(
                f"name: {name}\nchannels: ['{channel.url}']\ndependencies: {CONTENTS[content]}\n"
                f"variables:\n{variables}",
                "utf-8",
            )
            image = f"{plain_registry.url.partition('//')[2]}/{FAMILIES[family]}"
            for arguments in (["lock", "--base", image], ["recipe"]):
                done = subprocess.run(
                    [sys.executable, "-m", "envpack", *arguments],
                    cwd=folder, env=settings, capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
            made[name] = Project(folder, lockfile.read(folder / "lockfiles" / f"{name}.conda-lock.yml"))
        return made[name]

    return make


def _yaml(text: str) -> str:
    import json

    return json.dumps(text)


@pytest.fixture(scope="session")
def docker_image(
    work: Path, docker: Docker, project: Callable[[str, str], Project]
) -> Callable[[str, str, str], str]:
    """A function that builds a project's image with a builder of Docker, once each; gives its name."""
    made: dict[tuple[str, str, str], str] = {}

    def build(family: str, content: str, builder: str) -> str:
        key = (family, content, builder)
        if key not in made:
            recipes = alone(project(family, content).recipes, work / f"docker-{'-'.join(key)}")
            tag = "-".join(key)
            buildkit = builder == "buildkit"
            docker("build", "--no-cache", "--network", "host", "-t", tag, recipes, buildkit=buildkit)
            made[key] = tag
        return made[key]

    return build


@pytest.fixture(scope="session")
def apptainer_image(
    work: Path, apptainer: list[str], project: Callable[[str, str], Project]
) -> Callable[[str, str], Path]:
    """A function that builds a project's image with Apptainer, once each."""
    made: dict[tuple[str, str], Path] = {}

    def build(family: str, content: str) -> Path:
        key = (family, content)
        if key not in made:
            folder = alone(project(*key).recipes, work / f"apptainer-{'-'.join(key)}")
            made[key] = apptainer_build(apptainer, folder)
        return made[key]

    return build


def alone(recipes: Path, folder: Path) -> Path:
    """A copy of the written files where there is nothing else."""
    shutil.copytree(recipes, folder)
    folder.chmod(0o777)
    return folder


def apptainer_build(apptainer: list[str], folder: Path) -> Path:
    """Build in ``folder``, as the definition file says."""
    command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder)]
    command += [apptainer[-1], "build", "--no-https", "image.sif", "Apptainer.def"]
    done = subprocess.run(
        [*apptainer[:-1], *command], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder / "image.sif"
