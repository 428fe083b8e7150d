"""The same variables however a program is started, and hostile values that stay values."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envpack import config, lockfile
from envpack.pipeline.recipe import recipe_of, write_files
from tests.engines.docker import Docker
from tests.engines.recipes.conftest import HOSTILE, Project, alone, apptainer_build

pytestmark = pytest.mark.engines

CELL = ("any-base", "conda")
NAME = "-".join(CELL)
EXPECTED = {
    "CONDA_PREFIX": "/opt/env",
    "CONDA_DEFAULT_ENV": NAME,
    "CONDA_SHLVL": "1",
    "PYTHONNOUSERSITE": "1",
    **HOSTILE,
}
# What the packages' own scripts set.
ACTIVATED = {
    "ACTIVATE_DEMO_HOME": "/opt/env/share/activate_demo",
    "SSL_CERT_FILE": "/opt/env/ssl/cacert.pem",
}
PRINT = "import json, os; print(json.dumps(dict(os.environ)))"
AWKWARD = ["a b", "*", "", "$HOME", "'", '"', "\\", "--flag", "$(touch /pwned)"]
ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def check(said: str, expected: dict[str, str]) -> None:
    found = json.loads(said)
    assert {name: found.get(name) for name in expected} == expected
    assert found["PATH"].split(":")[0] == "/opt/env/bin"
    assert found["PATH"].split(":").count("/opt/env/bin") == 1
    assert not found.get("PYTHONPATH")
    assert not found.get("PYTHONHOME")


def started(command: list[str], typed: str = "") -> str:
    """The standard output of a command that is given ``typed`` as input."""
    done = subprocess.run(command, input=typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("options", [[], ["--cleanenv"], ["--containall"]], ids=" ".join)
@pytest.mark.parametrize("how", ["exec", "exec sh", "run", "shell"])
def test_apptainer(
    how: str, options: list[str], apptainer: list[str], apptainer_image: Callable[[str, str], Path]
) -> None:
    image = str(apptainer_image(*CELL))
    typed = f"python -c '{PRINT}'\n"
    verb, program = {
        "exec": ("exec", ["python", "-c", PRINT]),
        "exec sh": ("exec", ["sh", "-c", typed]),
        "run": ("run", ["-c", PRINT]),
        "shell": ("shell", []),
    }[how]
    said = started([*apptainer, verb, *options, image, *program], typed)
    check(said, EXPECTED | ACTIVATED)


def test_apptainer_hands_arguments_on(
    apptainer: list[str], apptainer_image: Callable[[str, str], Path]
) -> None:
    said = started([*apptainer, "run", str(apptainer_image(*CELL)), "-c", ARGUMENTS, *AWKWARD])
    assert json.loads(said) == AWKWARD


def test_apptainer_runs_its_test_and_shows_its_labels(
    apptainer: list[str], apptainer_image: Callable[[str, str], Path]
) -> None:
    image = str(apptainer_image(*CELL))
    assert "python 3." in started([*apptainer, "test", image])
    labels = started([*apptainer, "inspect", "--labels", image])
    assert f"org.opencontainers.image.title: {NAME}" in labels
    assert "org.opencontainers.image.base.digest: sha256:" in labels
    assert "activate_demo" in started([*apptainer, "inspect", "--helpfile", image])


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_docker_run(builder: str, docker: Docker, docker_image: Callable[[str, str, str], str]) -> None:
    run = ["run", "--rm", "--network", "none"]
    image = docker_image(*CELL, builder)
    check(docker(*run, image, "python", "-c", PRINT).stdout, EXPECTED | ACTIVATED)
    check(docker(*run, image, "sh", "-c", f"python -c '{PRINT}'").stdout, EXPECTED | ACTIVATED)
    given = {"CONDA_SHLVL": "2", "HOSTILE_LINES": "of docker run"}
    options = [part for name, value in given.items() for part in ("-e", f"{name}={value}")]
    check(docker(*run, *options, image, "python", "-c", PRINT).stdout, EXPECTED | ACTIVATED | given)
    assert json.loads(docker(*run, image, "python", "-c", ARGUMENTS, *AWKWARD).stdout) == AWKWARD
    assert docker(*run, image, "sh", "-c", "exit 7", check=False).returncode == 7


def test_docker_exec(docker: Docker, docker_image: Callable[[str, str, str], str]) -> None:
    image = docker_image(*CELL, "classic")
    container = docker("run", "-d", "--rm", "--network", "none", image, "sleep", "300").stdout.strip()
    try:
        always = {name: value for name, value in EXPECTED.items() if "\n" not in value}
        check(docker("exec", container, "python", "-c", PRINT).stdout, always)
        entrypoint = ["/bin/sh", "/usr/local/bin/entrypoint.sh"]
        done = docker("exec", container, *entrypoint, "python", "-c", PRINT)
        check(done.stdout, EXPECTED | ACTIVATED)
    finally:
        docker("kill", container)


def test_docker_exec_after_a_build_that_saw_the_packages(
    work: Path, settings: dict[str, str], docker: Docker, project: Callable[[str, str], Project]
) -> None:
    """`envpack build` knows what the scripts set, so the recipe that it writes has it for all programs."""
    made = project(*CELL)
    folder = work / "after-build"
    shutil.copytree(made.folder / "lockfiles", folder / "lockfiles")
    done = subprocess.run(
        [sys.executable, "-m", "envpack", "build", "--skip-link-scripts"],
        cwd=folder, env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    docker("build", "--network", "host", "-t", "after-build", folder / "recipes" / NAME)
    container = docker("run", "-d", "--rm", "--network", "none", "after-build", "sleep", "300").stdout.strip()
    try:
        always = {name: value for name, value in EXPECTED.items() if "\n" not in value}
        check(docker("exec", container, "python", "-c", PRINT).stdout, always | ACTIVATED)
    finally:
        docker("kill", container)


def test_hostile_labels(
    work: Path,
    settings: dict[str, str],
    docker: Docker,
    apptainer: list[str],
    project: Callable[[str, str], Project],
) -> None:
    made = project(*CELL)
    path = made.folder / "lockfiles" / f"{NAME}.conda-lock.yml"
    recipe = recipe_of(lockfile.read(path), path, None, None, config.load(settings))
    # A label has one line, and Apptainer's no template: what has more is refused when it is rendered.
    own = {
        f"org.example.{name.lower()}": value.replace("{{", "{")
        for name, value in HOSTILE.items()
        if "\n" not in value
    }
    assert len(own) == 3
    write_files(work / "labels", replace(recipe, labels={**recipe.labels, **own}), made.lock, work)
    for builder in (False, True):
        docker("build", "--network", "host", "-t", "labels", work / "labels", buildkit=builder)
        found = json.loads(docker("image", "inspect", "-f", "{{json .Config.Labels}}", "labels").stdout)
        assert own.items() <= found.items()
    image = apptainer_build(apptainer, alone(work / "labels", work / "labels-apptainer"))
    shown = json.loads(started([*apptainer, "inspect", "--json", "--labels", str(image)]))
    labels = shown["data"]["attributes"]["labels"]
    assert {name: labels.get(name) for name in own} == own
