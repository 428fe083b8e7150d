"""The cache: where things are, and what is left after a command was killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack import atomic
from envpack.cache import Cache, archive_name
from envpack.errors import IntegrityError, LockError, OutputError
from envpack.image import Digest

SHA256 = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_where_things_are(cache: Cache) -> None:
    assert cache.archive(SHA256, "a-1.0-0.conda") == cache.root / "archives" / f"{SHA256}-a-1.0-0.conda"
    assert cache.blob(Digest(f"sha256:{SHA256}")) == cache.root / "blobs" / "sha256" / SHA256
    assert cache.segment("base-abc") == cache.root / "segments" / "base-abc"
    assert not cache.root.exists(), "asking makes nothing"


@pytest.mark.parametrize(
    "name", ["numpy-1.26.4-py311h64a7726_0.conda", "x-1!2.0+local-0.tar.bz2", "a%2Bb-1.whl"]
)
def test_names_of_archives(cache: Cache, name: str) -> None:
    path = cache.archive(SHA256, name)
    assert path.name == f"{SHA256}-{name}"
    assert archive_name(path) == archive_name(Path(name)) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a.conda", "a/b.conda", "/etc/passwd", ".hidden", "a\nb", "a\0b", "a.part", "a" * 186],
)
def test_names_that_lead_elsewhere(cache: Cache, name: str) -> None:
    with pytest.raises(LockError, match="cannot be the name"):
        cache.archive(SHA256, name)


@given(st.text())
def test_no_name_leaves_its_folder(name: str) -> None:
    cache = Cache(Path("/cache"))
    try:
        path = cache.archive(SHA256, name)
    except LockError:
        return
    assert path.parent == Path("/cache/archives")
    assert len(f"{path.name}.part") <= 255
    assert Path(os.path.normpath(path)) == path


@pytest.mark.parametrize("sha256", ["", "AB" * 32, "../" + "a" * 61, "ab" * 31, "zz" * 32])
def test_hashes_that_are_none(cache: Cache, sha256: str) -> None:
    with pytest.raises(LockError, match="no usable sha256"):
        cache.archive(sha256, "a.conda")


@pytest.mark.parametrize("key", ["", "..", "a/b", ".x", "a b"])
def test_keys_that_are_none(cache: Cache, key: str) -> None:
    with pytest.raises(ValueError, match="not a cache key"):
        cache.segment(key)


def test_a_temporary_folder_ends(cache: Cache) -> None:
    with cache.temporary() as one, cache.temporary() as two:
        assert one != two
        (one / "file").write_text("x")
        assert one.stat().st_mode & 0o777 == 0o700
    assert list((cache.root / "tmp").iterdir()) == []


def test_it_ends_after_a_failure_too(cache: Cache) -> None:
    def fail() -> None:
        with cache.temporary() as folder:
            (folder / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list((cache.root / "tmp").iterdir()) == []


def test_what_the_dead_left_goes_and_what_the_living_have_stays(cache: Cache) -> None:
    program = (
        "import sys, os, signal, pathlib\nfrom envpack.cache import Cache\n"
        "with Cache(pathlib.Path(sys.argv[1])).temporary() as folder:\n"
        "    (folder / 'deep').mkdir(); (folder / 'deep' / 'file').write_text('x')\n"
        "    print(folder, flush=True)\n"
        "    sys.stdin.readline()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(cache.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        theirs = Path(child.stdout.readline().strip())
        with cache.temporary():
            assert (theirs / "deep" / "file").exists(), "its owner lives"
        child.communicate("\n")
    assert (theirs / "deep" / "file").exists(), "nobody could tidy up after kill -9"
    with cache.temporary() as mine:
        assert {p.name for p in mine.parent.iterdir()} == {mine.name, f"{mine.name}.lock"}


def many_times(root: Path) -> None:
    cache = Cache(root)
    for n in range(30):
        with cache.temporary() as folder:
            (folder / "x").write_bytes(b"x")
            cache.keep(folder / "x", cache.segment(str(n)))


def test_commands_at_the_same_time(cache: Cache) -> None:
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=many_times, args=(cache.root,)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0] * 3
    assert list((cache.root / "tmp").iterdir()) == []
    assert len(list((cache.root / "segments").iterdir())) == 30


def test_small_files(cache: Cache) -> None:
    place = cache.blob(Digest(f"sha256:{SHA256}"))
    cache.write(place, b"one")
    cache.write(place, b"two")
    assert place.read_bytes() == b"two"
    assert list((cache.root / "tmp").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    for act in (lambda: cache.temporary().__enter__(), lambda: cache.write(cache.segment("a"), b"")):
        with pytest.raises(OutputError) as caught:
            act()
        assert caught.value.hint is not None
        assert "ENVPACK_CACHE" in caught.value.hint


def test_a_cache_is_made_ready(cache: Cache) -> None:
    cache.prepare()
    assert cache.root.is_dir()
    cache.prepare()
    with pytest.raises(OutputError, match="cannot write to the cache"):
        Cache(Path("/proc/envpack")).prepare()


def test_check(tmp_path: Path, cache: Cache) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"data")
    cache.check(file, hashlib.sha256(b"data").hexdigest())
    with pytest.raises(IntegrityError, match="was changed") as caught:
        cache.check(file, SHA256)
    assert caught.value.why is not None
    assert SHA256 in caught.value.why
    with pytest.raises(IntegrityError, match="cannot read"):
        cache.check(tmp_path / "absent", SHA256)


def test_a_new_folder_that_another_command_took_for_abandoned(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes between making the lock file and locking it."""
    lock = atomic.lock
    raced: list[Path] = []

    def late(descriptor: int) -> bool | None:
        if not raced:
            raced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            raced[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(atomic, "lock", late)
    with cache.temporary() as folder:
        assert folder.with_name(f"{folder.name}.lock") != raced[0]
        assert folder.with_name(f"{folder.name}.lock").exists()
