"""``envpack cache``: what builds left there, when they used it last, and builds after some of it is gone."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import (
    COMMAND,
    WITHOUT_PRIVILEGES,
    Done,
    envpack,
    error,
    failed,
    nothing_written,
)
from tests.integration.conftest import Prepared, Project

DAY = 86400


@pytest.fixture
def project(plain: Prepared, tmp_path: Path) -> Project:
    return plain.copied(tmp_path, built=True)


def run(project: Project, *arguments: str, check: bool = True) -> Done:
    return envpack(*arguments, config=project.config, cwd=project.folder, check=check)


def asked(project: Project, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(project, "cache", *arguments, "--json").stdout)
    return found


def all_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "prune.lock"]


def age(project: Project, days: float) -> None:
    """As if nothing had been used for so long."""
    for path in (project.cache, *project.cache.rglob("*")):
        os.utime(path, (time.time(), time.time() - days * DAY))


def test_what_is_there(project: Project) -> None:
    with nothing_written(project.cache):
        found = asked(project)
    assert found["bytes"] == sum(p.stat().st_size for p in all_files(project.cache))
    kinds = found["kinds"]
    assert set(kinds) == {"archives", "blobs", "segments", "layers", "solver data", "temporary"}
    assert kinds["archives"]["count"] == kinds["segments"]["count"] - 1 == 3, "one more is the base's"
    assert kinds["temporary"] == {"count": 0, "bytes": 0, "oldest_use": None, "last_use": None}
    shown = run(project, "cache").stdout
    assert str(project.cache) in shown
    assert "segments" in shown


def test_a_cache_that_is_not_there(project: Project, tmp_path: Path) -> None:
    for arguments in ([], ["prune", "--max-size", "0"], ["clean"], ["verify"]):
        done = envpack(
            "cache", *arguments, config=project.config, cwd=project.folder,
            ENVPACK_CACHE=str(tmp_path / "absent"),
        )  # fmt: skip
        assert done.returncode == 0
    assert not (tmp_path / "absent").exists()


def test_a_cache_that_can_only_be_read(project: Project) -> None:
    """Nothing is said to be in use that merely cannot be removed."""
    age(project, 30)
    folders = [project.cache, *(p for p in project.cache.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert asked(project)["bytes"] > 0
        run(project, "cache", "verify")
        with nothing_written(project.cache):
            for arguments in (["prune", "--max-size", "0"], ["clean"]):
                done = envpack(
                    "cache", *arguments, config=project.config, cwd=project.folder, check=False,
                    command=[*WITHOUT_PRIVILEGES, *COMMAND],
                )  # fmt: skip
                failed(done, 8, "cannot write to the cache", "Change who may write it")
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_cache_that_is_a_file(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in ([], ["clean"], ["verify"]):
        done = envpack(
            "cache", *arguments, config=project.config, cwd=project.folder, check=False,
            ENVPACK_CACHE=str(tmp_path / "file"),
        )  # fmt: skip
        failed(done, 8, "cannot read the cache", "Not a directory")


@pytest.mark.parametrize("format", ["sif", "oci"])
def test_a_build_renews_what_it_uses(plain: Prepared, project: Project, format: str) -> None:
    """Without access times: files that no build of this lock uses are the ones that go."""
    run(project, "build", "--format", format)
    before = set(all_files(project.cache))
    age(project, 40)
    for path in before:
        os.utime(path, (time.time(), path.stat().st_mtime))  # read a moment ago, by a backup
    stale = [project.cache / "segments" / "unused", project.cache / "layers" / "unused"]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time(), time.time() - 40 * DAY))
    run(project, "build", "--format", format)
    pruned = asked(project, "prune", "--older-than", "30d")
    gone = {Path(item["path"]) for item in pruned["removed"]}
    assert set(stale) <= gone
    kept = {p for p in before if p.relative_to(project.cache).parts[0] in ("archives", "segments", "layers")}
    # An archive has its layers' own records; the tag's index in the blobs is for `envpack lock` alone.
    assert not kept & gone
    project.image.unlink(missing_ok=True)
    run(project, "build")
    assert hashlib.sha256(project.image.read_bytes()).hexdigest() == plain.sha256


@pytest.mark.parametrize(
    "arguments", [["prune", "--max-size", "5M"], ["prune", "--older-than", "0m"], ["clean"]]
)
def test_builds_make_again_what_is_gone(plain: Prepared, project: Project, arguments: list[str]) -> None:
    before = asked(project)["bytes"]
    would = asked(project, *arguments, "--dry-run")
    assert asked(project)["bytes"] == before
    done = asked(project, *arguments)
    assert done == {**would, "dry_run": False}
    assert done["freed"] + done["left"] == before
    assert asked(project)["bytes"] == done["left"]
    assert done["left"] <= (5_000_000 if "--max-size" in arguments else 0)
    run(project, "build")
    assert hashlib.sha256(project.image.read_bytes()).hexdigest() == plain.sha256


def test_what_the_disk_damaged_is_found(plain: Prepared, project: Project) -> None:
    assert asked(project, "verify")["damaged"] == []
    files = {
        next((project.cache / "segments").iterdir()),
        next(p for p in (project.cache / "archives").rglob("*") if p.is_file()),
        max((project.cache / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size),
    }
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    record = project.cache / "layers" / "record"
    record.parent.mkdir(exist_ok=True)
    record.write_text("{")
    found = asked(project, "verify")
    assert {Path(each["path"]) for each in found["damaged"]} == files | {record}
    assert not any(path.exists() for path in files)
    assert asked(project, "verify")["damaged"] == []
    run(project, "build")
    assert hashlib.sha256(project.image.read_bytes()).hexdigest() == plain.sha256
    assert "files are whole" in run(project, "cache", "verify").stdout


@pytest.mark.parametrize("format", ["sif", "sqfs", "oci"])
def test_a_build_never_uses_what_the_disk_damaged(project: Project, format: str) -> None:
    """Whatever the place in a segment: in its data, found while the image is written, or in its index."""
    run(project, "build", "--format", format, "--output", "whole")
    segments = sorted((project.cache / "segments").iterdir())
    for number, path in enumerate(segments):
        data = bytearray(path.read_bytes())
        data[(0, len(data) // 2, -1)[number % 3]] ^= 1
        path.write_bytes(data)
    done = run(project, "build", "--format", format, "--output", "again")
    assert "damaged files of the cache are made again" in done.stderr
    assert (project.folder / "again").read_bytes() == (project.folder / "whole").read_bytes()
    assert not list(project.folder.glob(".*")), "nothing unfinished stays"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["prune"], "what to remove"),
        (["prune", "--older-than", "soon"], "'soon' is no time"),
        (["prune", "--max-size", "much"], "'much' is no size"),
        (["pruned"], "pruned"),
    ],
)
def test_command_lines_that_are_wrong(project: Project, arguments: list[str], word: str) -> None:
    with nothing_written(project.cache):
        failed(run(project, "cache", *arguments, check=False), 2, word)
        error(run(project, "cache", *arguments, "--json", check=False), 2, "UsageError")
