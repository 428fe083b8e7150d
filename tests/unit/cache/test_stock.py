"""Pruning while commands run, die, or prune as well."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envpack.cache import Cache, stock
from envpack.cache.policy import Kind
from envpack.errors import OutputError
from envpack.image import Digest

SHA256 = "ab" * 32
DAY = 86400.0

# Uses the files it is given, from the beginning of its own time, and ends when told to.
USER = """
import sys, pathlib
from envpack.cache import Cache
cache = Cache(pathlib.Path(sys.argv[1]))
with cache.temporary():
    found = cache.use(*map(pathlib.Path, sys.argv[2:]))
    print(found, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def put(path: Path, size: int = 10, age: float = 10 * DAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time(), time.time() - age))
    return path


def filled(cache: Cache) -> dict[Kind, Path]:
    return {
        Kind.ARCHIVE: put(cache.archive(SHA256, "a-1.conda"), 1),
        Kind.BLOB: put(cache.blob(Digest(f"sha256:{SHA256}")), 2),
        Kind.SEGMENT: put(cache.segment("s"), 4),
        Kind.LAYER: put(cache.layer("l"), 8),
        Kind.SOLVER: put(cache.root / "repodata" / "key" / "deep" / "x.json", 16),
        Kind.TEMPORARY: put(cache.archive("cd" * 32, "b-1.conda").with_name("b-1.conda.part"), 32),
    }


@contextmanager
def user(cache: Cache, *paths: Path) -> Iterator[str]:
    """Another process that uses some files; gives whether it found them."""
    command = [sys.executable, "-c", USER, str(cache.root), *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
        child.communicate("\n")


def prune(cache: Cache, *, dry_run: bool = False) -> stock.Removal:
    return stock.remove(cache, stock.items(cache), now=time.time(), dry_run=dry_run)


def test_what_there_is(cache: Cache) -> None:
    assert stock.items(cache) == ()
    filled(cache)
    found = stock.items(cache)
    assert {item.kind: item.size for item in found} == {
        Kind.ARCHIVE: 1, Kind.BLOB: 2, Kind.SEGMENT: 4, Kind.LAYER: 8, Kind.SOLVER: 16, Kind.TEMPORARY: 32,
    }  # fmt: skip
    assert stock.total(found) == 63
    with cache.temporary() as folder:
        (folder / "x").write_bytes(bytes(100))
        assert stock.total(stock.items(cache)) == 163
    assert all(item.used < time.time() - 9 * DAY for item in found if item.kind is not Kind.SOLVER)


def test_all_of_it_goes(cache: Cache) -> None:
    filled(cache)
    would = prune(cache, dry_run=True)
    assert len(stock.items(cache)) == len(would.removed) == 6
    done = prune(cache)
    assert done == would
    assert done.in_use == ()
    assert stock.items(cache) == ()


def test_use_is_a_new_modification_time(cache: Cache) -> None:
    path = put(cache.segment("s"))
    assert cache.use(path)
    assert path.stat().st_mtime > time.time() - 60
    assert not cache.use(path, cache.segment("absent"))
    assert not cache.segment("absent").exists()


def test_what_a_running_command_uses_stays(cache: Cache) -> None:
    put(cache.segment("unused"))
    used = put(cache.segment("used"))
    with user(cache, used) as found:
        assert found == "True"
        done = prune(cache)
        assert used.exists()
        assert [item.path for item in done.in_use if item.kind is Kind.SEGMENT] == [used]
        assert [item.path for item in done.removed] == [cache.segment("unused")]
    done = prune(cache)
    assert not used.exists(), "its user is gone"


def test_what_it_made_stays_too(cache: Cache) -> None:
    with cache.temporary() as folder:
        (folder / "x").write_bytes(b"x")
        cache.keep(folder / "x", cache.segment("new"))
        assert prune(cache, dry_run=True).removed == ()
        prune(cache)
        assert cache.segment("new").exists()
        assert folder.exists()


def test_solvers_do_not_say_what_they_use(cache: Cache) -> None:
    path = filled(cache)[Kind.SOLVER]
    with user(cache):
        prune(cache)
        assert path.exists()
    prune(cache)
    assert not path.exists()


def test_used_between_the_look_and_the_removal(cache: Cache) -> None:
    path = put(cache.segment("s"))
    found = stock.items(cache)
    cache.use(path)
    assert stock.remove(cache, found, now=time.time()).removed == ()
    assert path.exists()


def test_a_download_that_goes_on(cache: Cache) -> None:
    part = filled(cache)[Kind.TEMPORARY]
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        prune(cache)
        assert part.exists()
    prune(cache)
    assert not part.exists()


def test_what_a_killed_command_left(cache: Cache) -> None:
    with user(cache):
        (mine,) = (item for item in stock.items(cache) if item.kind is Kind.TEMPORARY)
        put(mine.path / "x")
        assert mine.path in {item.path for item in prune(cache).in_use}
        lock = mine.path.with_name(f"{mine.path.name}.lock")
        lock.rename(lock.with_name("kept"))  # so that its end does not tidy up
    lock.with_name("kept").rename(lock)
    mine.path.mkdir(exist_ok=True)
    prune(cache)
    assert list((cache.root / "tmp").iterdir()) == []


def test_without_locks_a_day_is_waited(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Lustre mounted without ``flock``."""

    def none(descriptor: int, how: int) -> None:
        raise OSError(38, "Function not implemented")

    old, new = put(cache.segment("old"), age=2 * DAY), put(cache.segment("new"), age=DAY / 2)
    monkeypatch.setattr(fcntl, "flock", none)
    assert cache.use()
    prune(cache)
    assert not old.exists()
    assert new.exists()


def test_a_cache_that_is_only_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(cache.segment("s"))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.use(path)
    assert not cache.use(cache.segment("absent"))


def test_a_cache_that_cannot_be_pruned(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache.segment("s"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="cannot write to the cache"):
        prune(cache)


def test_only_the_damaged_file_is_discarded(cache: Cache) -> None:
    path = put(cache.segment("s"))
    inode = path.stat().st_ino
    cache.discard(path, inode + 1)
    assert path.exists(), "it was made anew meanwhile"
    cache.discard(path, inode)
    assert not path.exists()
    cache.discard(path, inode)


def build(root: Path, seed: int) -> None:
    """As a build: what it has once used or made is there until its end."""
    cache = Cache(root)
    for turn in range(20):
        with cache.temporary() as folder:
            paths = [cache.segment(f"{(seed + turn) % 3}-{n}") for n in range(5)]
            for path in paths:
                if not cache.use(path):
                    (folder / path.name).write_bytes(b"x")
                    cache.keep(folder / path.name, path)
            for path in paths:
                assert path.read_bytes() == b"x"


def prunes(root: Path) -> None:
    for _ in range(60):
        prune(Cache(root))


def test_builds_and_prunes_at_the_same_time(cache: Cache) -> None:
    context = multiprocessing.get_context("fork")
    several = [context.Process(target=build, args=(cache.root, n)) for n in range(3)]
    several += [context.Process(target=prunes, args=(cache.root,)) for _ in range(2)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0] * 5
