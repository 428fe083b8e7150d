"""Where stand-ins are kept between runs: built once per content of their inputs, by one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNUSED_DAYS = 7


class StandInError(Exception):
    """A stand-in cannot be built on this machine; the message says why and what would help."""


def root() -> Path:
    """``$ENVPACK_STANDINS``, or ``envpack-standins`` in the user's cache folder."""
    named = os.environ.get("ENVPACK_STANDINS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "envpack-standins"


def key(*parts: object, files: Iterable[str] = ()) -> str:
    """A key that changes with ``parts`` and with the content of ``files`` (of this package)."""
    digest = hashlib.sha256(repr(parts).encode())
    for name in files:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def built(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name-key``, filled by ``build(folder)`` unless an earlier run did; whole or not at all.

    Folders of the same name that nobody used for a week are removed.
    """
    base = root()
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"{name}-{key}"
    with _locked(base / f"{name}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=base) as temporary:
                fresh = Path(temporary) / "content"
                fresh.mkdir()
                build(fresh)
                fresh.rename(folder)
        os.utime(folder)
        for other in base.glob(f"{name}-{'[0-9a-f]' * 16}"):
            if time.time() - other.stat().st_mtime > UNUSED_DAYS * 86400:
                shutil.rmtree(other)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
