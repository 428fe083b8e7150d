"""What a cache holds, and removing it without harm to the commands that use it meanwhile.

Commands say what they use (:meth:`Cache.use`) under a shared lock, and things are removed under the same
lock, held alone. So each thing is either seen as used since the oldest running command began, and stays, or
is gone before a command looks for it, which then fetches or makes it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from envpack import atomic
from envpack.cache.policy import Item, Kind
from envpack.cache.store import Cache, cannot_write, remove_abandoned
from envpack.errors import OutputError

_FOLDERS = {"segments": Kind.SEGMENT, "layers": Kind.LAYER}
_SOLVERS = ("repodata", "solver")
_PART = ".part"
# Where locks cannot tell who is running: what was used within this time (seconds) may be in use.
_UNKNOWN = 24 * 3600


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed, and what was to be removed and stays because a running command may use it."""

    removed: tuple[Item, ...]
    in_use: tuple[Item, ...]


def items(cache: Cache) -> tuple[Item, ...]:
    """All that the cache holds. What vanishes meanwhile is left out; raises :class:`OutputError`."""
    try:
        if cache.root.exists() and not cache.root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return tuple(_items(cache.root))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise OutputError(
            f"cannot read the cache {cache.root}",
            why=error.strerror or str(error),
            hint="Change who may read it, or name another folder with ENVPACK_CACHE.",
        ) from error


def remove(cache: Cache, chosen: Sequence[Item], *, now: float, dry_run: bool = False) -> Removal:
    """Remove what of ``chosen`` is not in use, and what killed commands left.

    ``now`` is the time in seconds since 1970. With ``dry_run`` it is only said what would be removed. Raises
    :class:`OutputError`.
    """
    removed: list[Item] = []
    in_use: list[Item] = []
    folder = cache.root / "tmp"
    try:
        with cache.guarded(exclusive=True) as sure:
            if not dry_run:
                remove_abandoned(folder)
            since = _running_since(folder, now)
            if not sure:
                since = min(now - _UNKNOWN, since if since is not None else now)
            for item in chosen:
                if item.kind is Kind.TEMPORARY and item.path.parent == folder:
                    # gone by now, or of a running command
                    abandoned = not item.path.exists() or (dry_run and _is_abandoned(item.path))
                    (removed if abandoned else in_use).append(item)
                elif _remove(item, since, dry_run=dry_run):
                    removed.append(item)
                else:
                    in_use.append(item)
    except OSError as error:
        raise cannot_write(cache.root, error) from error
    return Removal(tuple(removed), tuple(in_use))


def _items(root: Path) -> Iterator[Item]:
    for path in _entries(root / "archives"):
        yield from _file(Kind.ARCHIVE, path)
    for path in _entries(root / "blobs" / "sha256"):
        yield from _file(Kind.BLOB, path)
    for name, kind in _FOLDERS.items():
        for path in _entries(root / name):
            yield from _file(kind, path)
    for name in _SOLVERS:
        for path in _entries(root / name):
            yield _whole(Kind.SOLVER, path)
    for path in _entries(root / "tmp"):
        if path.suffix != ".lock":
            yield _whole(Kind.TEMPORARY, path)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _file(kind: Kind, path: Path) -> Iterator[Item]:
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            kind = Kind.TEMPORARY if path.name.endswith(_PART) else kind
            yield Item(kind, path, found.st_size, found.st_mtime)


def _whole(kind: Kind, path: Path) -> Item:
    """A folder or file with all that is in it."""
    size, used = 0, 0.0
    for each in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            found = each.lstat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
            used = max(used, found.st_mtime)
    return Item(kind, path, size, used)


def _running_since(folder: Path, now: float) -> float | None:
    """When the oldest of the running commands began, as far as can be told; ``None``: nothing runs."""
    began = []
    for lock in folder.glob("*.lock"):
        with suppress(FileNotFoundError):
            time = lock.stat().st_mtime
            held = _is_held(lock)
            if held or (held is None and now - time < _UNKNOWN):
                began.append(time)
    return min(began, default=None)


def _is_held(lock: Path) -> bool | None:
    """Whether a command holds this lock; ``None`` where that cannot be found out."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError:
        return None
    try:
        free = atomic.lock(descriptor)
        return None if free is None else not free
    finally:
        os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    try:
        return _is_held(folder.with_name(f"{folder.name}.lock")) is False
    except FileNotFoundError:
        return not folder.exists()


def _remove(item: Item, since: float | None, *, dry_run: bool) -> bool:
    """Remove one thing; ``False`` if a command that runs ``since`` then may use it."""
    if item.kind is Kind.SOLVER:  # no solver says what it uses
        if since is None and not dry_run:
            shutil.rmtree(item.path, ignore_errors=True)
        return since is None
    try:
        used = item.path.lstat().st_mtime
    except FileNotFoundError:
        return True
    if used > item.used or (since is not None and used >= since):
        return False
    if item.path.name.endswith(_PART):
        return _remove_part(item.path, dry_run=dry_run)
    if not dry_run:
        item.path.unlink(missing_ok=True)
    return True


def _remove_part(path: Path, *, dry_run: bool) -> bool:
    """Remove an unfinished download unless somebody goes on with it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        if atomic.lock(descriptor) is False:
            return False
        if not dry_run and atomic.is_at(descriptor, path):
            path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def total(found: Iterable[Item]) -> int:
    """How many bytes these have."""
    return sum(item.size for item in found)
