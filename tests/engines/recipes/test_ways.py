"""The four ways that computing centres teach, with the commands of ``docs/hpc.md``.

Where the tests run as root and Apptainer as somebody else, the program on PATH leads from one to the other
(``test_apptainer_engine.py``), and folders are made so that the other one can write to them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from envpack import lockfile
from tests.conftest import Served
from tests.engines.docker import PATH, Docker
from tests.engines.recipes.test_apptainer_engine import OTHER_USER

pytestmark = pytest.mark.engines

INSTALLED = """
import importlib.metadata, json, os, sys
print(json.dumps({
    "python": sys.version.split()[0],
    "prefix": sys.prefix,
    "conda": os.environ.get("CONDA_PREFIX"),
    "distributions": {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()},
    "conda is there": os.path.exists("/opt/conda"),
}))
"""


@pytest.fixture(scope="session")
def runtime(apptainer: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """PATH with an ``apptainer``, and Debian's ``docker``, which has BuildKit, before others."""
    if apptainer[0] != "hpc":
        return PATH
    folder = tmp_path_factory.mktemp("bin")
    (folder / "apptainer").write_text(OTHER_USER)
    (folder / "apptainer").chmod(0o755)
    return f"{folder}:{PATH}"


class Typed:
    """A folder of a user, in which commands are typed."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __call__(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "envpack"] if command[0] == "envpack" else command[:1]
        done = subprocess.run(
            [*program, *command[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False, umask=0, timeout=900,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def python(self, image: str) -> dict[str, object]:
        """What is in an image, as python in it says."""
        found: dict[str, object] = json.loads(self("apptainer", "run", image, "-c", INSTALLED).stdout)
        return found


@pytest.fixture
def typed(
    work: Path, settings: dict[str, str], runtime: str, docker: Docker, request: pytest.FixtureRequest
) -> Typed:
    folder = work / re.sub(r"[^a-z0-9_]+", "-", request.node.name)
    folder.mkdir()
    folder.chmod(0o777)
    return Typed(folder, {**settings, "PATH": runtime, "DOCKER_HOST": docker.host})


def locked(folder: Path, name: str) -> dict[str, str]:
    lock = lockfile.read(folder / "lockfiles" / f"{name}.conda-lock.yml")
    return {p.name: p.version for p in lock.packages}


def environment_yml(folder: Path, name: str, channel: Served, dependencies: str) -> None:
    (folder / "environment.yml").write_text(
        f"name: {name}\nchannels: ['{channel.url}']\ndependencies: {dependencies}\n"
    )


@pytest.mark.parametrize("engine", ["native", "apptainer"])
def test_a_sandbox(engine: str, typed: Typed, plain_registry: Served, channel: Served) -> None:
    environment_yml(typed.folder, "tried", channel, "[python, pip, six]")
    base = f"{plain_registry.url.partition('//')[2]}/library/ubuntu:20.04"
    typed("envpack", "lock", "--base", base)
    built = typed("envpack", "build", "--sandbox", "--engine", engine)
    assert "apptainer shell --writable images/tried.sandbox" in built.stdout
    # What may hold somebody's work is never written over.
    again = typed("envpack", "build", "--sandbox", "--engine", engine, check=False)
    assert (again.returncode, "may hold somebody's work" in again.stderr) == (9, True)
    typed(
        "apptainer", "exec", "--writable", "images/tried.sandbox",
        "python", "-m", "pip", "install", "--no-cache-dir", "--index-url",
        typed.environment["UV_DEFAULT_INDEX"], "click",
    )  # fmt: skip
    typed("envpack", "lock", "images/tried.sandbox", "--name", "tried", "--base", base)
    typed("envpack", "build")
    found = typed.python("images/tried.sif")
    names = found["distributions"]
    assert isinstance(names, dict)
    assert {"click", "six", "pip"} <= set(names)
    versions = locked(typed.folder, "tried")
    assert {name: versions[name] for name in names} == names
    assert found["prefix"] == found["conda"] == "/opt/env"


@pytest.mark.parametrize("engine", ["apptainer", "docker"])
def test_b_the_distribution_s_python(engine: str, typed: Typed, apt_base: str) -> None:
    (typed.folder / "requirements.txt").write_text("click\npython-dateutil\n")
    said = typed(
        "envpack", "lock", "requirements.txt", "--python", "system", "--base", apt_base, "--name", "plain"
    ).stdout
    assert "its own python is 3.11" in said
    failed = typed("envpack", "build", check=False)
    assert (failed.returncode, "--engine docker or --engine apptainer" in failed.stderr) == (9, True)
    typed("envpack", "build", "--engine", engine, "--format", "sif")
    found = typed.python("images/plain.sif")
    assert str(found["python"]).startswith("3.11.")
    assert found["distributions"] == locked(typed.folder, "plain")
    assert (found["prefix"], found["conda"], found["conda is there"]) == ("/opt/env", None, False)


@pytest.mark.parametrize("engine", ["apptainer", "docker"])
@pytest.mark.parametrize("base", ["library/ubuntu:20.04", "condaforge/miniforge3:latest"])
def test_c_and_d_conda(base: str, engine: str, typed: Typed, plain_registry: Served, channel: Served) -> None:
    environment_yml(typed.folder, "conda", channel, "[python, postlink_demo, {pip: [click]}]")
    typed("envpack", "lock", "--base", f"{plain_registry.url.partition('//')[2]}/{base}")
    built = json.loads(typed("envpack", "build", "--engine", engine, "--format", "sif", "--json").stdout)
    assert built["image"] == "images/conda.sif"
    assert len(built["sha256"]) == 64
    found = typed.python("images/conda.sif")
    versions = locked(typed.folder, "conda")
    names = found["distributions"]
    assert isinstance(names, dict)
    assert {"click", "pip"} <= set(names)
    assert {name: versions[name] for name in names} == names
    assert (found["prefix"], found["conda"], found["conda is there"]) == ("/opt/env", "/opt/env", False)
    ran = typed("apptainer", "exec", "images/conda.sif", "cat", "/opt/env/var/postlink_demo/ran").stdout
    assert ran.startswith("name=postlink_demo version=1.0")


def test_what_is_built_says_how(typed: Typed, plain_registry: Served, channel: Served) -> None:
    """Docker, the image in the daemon alone and pushed; the rule that chose the recipe is stated."""
    environment_yml(typed.folder, "Said", channel, "[clobber_a]")
    host = plain_registry.url.partition("//")[2]
    typed("envpack", "lock", "--base", f"{host}/library/ubuntu:20.04")
    tag = f"{host}/group/said:1.0"
    built = typed("envpack", "build", "--engine", "docker", "--tag", tag, "--push")
    assert f"in Docker's daemon as {tag} (sha256:" in built.stdout
    assert "has no conda: Miniforge" in built.stdout
    assert "manifest sha256:" in built.stdout
    assert not (typed.folder / "images").exists()
    typed("envpack", "lock", "--base", f"{tag.rpartition(':')[0]}:1.0")  # it can be pulled
    (typed.folder / "recipes" / "Said" / "x").touch()
    lock = typed.folder / "lockfiles" / "Said.conda-lock.yml"
    lock.write_text(lock.read_text().replace("clobber_a-1.0-0.conda", "gone-1.0-0.conda"))
    failed = typed("envpack", "build", "--engine", "docker", check=False)
    assert failed.returncode in (5, 9), failed.stderr
    assert "recipes/Said/Dockerfile:" in failed.stderr
    assert "Traceback" not in failed.stderr.partition("error: ")[2].partition("why:")[0]
