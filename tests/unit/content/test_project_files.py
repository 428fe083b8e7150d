"""Files of the project in an image: digests that see every change, entries, and links that lead out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envpack.content import project_files
from envpack.entry import Kind
from envpack.errors import LockError, SourceError
from envpack.image import Digest
from envpack.image_settings import CopiedPath


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "data" / "empty").mkdir(parents=True)
    (root / "data" / "b.txt").write_bytes(b"bb")
    (root / "data" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "data" / "run.sh").chmod(0o700)
    (root / "data" / "link").symlink_to("b.txt")
    return root


def copied(root: Path, source: str, destination: str) -> CopiedPath:
    return CopiedPath(source, destination, project_files.digest(root, source))


def test_entries_of_a_folder(project: Path) -> None:
    found = {
        entry.path: (entry.kind, entry.mode, entry.size, b"".join(entry.chunks))
        for entry in project_files.entries(project, copied(project, "data", "/opt/data"))
    }
    assert found == {
        "opt/data": (Kind.DIRECTORY, 0o755, 0, b""),
        "opt/data/b.txt": (Kind.FILE, 0o644, 2, b"bb"),
        "opt/data/empty": (Kind.DIRECTORY, 0o755, 0, b""),
        "opt/data/link": (Kind.FILE, 0o644, 2, b"bb"),
        "opt/data/run.sh": (Kind.FILE, 0o755, 10, b"#!/bin/sh\n"),
    }
    assert list(found) == sorted(found)


def test_entry_of_a_file(project: Path) -> None:
    (entry,) = project_files.entries(project, copied(project, "data/b.txt", "/etc/b"))
    assert (entry.path, entry.mode, b"".join(entry.chunks)) == ("etc/b", 0o644, b"bb")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: (data / "b.txt").write_bytes(b"bc"),
        lambda data: (data / "b.txt").chmod(0o755),
        lambda data: (data / "b.txt").rename(data / "c.txt") and (data / "link").unlink(),
        lambda data: (data / "new").write_bytes(b""),
        lambda data: (data / "new").mkdir(),
        lambda data: (data / "empty").rmdir(),
        lambda data: (data / "run.sh").unlink(),
    ],
)
def test_the_digest_sees_every_change(project: Path, change: Callable[[Path], object]) -> None:
    before = copied(project, "data", "/opt/data")
    project_files.check(project, (before,))
    change(project / "data")
    with pytest.raises(LockError) as caught:
        project_files.check(project, (before,))
    assert [problem.what for problem in caught.value.problems] == ["data was changed since it was locked"]


def test_the_digest_does_not_see_dates_and_other_bits(project: Path) -> None:
    before = project_files.digest(project, "data")
    os.utime(project / "data" / "b.txt", (1, 1))
    (project / "data" / "b.txt").chmod(0o600)
    assert project_files.digest(project, "data") == before


def test_what_cannot_be_copied(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (project / "out").symlink_to("../secret")
    (project / "absolute").symlink_to(tmp_path / "secret")
    (project / "folder").symlink_to("data")
    (project / "circle").symlink_to("circle")
    (project / "deep").mkdir()
    (project / "deep" / "out").symlink_to("../../secret")
    os.mkfifo(project / "fifo")
    for name in ("out", "absolute", "folder", "circle", "deep", "fifo", "absent", "data/b.txt/x"):
        with pytest.raises(SourceError) as caught:
            project_files.digest(project, name)
        assert name.partition("/")[0] in caught.value.what
        assert "s" not in (caught.value.why or "") or "secret" not in (caught.value.why or "")


def test_all_files_that_are_gone_are_named(project: Path) -> None:
    digest = Digest("sha256:" + "0" * 64)
    with pytest.raises(LockError) as caught:
        project_files.check(project, (CopiedPath("a", "/a", digest), CopiedPath("b", "/b", digest)))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("source", ["../x", "/etc/passwd", "a/../../x", "", "a\nb", "./a"])
def test_sources_that_no_lock_can_name(source: str) -> None:
    with pytest.raises(ValueError, match="project's folder"):
        CopiedPath(source, "/opt/x", Digest("sha256:" + "0" * 64))


@pytest.mark.parametrize(
    "destination", ["opt", "/", "/a b", "/a/../b", "/proc/x", "/.singularity.d/env/x", "/a\n"]
)
def test_destinations_that_no_image_can_have(destination: str) -> None:
    with pytest.raises(ValueError, match=r"absolute path|runtime"):
        CopiedPath("x", destination, Digest("sha256:" + "0" * 64))


def test_copies(project: Path, tmp_path: Path) -> None:
    files = (copied(project, "data/b.txt", "/etc/b"), copied(project, "data", "/opt/data"))
    folder = tmp_path / "recipe" / "files"
    folder.mkdir(parents=True)
    (folder / "of an earlier run").touch()
    assert project_files.copy(project, files, folder)
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    assert found == {"etc/b", "opt/data/b.txt", "opt/data/link", "opt/data/run.sh"}
    assert (folder / "opt" / "data" / "empty").is_dir()
    assert (folder / "opt" / "data" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (folder / "opt" / "data" / "link").is_symlink()
    assert not project_files.copy(project, (), folder)
    assert list(folder.parent.iterdir()) == []
