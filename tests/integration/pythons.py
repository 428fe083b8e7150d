"""Other pythons of this machine, each with what a build imports."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

from tests.standins import store

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Needed to lock, or by other engines: large, and no build of the native engine imports them.
_NOT_BUILT_WITH = {"conda-lock", "docker", "py-rattler", "uv"}
_ROOT = Path(__file__).parents[2]


@cache
def interpreter(version: str) -> Path | None:
    """A CPython of this version (``3.10``): on PATH, of pyenv or of uv."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    on_path = shutil.which(f"python{version}")
    found = [Path(on_path)] if on_path else []
    found += sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
    found += sorted((data / "uv" / "python").glob(f"cpython-{version}.*/bin/python{version}"))
    return next((path for path in found if _is_whole(path, version)), None)


def _is_whole(path: Path, version: str) -> bool:
    """Whether it runs, which a shim may not, and can make virtual environments."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


def with_dependencies(path: Path, version: str) -> Path:
    """A virtual environment's python, with the versions of this one's packages where there are any."""
    wanted = sorted(_requirements())
    folder = store.built(
        f"python-{version}", store.key(str(path), wanted), lambda folder: _make(path, folder, wanted)
    )
    return folder / "bin" / "python"


def _requirements() -> list[str]:
    """What the distribution of envpack requires; libraries that compress in the same version as here."""
    found = []
    for text in importlib.metadata.requires("envpack") or ():
        if Requirement(text).name not in _NOT_BUILT_WITH:
            found.append(text)
    return [*found, f"zstandard=={importlib.metadata.version('zstandard')}"]


def _make(path: Path, folder: Path, wanted: list[str]) -> None:
    subprocess.run([path, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise store.StandInError(f"no packages for {path}: {done.stderr[-2000:]}")


def variables() -> dict[str, str]:
    """What lets such a python find this checkout's envpack."""
    return {"PYTHONPATH": str(_ROOT)}
