"""Folders that cannot be written and disks that are full: said before the work where it can be known."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.integration.commands import (
    COMMAND,
    WITHOUT_PRIVILEGES,
    Done,
    environment,
    envpack,
    error,
    failed,
    nothing_written,
)
from tests.integration.conftest import PLAIN, Prepared, Project

# A mount of one's own needs root, or a user namespace.
OWN_MOUNTS = (
    ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
)
# Runs a command with a small disk at FOLDER, says what it left there, makes room and runs it again.
SMALL_DISK = """
folder=$1 size=$2 after=$3; shift 3
mount -t tmpfs -o size=$size none "$folder" || exit 99
"$@"
echo "code $?"
find "$folder" -type f | sed 's/^/left /'
mount -o remount,size=$after "$folder"
"$@" > /dev/null 2>&1
echo "again $?"
sha256sum "$IMAGE"
"""


@pytest.fixture
def project(plain: Prepared, tmp_path: Path) -> Project:
    return plain.copied(tmp_path, built=True)


def run(project: Project, *arguments: str) -> Done:
    """Run as somebody whom permissions bind; nothing must be written in the project."""
    with nothing_written(project.folder):
        return envpack(
            *arguments,
            config=project.config,
            cwd=project.folder,
            check=False,
            command=[*WITHOUT_PRIVILEGES, *COMMAND],
        )


@pytest.mark.parametrize("folder", ["images", "recipes", "."])
def test_a_folder_that_cannot_be_written(project: Project, folder: str) -> None:
    path = project.folder / folder
    path.mkdir(exist_ok=True)
    path.chmod(0o555)
    done = run(project, "build")
    path.chmod(0o755)
    failed(done, 8, "cannot write", f"{folder} cannot be written by you")
    assert "Linking" not in done.stderr, "known before the work"


def test_a_lock_that_cannot_be_written(project: Project) -> None:
    project.lock.parent.chmod(0o555)
    done = run(project, "lock")
    project.lock.parent.chmod(0o755)
    failed(done, 8, "cannot write lockfiles/plain.conda-lock.yml")
    assert "Solving" not in done.stderr, "known before the work"


@pytest.mark.parametrize(
    "output", ["environment.yml/x.sif", "environment.yml/deeper/x.sif", "/proc/x.sif", "/proc/deeper/x.sif"]
)
def test_an_output_that_cannot_be(project: Project, output: str) -> None:
    failed(run(project, "build", "-o", output), 8, f"cannot write {output}")


def test_an_output_that_is_a_folder(project: Project) -> None:
    failed(run(project, "build", "-o", "lockfiles"), 2, "lockfiles", "--help")
    project.lock.unlink()
    project.lock.mkdir()
    failed(run(project, "lock"), 8, "cannot write lockfiles/plain.conda-lock.yml", "Is a directory")
    project.image.mkdir(parents=True)
    assert error(run(project, "build", "--json", project.name), 10, "LockError")


def test_a_device_stays_what_it_is(project: Project) -> None:
    """A file in the place of /dev/null would break the machine."""
    pipe = project.folder / "pipe"
    os.mkfifo(pipe)
    for output in ("pipe", "/dev/null", "/dev/stdout"):
        failed(
            envpack("build", "-o", output, config=project.config, cwd=project.folder, check=False), 8, output
        )
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.parametrize("command", ["lock", "build"])
def test_a_cache_that_cannot_be_written(plain: Prepared, tmp_path: Path, command: str) -> None:
    project = plain.copied(tmp_path)
    project.cache.mkdir()
    project.cache.chmod(0o555)
    failed(run(project, command), 8, f"cannot write to the cache {project.cache}", "ENVPACK_CACHE")
    project.cache.chmod(0o755)
    project.cache.rmdir()
    project.cache.write_text("a file")
    failed(run(project, command), 8, f"cannot write to the cache {project.cache}", "ENVPACK_CACHE")


def test_a_part_of_the_cache_that_cannot_be_written(plain: Prepared, tmp_path: Path) -> None:
    """As after a run as root."""
    project = plain.copied(tmp_path)
    (project.cache / "repodata").mkdir(parents=True, mode=0o555)
    failed(run(project, "lock"), 8, f"cannot write to the cache {project.cache}", "Permission denied")
    (project.cache / "blobs").mkdir(mode=0o555)
    failed(run(project, "build"), 8, str(project.cache), "Permission denied", "ENVPACK_CACHE")


def on_small_disk(project: Project, folder: Path, size: str, *arguments: str, **variables: str) -> list[str]:
    """Run a command twice, with ``folder`` on a disk of ``size``, then on a large one; gives what is said."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", SMALL_DISK, "sh", str(folder), size, "200m", *COMMAND, *arguments],
        cwd=project.folder, env=environment(project.config, IMAGE=str(project.image), **variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "  do: " in done.stderr, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    return str(done.stdout).splitlines()


@pytest.mark.parametrize("where", ["layer", "segment", "image"])
def test_a_full_disk_and_then_a_larger_one(plain: Prepared, tmp_path: Path, where: str) -> None:
    layer = max(p.stat().st_size for p in (plain.folder / "cache" / "blobs" / "sha256").iterdir())
    image = (plain.folder / "image.sif").stat().st_size
    size = {"layer": layer // 2, "segment": layer + (1 << 20), "image": image // 2}[where]
    project = plain.copied(tmp_path, built=where == "image")
    folder = project.image.parent if where == "image" else project.cache
    said = on_small_disk(project, folder, str(size), "build")
    left = [Path(line.removeprefix("left ")) for line in said if line.startswith("left ")]
    assert said[0] == "code 8"
    assert where != "image" or not left
    assert all("partial" not in p.name and p.parent.name != "tmp" for p in left)
    assert "again 0" in said
    assert said[-1].startswith(plain.sha256)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_disk_that_fills_up_while_linking(with_python: Prepared, tmp_path: Path, part: float) -> None:
    """Downloads fit, and a part of what is made of them."""
    folder = with_python.folder / "cache"
    sizes = {
        name: sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file())
        for name in ("archives", "blobs", "segments")
    }
    project = with_python.copied(tmp_path)
    size = sizes["archives"] + sizes["blobs"] + int(part * sizes["segments"]) + (1 << 20)
    said = on_small_disk(project, project.cache, str(size), "build")
    left = [Path(line.removeprefix("left ")) for line in said if line.startswith("left ")]
    assert said[0] == "code 8"
    assert all(path.parent.name != "tmp" and not path.name.endswith((".partial", ".part")) for path in left)
    assert sum(path.parent.name == "archives" for path in left) > 5, "it was not full before"
    assert "again 0" in said
    assert said[-1].startswith(with_python.sha256)


@pytest.mark.parametrize("where", ["cache", "lockfiles", "temporary"])
def test_a_full_disk_while_locking(plain: Prepared, tmp_path: Path, where: str) -> None:
    project = plain.copied(tmp_path)
    project.lock.unlink()
    # A disk has at least one page: this lock needs more.
    (project.folder / "environment.yml").write_text(f"{PLAIN}variables: {{A: {'x' * 8000}}}\n")
    folder = {"cache": project.cache, "lockfiles": project.lock.parent, "temporary": tmp_path / "temporary"}[
        where
    ]
    variables = {"TMPDIR": str(folder)} if where == "temporary" else {}
    said = on_small_disk(project, folder, "8k" if where == "cache" else "4k", "lock", **variables)
    assert said[0] == "code 8"
    assert "again 0" in said
    assert not [line for line in said if "lock.yml" in line]


def test_a_log_that_cannot_be_written(project: Project) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "build"], cwd=project.folder, env=environment(project.config),
            stdout=subprocess.PIPE, stderr=full, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert project.image.exists()


def test_a_result_that_cannot_be_written(project: Project) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "build"], cwd=project.folder, env=environment(project.config),
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 8
    assert "Traceback" not in done.stderr
    assert "cannot be written to standard output" in done.stderr


@pytest.mark.parametrize("streams", ["out", "both"])
@pytest.mark.parametrize("arguments", [["lock"], ["lock", "--json"], ["build"], ["lock", "--nonsense"]])
def test_a_reader_that_leaves(project: Project, plain: Prepared, arguments: list[str], streams: str) -> None:
    """``envpack lock | head -1``: the work is done to its end."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "envpack", *arguments],
        cwd=project.folder,
        env=environment(project.config),
        stdout=write,
        stderr=write if streams == "both" else subprocess.PIPE,
        text=True,
    )
    os.close(write)
    os.close(read)
    _, said = process.communicate()
    assert process.returncode == (2 if "--nonsense" in arguments else 0)
    assert not said or "Traceback" not in said
    if arguments == ["build"]:
        assert sha256(project.image.read_bytes()).hexdigest() == plain.sha256
