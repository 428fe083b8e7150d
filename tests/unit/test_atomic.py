"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envpack import atomic
from envpack.errors import OutputError


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "image.sif"
    with atomic.replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
        assert names(path.parent) == {".image.sif.partial"}
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == {"image.sif"}


def test_it_can_be_read_back_while_it_is_written(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a") as file:
        file.write(b"abc")
        file.seek(1)
        assert file.read() == b"bc"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_changes_on_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def fail() -> None:
        with atomic.replacing(path) as file:
            file.write(b"after")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == {"a"}


@pytest.mark.parametrize(
    ("umask", "mode", "expected"), [(0o022, 0o755, 0o755), (0o077, 0o755, 0o700), (0, 0o644, 0o644)]
)
def test_mode_and_umask(tmp_path: Path, umask: int, mode: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        atomic.write(tmp_path / "a", b"", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal, pathlib\nfrom envpack import atomic\n"
        "with atomic.replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert names(tmp_path) == {".a.partial"}
    with atomic.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == {"a"}


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic.replacing(path) as one, atomic.replacing(path) as two:
        one.write(b"one")
        two.write(b"twotwo")
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"one", "the last to finish"
    assert names(tmp_path) == {"a"}


def many_times(path: Path, letter: bytes) -> None:
    for _ in range(50):
        atomic.write(path, letter * 5000)


def test_processes_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=many_times, args=(path, letter)) for letter in (b"a", b"b", b"c")]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0, 0, 0]
    assert path.read_bytes() in (b"a" * 5000, b"b" * 5000, b"c" * 5000)
    assert names(tmp_path) == {"a"}


def test_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        atomic.write(tmp_path / "a", b"")
    assert names(tmp_path) == {"a"}


def test_a_file_is_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError):
        atomic.write(tmp_path / "a" / "b", b"")


@pytest.mark.parametrize(
    ("number", "what", "hint"),
    [
        (errno.ENOSPC, "no space left", "Free some space"),
        (errno.EDQUOT, "no space left", "Free some space"),
        (errno.EROFS, "cannot write", "folder that you may write to"),
        (errno.EACCES, "cannot write", "folder that you may write to"),
    ],
)
def test_errors_say_what_to_do(number: int, what: str, hint: str) -> None:
    error = atomic.cannot_write(Path("a"), OSError(number, os.strerror(number)))
    assert what in error.what
    assert error.hint is not None
    assert hint in error.hint


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["fifo", "folder"])
def test_only_files_are_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """As root, writing to /dev/null beside and by name would take it from the whole machine."""
    make(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    before = (tmp_path / "a").lstat().st_ino
    for name in ("a", "link"):
        with pytest.raises(OutputError, match=f"cannot write .*{name}"):
            atomic.write(tmp_path / name, b"new")
    assert (tmp_path / "a").lstat().st_ino == before
    assert names(tmp_path) == {"a", "link"}


def test_what_will_fail_is_known_before(tmp_path: Path) -> None:
    atomic.check(tmp_path / "a")
    atomic.check(tmp_path / "not" / "yet" / "there")
    (tmp_path / "file").write_bytes(b"old")
    atomic.check(tmp_path / "file")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y", tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            atomic.check(path)
    assert names(tmp_path) == {"file"}


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """/dev/full is the kernel's own full disk, but no file can be made beside it: written through here."""
    path = tmp_path / "a"
    with (
        pytest.raises(OutputError, match="no space left"),
        atomic.replacing(path),
        Path("/dev/full").open("wb", 0) as full,
    ):
        full.write(b"x")
    assert names(tmp_path) == set()


def test_locks(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    assert atomic.lock(one) is True
    assert atomic.lock(two) is False
    os.close(one)
    assert atomic.lock(two) is True
    assert atomic.is_at(two, path)
    path.unlink()
    assert not atomic.is_at(two, path)
    path.touch()
    assert not atomic.is_at(two, path)
    os.close(two)


def test_a_leftover_that_is_finished_after_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer renames it, and a third begins anew, between our opening and locking it."""
    path, partial = tmp_path / "a", tmp_path / ".a.partial"
    partial.write_bytes(b"first")
    lock = atomic.lock
    third: list[int] = []

    def late(descriptor: int) -> bool | None:
        if not third:
            partial.rename(path)
            third.append(os.open(partial, os.O_RDWR | os.O_CREAT))
            assert lock(third[0])
        return lock(descriptor)

    monkeypatch.setattr(atomic, "lock", late)
    with atomic.replacing(path) as file:
        assert atomic.is_at(third[0], partial), "the third's file is left alone"
        file.write(b"ours")
    os.close(third[0])
    assert path.read_bytes() == b"ours"


def test_a_new_file_that_another_process_took_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = atomic.lock
    raced: list[int] = []

    def late(descriptor: int) -> bool | None:
        if not raced:
            raced.append(descriptor)
            (tmp_path / ".a.partial").unlink()
        return lock(descriptor)

    monkeypatch.setattr(atomic, "lock", late)
    atomic.write(tmp_path / "a", b"ours")
    assert (tmp_path / "a").read_bytes() == b"ours"
