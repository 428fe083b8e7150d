"""Folders that are gone in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.engines.apptainer import unfinished
from envpack.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "images" / "env.sif"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def test_both_are_removed(output: Path, temporary: Path) -> None:
    said: list[str] = []
    with unfinished.folders(output, temporary, said.append) as (beside, away):
        assert names(output.parent) == [".env.sif.partial.d"]
        assert away.parent == temporary
        (away / "rootfs").mkdir()
        (beside / "image").write_bytes(b"whole")
        (beside / "image").rename(output)
    assert names(output.parent) == ["env.sif"]
    assert names(temporary) == []
    assert said == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_also_when_it_fails(output: Path, temporary: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with unfinished.folders(output, temporary, print) as (beside, away):
            (beside / "image").mkdir()
            (away / "rootfs").mkdir()
            raise error

    with pytest.raises(error):
        fail()
    assert names(output.parent) == names(temporary) == []


KILLED = """
import os, pathlib, signal, sys
from envpack.engines.apptainer import unfinished
with unfinished.folders(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), print) as (beside, away):
    (beside / "image").write_bytes(b"half")
    (away / "rootfs").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_removed_by_the_next(output: Path, temporary: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, output, temporary], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(output.parent) == [".env.sif.partial.d"]
    assert len(names(temporary)) == 1
    with unfinished.folders(output, temporary, print) as (beside, _):
        assert names(beside) == ["tmp"]
        assert len(names(temporary)) == 1
    assert names(output.parent) == names(temporary) == []


def test_two_runs_do_not_meet(output: Path, temporary: Path) -> None:
    with unfinished.folders(output, temporary, print) as (one, one_away):
        (one / "image").write_bytes(b"one")
        with unfinished.folders(output, temporary, print) as (two, two_away):
            assert one != two
            assert one_away != two_away
        assert (one / "image").read_bytes() == b"one"
        assert one_away.is_dir()
    assert names(output.parent) == names(temporary) == []


@pytest.mark.parametrize("leads_to", ["elsewhere", "envpack-build-0/inside"])
def test_a_planted_link_is_not_followed(output: Path, temporary: Path, tmp_path: Path, leads_to: str) -> None:
    elsewhere = tmp_path / leads_to
    elsewhere.mkdir(parents=True)
    leftover = output.with_name(".env.sif.partial.d")
    leftover.mkdir(parents=True)
    (leftover / "tmp").symlink_to(elsewhere)
    with unfinished.folders(output, temporary, print):
        pass
    assert elsewhere.is_dir()
    assert names(output.parent) == []


def test_folders_that_cannot_be_made(output: Path, temporary: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot write .*nothing"),
        unfinished.folders(output, tmp_path / "nothing", print),
    ):
        pass
    assert names(output.parent) == []
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(OutputError, match=r"cannot write .*env\.sif"),
        unfinished.folders(tmp_path / "file" / "env.sif", temporary, print),
    ):
        pass
    assert names(temporary) == []


REMOVE = """
import os, pathlib, sys
from envpack.engines.apptainer import unfinished
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(unfinished.remove(pathlib.Path(sys.argv[1])))
"""


def removed(folder: Path) -> bool:
    """Have an ordinary user remove a folder."""
    done = subprocess.run([sys.executable, "-c", REMOVE, folder], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout == "True\n"


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A tree of an ordinary user's. pytest's own folders are for its user alone."""
    with tempfile.TemporaryDirectory(prefix="envpack-tests-") as name:
        tree = Path(name) / "tree"
        (tree / "locked" / "inner").mkdir(parents=True)
        (tree / "locked" / "inner" / "file").write_bytes(b"")
        (tree / "outside").symlink_to(Path(name))
        if os.getuid() == 0:
            for path in (
                tree,
                tree / "locked",
                tree / "locked" / "inner",
                tree / "locked" / "inner" / "file",
            ):
                os.chown(path, 65534, 65534)
        (tree / "locked" / "inner").chmod(0o500)
        (tree / "locked").chmod(0)
        Path(name).chmod(0o777)
        yield tree


def test_folders_that_are_locked_are_removed(theirs: Path) -> None:
    theirs.parent.joinpath("kept").mkdir()
    mode = theirs.parent.stat().st_mode
    assert removed(theirs)
    assert names(theirs.parent) == ["kept"]
    assert theirs.parent.stat().st_mode == mode, "what a link leads to is left alone"


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files of another user")
def test_folders_of_others(theirs: Path) -> None:
    (theirs / "empty").mkdir(0o700)
    assert removed(theirs)
    assert names(theirs.parent) == []
    (theirs / "full").mkdir(0o700, parents=True)
    (theirs / "full" / "file").write_bytes(b"")
    os.chown(theirs, 65534, 65534)
    assert not removed(theirs)


def test_what_cannot_be_removed_is_said(
    output: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(unfinished, "remove", lambda _: False)
    with unfinished.folders(output, temporary, said.append) as (beside, away):
        pass
    assert len(said) == 2
    assert f"--bind {away.parent}:/mnt IMAGE.sif rm -rf /mnt/{away.name}" in said[0]
    assert f"{beside} cannot be removed" in said[1]
