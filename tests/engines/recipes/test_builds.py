"""Every kind of recipe, built by real Docker (both builders) and real Apptainer: what is in the image."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envpack import config
from envpack.pipeline.recipe import recipe_of, write_files
from tests.engines.docker import Docker
from tests.engines.recipes.conftest import CONTENTS, FAMILIES, Project

pytestmark = pytest.mark.engines

CELLS = [(family, content) for family in FAMILIES for content in CONTENTS]
# What python in the image finds: conda's records, distributions that pip installed, leftovers.
PROGRAM = """
import importlib.metadata, importlib.util, json, os, pathlib, sys
LEFTOVERS = ("/opt/conda", "/opt/build", "/pwned", "/root/.conda")
records = [json.loads(p.read_text()) for p in pathlib.Path(sys.prefix, "conda-meta").glob("*.json")]
found = list(importlib.metadata.distributions())
by_pip = [d for d in found if (d.read_text("INSTALLER") or "").strip() == "pip"]
compiled = pathlib.Path(sys.prefix, "lib").rglob("*.pyc")
for name in ("yaml", "click", "dateutil", "markupsafe", "six"):
    if importlib.util.find_spec(name):
        __import__(name)
print(json.dumps({
    "python": sys.version.split()[0],
    "prefix": sys.prefix,
    "conda": {r["name"]: r["version"] for r in records},
    "pip": {d.metadata["Name"].lower(): d.version for d in by_pip},
    "addresses": [d.name for d in by_pip if d.read_text("direct_url.json")],
    "leftovers": [p for p in LEFTOVERS if os.path.exists(p)],
    "postlink": os.path.exists(sys.prefix + "/var/postlink_demo/ran"),
    "stale": [str(p) for p in compiled if p.read_bytes()[4:8] != b"\\1\\0\\0\\0"],
}))
"""


def check(said: str, project: Project) -> None:
    """Compare what python said with the lock."""
    found = json.loads(said)
    locked = project.versions()
    assert found["python"] == locked["conda"]["python"]
    assert found["prefix"] == "/opt/env"
    assert found["conda"] == locked["conda"]
    assert found["pip"] == locked["pip"]
    assert found["addresses"] == []
    assert found["leftovers"] == []
    assert found["postlink"] == ("postlink_demo" in locked["conda"])
    assert found["stale"] == []


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
@pytest.mark.parametrize(("family", "content"), CELLS)
def test_docker(
    family: str,
    content: str,
    builder: str,
    docker: Docker,
    docker_image: Callable[[str, str, str], str],
    project: Callable[[str, str], Project],
) -> None:
    image = docker_image(family, content, builder)
    done = docker("run", "--rm", "--network", "none", image, "python", "-W", "ignore", "-c", PROGRAM)
    check(done.stdout, project(family, content))


@pytest.mark.parametrize(("family", "content"), CELLS)
def test_apptainer(
    family: str,
    content: str,
    apptainer: list[str],
    apptainer_image: Callable[[str, str], Path],
    project: Callable[[str, str], Project],
) -> None:
    image = apptainer_image(family, content)
    done = subprocess.run(
        [*apptainer, "run", str(image), "-W", "ignore", "-c", PROGRAM],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(done.stdout, project(family, content))


def test_pip_packages_without_a_pip_in_the_environment(
    work: Path, settings: dict[str, str], docker: Docker, project: Callable[[str, str], Project]
) -> None:
    made = project("miniforge3", "pip")
    path = made.folder / "lockfiles" / f"{made.name}.conda-lock.yml"
    recipe = recipe_of(made.lock, path, None, None, config.load(settings))
    lock = replace(made.lock, packages=tuple(p for p in made.lock.packages if p.name != "pip"))
    write_files(work / "no-pip", recipe, lock, made.folder)
    docker("build", "--network", "host", "-t", "no-pip", work / "no-pip")
    done = docker("run", "--rm", "--network", "none", "no-pip", "python", "-W", "ignore", "-c", PROGRAM)
    check(done.stdout, replace(made, lock=lock))


COUNT = """
import os
paths = [os.path.join(top, name) for top, _, names in os.walk("/opt/env") for name in names]
print(sum(os.lstat(path).st_size for path in paths))
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_image_is_base_and_environment_and_little_more(
    family: str,
    docker: Docker,
    docker_image: Callable[[str, str, str], str],
    project: Callable[[str, str], Project],
) -> None:
    image = docker_image(family, "conda", "classic")
    dockerfile = (project(family, "conda").recipes / "Dockerfile").read_text()
    base = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("FROM ")][-1]
    docker("pull", base)  # the classic builder knows an image by its digest, BuildKit keeps it to itself
    environment = int(docker("run", "--rm", "--network", "none", image, "python", "-c", COUNT).stdout)
    sizes = [int(docker("image", "inspect", "-f", "{{.Size}}", name).stdout) for name in (image, base)]
    assert sizes[0] <= 1.03 * (sizes[1] + environment)
