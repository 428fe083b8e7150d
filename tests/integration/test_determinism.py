"""The same lock gives the same bytes: whoever builds, on how many cores, with which python and cache."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envpack.pipeline.target import FORMATS
from tests.absent import absent
from tests.integration import pythons
from tests.integration.commands import COMMAND, envpack, leftovers
from tests.integration.conftest import Prepared, Project

FORMATS_OF_ONE_FILE = {"sif": ".sif", "sqfs": ".sqfs", "oci": ".oci.tar"}
CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Circumstances:
    """How a build is run, other than what it is told to make."""

    umask: int = 0o022
    cores: int = len(CORES)
    variables: dict[str, str] = field(default_factory=dict)
    python: tuple[str, ...] = COMMAND

    def command(self) -> list[str]:
        words = shlex.join(self.python)
        cores = ",".join(str(core) for core in CORES[: self.cores])
        # $0 is the first of envpack's own arguments.
        return ["sh", "-c", f'umask {self.umask:o}; exec taskset -c {cores} {words} "$0" "$@"']


HERE = Circumstances()
ELSEWHERE = Circumstances(
    umask=0o077,
    cores=1,
    variables={
        "TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "4711",
        "HOME": "/nonexistent", "USER": "somebody", "HOSTNAME": "elsewhere", "COLUMNS": "40",
        "PYTHONDONTWRITEBYTECODE": "1",
    },
)  # fmt: skip
OPEN_TO_ALL = Circumstances(
    umask=0,
    variables={"TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONHASHSEED": "1", "PYTHONUTF8": "0"},
)


def built(project: Project, circumstances: Circumstances) -> dict[str, str]:
    """Every format's sha256, built one after the other with one cache."""
    found: dict[str, str] = {}
    for format_, suffix in FORMATS_OF_ONE_FILE.items():
        if format_ not in FORMATS["native"]:
            continue
        image = project.folder / "out" / f"image{suffix}"
        # The name of an archive is part of it.
        arguments = ["build", "--format", format_, "-o", str(image)]
        done = envpack(
            *arguments, config=project.config, cwd=project.folder, command=circumstances.command(),
            check=False, **circumstances.variables,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[format_] = hashlib.sha256(image.read_bytes()).hexdigest()
    assert leftovers(project.folder, project.cache) == []
    return found


@pytest.fixture(scope="module")
def expected(with_python: Prepared, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a build here, with an empty cache, gives."""
    found = built(with_python.copied(tmp_path_factory.mktemp("here")), HERE)
    assert found["sif"] == with_python.sha256
    return found


@pytest.mark.parametrize("circumstances", [ELSEWHERE, OPEN_TO_ALL], ids=["elsewhere", "open-to-all"])
def test_circumstances(
    with_python: Prepared, expected: dict[str, str], tmp_path: Path, circumstances: Circumstances
) -> None:
    """Another umask, time zone, language, number of cores, hash seed, home, folder and cache."""
    folder = tmp_path / "a folder" / "whose name is longer than the other's"
    folder.mkdir(parents=True)
    assert built(with_python.copied(folder), circumstances) == expected


def test_what_is_cached(with_python: Prepared, expected: dict[str, str], tmp_path: Path) -> None:
    """A full cache, one that lacks some of its files, and one that another format filled."""
    project = with_python.copied(tmp_path, built=True)
    assert built(project, HERE) == expected
    for kind in ("segments", "layers", "archives"):
        if (project.cache / kind).exists():
            for path in sorted((project.cache / kind).iterdir())[::2]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(project.folder / "out")
    assert built(project, ELSEWHERE) == expected


@pytest.mark.parametrize("version", [v for v in pythons.VERSIONS if v != pythons.HERE])
def test_pythons(with_python: Prepared, expected: dict[str, str], tmp_path: Path, version: str) -> None:
    """The python that runs envpack is not the environment's, which compiles its own bytecode."""
    found = pythons.interpreter(version)
    if found is None:
        absent(f"there is no CPython {version} here: on PATH, of pyenv or of uv")
    python = (str(pythons.with_dependencies(found, version)), "-m", "envpack")
    circumstances = Circumstances(python=python, variables=pythons.variables())
    assert built(with_python.copied(tmp_path), circumstances) == expected
