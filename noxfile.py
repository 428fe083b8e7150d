"""What is done to the project, one session each; ``nox --list`` shows them.

Packages come from wherever this machine's pip, or uv where it is installed, is set up to fetch them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|venv"
nox.options.sessions = ["lint", "types", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
# How `.ci/provision` lets root run Apptainer as an unprivileged user.
PROVISIONED_APPTAINER = "hpc apptainer"


def needs(*groups: str) -> tuple[str, ...]:
    """The requirements of dependency groups of ``pyproject.toml``."""
    return nox.project.dependency_groups(PROJECT, *groups)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and integration tests, against stand-ins on 127.0.0.1 (arguments: pytest's)."""
    session.install("-e", ".", *needs("test"))
    session.run("pytest", "-m", "not engines", *session.posargs)


@nox.session
def engines(session: nox.Session) -> None:
    """The tests that need real engines: Apptainer, squashfs-tools, FUSE. As root, it installs them first."""
    environment = {}
    if not os.environ.get("ENVPACK_TEST_APPTAINER"):
        if os.geteuid() == 0:
            session.run("bash", ".ci/provision", external=True)
            environment["ENVPACK_TEST_APPTAINER"] = PROVISIONED_APPTAINER
        elif not shutil.which("apptainer"):
            session.error("Apptainer is missing: install it, or run this session as root")
    session.install("-e", ".", *needs("test"))
    session.run("pytest", "-m", "engines", *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes: ruff's checks and its formatting."""
    session.install(*needs("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types: mypy, strictly."""
    session.install("-e", ".", *needs("test", "types"))
    session.run("mypy")


@nox.session
def demo(session: nox.Session) -> None:
    """The main job on real input: an environment.yml becomes one image file, and python runs in it."""
    session.install("-e", ".", *needs("standins"))
    session.run("python", "-m", "tests.demo", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Builds beside their peers; writes ``docs/benchmarks.md`` (25 minutes; with --quick a look in 2)."""
    provisioned = PROVISIONED_APPTAINER if shutil.which("hpc") else "apptainer"
    session.install("-e", ".", *needs("benchmarks"))
    environment = {"ENVPACK_TEST_APPTAINER": os.environ.get("ENVPACK_TEST_APPTAINER", provisioned)}
    session.run("python", "-m", "benchmarks.run", *session.posargs, env=environment)
    session.run("python", "-m", "benchmarks.reading")


@nox.session
def tuning(session: nox.Session) -> None:
    """What compression, bytecode, order cost and give; writes ``docs/tuning.md`` (30 minutes; --quick: 2)."""
    session.install("-e", ".", *needs("benchmarks"))
    session.run("python", "-m", "benchmarks.tuning", *session.posargs)


@nox.session
def update_recipes(session: nox.Session) -> None:
    """Write ``recipes/`` again from the locks in ``lockfiles/``."""
    session.install("-e", ".")
    for lock in sorted(Path("lockfiles").glob("*.conda-lock.yml")):
        # Without this user's settings: recipes are the same everywhere.
        session.run("envpack", "recipe", str(lock), env={"ENVPACK_CONFIG": os.devnull})


@nox.session
def update_pins(session: nox.Session) -> None:
    """Look up what recipes download that no lock names: Miniforge's hashes, the digest of an image."""
    session.install("-e", ".")
    session.run("python", "-m", "tools.update_pins")


@nox.session
def update_names(session: nox.Session) -> None:
    """Fetch again which PyPI projects conda-forge's packages contain."""
    session.install("-e", ".")
    session.run("python", "-m", "tools.update_names")
