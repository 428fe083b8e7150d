"""Images on the python of a distribution, built by real Docker and real Apptainer from the recipes alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envpack import lockfile
from tests.engines.docker import Docker
from tests.engines.recipes.conftest import Project, alone, apptainer_build
from tests.engines.recipes.test_activation import PRINT, started

pytestmark = pytest.mark.engines

NAME = "own-python"
# What python in the image finds, without and with the distribution's own packages.
PROGRAM = """
import click, dateutil, distutils, importlib.metadata, json, os, pathlib, shutil, ssl, subprocess, sys
LEFTOVERS = ("/opt/conda", "/opt/build", "/opt/env/conda-meta", "/root/.cache", "/root/.conda")
compiled = list(pathlib.Path(sys.prefix).rglob("*.pyc"))
print(json.dumps({
    "python": "%d.%d" % sys.version_info[:2],
    "prefix": [sys.prefix, sys.base_prefix],
    "executable": [sys.executable, os.path.realpath(sys.executable)],
    "packages": {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()},
    "outside": [m.__file__ for m in (click, dateutil) if not m.__file__.startswith(sys.prefix + "/lib/")],
    "pip": subprocess.run(["pip", "--version"], capture_output=True, text=True).stdout.split()[3:4],
    "leftovers": [path for path in LEFTOVERS if os.path.exists(path)],
    "lists": os.listdir("/var/lib/apt/lists"),
    "conda": shutil.which("conda"),
    "apt": shutil.which("figlet"),
    "certificates": ssl.create_default_context().cert_store_stats()["x509_ca"] > 100,
    "compiled": len(compiled) > 100,
    "stale": [str(p) for p in compiled if p.read_bytes()[4:8] != b"\\1\\0\\0\\0"],
}))
"""


def check(said: str, project: Project) -> None:
    """Compare what python said with the lock."""
    assert project.lock.pins is not None
    assert json.loads(said) == {
        "python": project.lock.pins.system_python,
        "prefix": ["/opt/env", "/usr"],
        "executable": ["/opt/env/bin/python", f"/usr/bin/python{project.lock.pins.system_python}"],
        "packages": project.versions()["pip"],
        "outside": [],
        "pip": ["/opt/env/lib/python3.11/site-packages/pip"],
        "leftovers": [],
        "lists": [],
        "conda": None,
        "apt": "/usr/bin/figlet",
        "certificates": True,
        "compiled": True,
        "stale": [],
    }


def check_variables(said: str) -> None:
    """Compare what python saw as its environment with what activation promises."""
    found = json.loads(said)
    assert found["VIRTUAL_ENV"] == "/opt/env"
    assert found["PYTHONNOUSERSITE"] == "1"
    assert found["GREETING"] == "it's"
    assert found["PATH"].split(":")[0] == "/opt/env/bin"
    assert found["PATH"].split(":").count("/opt/env/bin") == 1
    assert not found.get("PYTHONPATH")
    assert not [name for name in found if name.startswith("CONDA_")]


@pytest.fixture(scope="module")
def project(work: Path, settings: dict[str, str], apt_base: str) -> Project:
    """A locked list for pip, with its recipes; a channel is not there to be asked."""
    folder = work / NAME
    folder.mkdir()
    (folder / "requirements.txt").write_text("click\npython-dateutil\n")
    (folder / "envpack.toml").write_text('apt = ["figlet"]\n[environment]\nGREETING = "it\'s"\n')
    for arguments in (
        ["lock", "requirements.txt", "--python", "system", "--base", apt_base, "--name", NAME],
        ["recipe"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "envpack", *arguments],
            cwd=folder, env=settings, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return Project(folder, lockfile.read(folder / "lockfiles" / f"{NAME}.conda-lock.yml"))


@pytest.fixture(scope="module")
def docker_image(work: Path, docker: Docker, project: Project) -> Callable[[str], str]:
    """A function that builds the image with a builder of Docker, once each; gives its name."""
    made: dict[str, str] = {}

    def build(builder: str) -> str:
        if builder not in made:
            tag = f"{NAME}-{builder}"
            folder = alone(project.recipes, work / tag)
            docker("build", "--network", "host", "-t", tag, folder, buildkit=builder == "buildkit")
            made[builder] = tag
        return made[builder]

    return build


@pytest.fixture(scope="module")
def apptainer_image(work: Path, apptainer: list[str], project: Project) -> str:
    """The image that Apptainer builds."""
    return str(apptainer_build(apptainer, alone(project.recipes, work / f"{NAME}-apptainer")))


def test_the_lock_has_pip_and_what_was_asked_for(project: Project) -> None:
    assert project.versions()["conda"] == {}
    assert set(project.versions()["pip"]) == {"click", "pip", "python-dateutil", "six"}


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_docker(builder: str, docker: Docker, docker_image: Callable[[str], str], project: Project) -> None:
    run = ["run", "--rm", "--network", "none"]
    image = docker_image(builder)
    check(docker(*run, image, "python", "-W", "ignore", "-c", PROGRAM).stdout, project)
    check_variables(docker(*run, image, "-c", PRINT).stdout)
    check_variables(docker(*run, image, "sh", "-c", f"python -c '{PRINT}'").stdout)
    assert docker(*run, "--user", "1234", image, "-c", "import click; print(click.echo)").stdout


def test_docker_exec(docker: Docker, docker_image: Callable[[str], str]) -> None:
    image = docker_image("classic")
    container = docker("run", "-d", "--rm", "--network", "none", image, "sleep", "300").stdout.strip()
    try:
        check_variables(docker("exec", container, "python", "-c", PRINT).stdout)
    finally:
        docker("kill", container)


def test_apptainer(apptainer: list[str], apptainer_image: str, project: Project) -> None:
    command = [*apptainer, "exec", "--containall", apptainer_image, "python", "-W", "ignore", "-c", PROGRAM]
    check(started(command), project)
    assert f"{NAME} in /opt/env" in started([*apptainer, "inspect", "--helpfile", apptainer_image])
    assert "python 3.11" in started([*apptainer, "test", apptainer_image])


@pytest.mark.parametrize("options", [[], ["--cleanenv"], ["--containall"]], ids=" ".join)
@pytest.mark.parametrize("how", ["exec", "exec sh", "run", "shell"])
def test_variables_in_apptainer(
    how: str, options: list[str], apptainer: list[str], apptainer_image: str
) -> None:
    typed = f"python -c '{PRINT}'\n"
    verb, program = {
        "exec": ("exec", ["python", "-c", PRINT]),
        "exec sh": ("exec", ["sh", "-c", typed]),
        "run": ("run", ["-c", PRINT]),
        "shell": ("shell", []),
    }[how]
    check_variables(started([*apptainer, verb, *options, apptainer_image, *program], typed))


def test_a_base_with_another_python_is_told(work: Path, docker: Docker, project: Project) -> None:
    folder = alone(project.recipes, work / f"{NAME}-other")
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(text.replace("(3, 11)", "(3, 8)").replace("python 3.11", "python 3.8"))
    done = docker("build", "--network", "host", folder, check=False)
    assert done.returncode != 0
    assert "the packages are for python 3.8, which this base does not have" in done.stdout + done.stderr
