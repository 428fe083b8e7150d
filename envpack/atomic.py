"""Files that appear whole or not at all: written beside their final name, fsynced, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from envpack.errors import OutputError

_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF}


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The :class:`OutputError` that says what to do about ``error`` while writing ``path``."""
    if error.errno in _SPACE:
        return OutputError(
            f"no space left while writing {path}",
            why=error.strerror,
            hint="Free some space or write elsewhere, then run the same command again.",
        )
    hint = f"Work in a folder that you may write to, or change who may write {path.parent} and what is in it."
    return OutputError(f"cannot write {path}", why=error.strerror or str(error), hint=hint)


def check(path: Path) -> None:
    """Raise :class:`OutputError` now, before any work is done, where :func:`replacing` would in the end.

    As far as can be told: a disk that fills up is not foreseen. What is there and is no regular file, such
    as a folder or a device, is never replaced.
    """
    try:
        if path.exists() and not path.is_file():
            reason = errno.EISDIR if path.is_dir() else errno.ENOTSUP
            raise OSError(reason, os.strerror(reason) if path.is_dir() else "it is not a regular file")
        folder = path.parent
        while not os.path.lexists(folder):
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{folder} cannot be written by you")
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``, readable and writable; on success it becomes ``path``.

    The parent folder is made if need be. ``mode`` is subject to the umask. On any exception nothing
    is left behind and ``path`` is untouched; what a killed process left behind, the next one removes.
    Raises :class:`OutputError` where the file system refuses.
    """
    check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _partial(path, mode)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)  # before the file is closed: closing lets go of its lock
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` atomically; see :func:`replacing`."""
    with replacing(path, mode) as file:
        file.write(data)


def _partial(path: Path, mode: int) -> tuple[int, Path]:
    """A new file beside ``path``, locked, under a fixed name if that is free, so that leftovers are found."""
    fixed = path.with_name(f".{path.name[:200]}.partial")
    while True:
        with suppress(OSError):  # none there, or somebody else's
            leftover = os.open(fixed, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if lock(leftover) and is_at(leftover, fixed):
                    fixed.unlink(missing_ok=True)
            finally:
                os.close(leftover)
        name = fixed.with_name(f"{fixed.stem}.{os.urandom(4).hex()}.partial") if fixed.exists() else fixed
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            continue
        # Between these two lines another process may have taken the file for a leftover.
        if lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Try to lock an open file against other processes (flock(2)); closing it, or dying, unlocks.

    ``False`` when somebody else holds it; ``None`` when the file system has no locks, as Lustre mounted
    without ``flock``.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is (still) the one called ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
