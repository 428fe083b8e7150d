"""Files that appear whole or not at all: written beside their final name, fsynced, renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
            why=str(error),
            hint="Free some space or write elsewhere, then run the same command again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"cannot write {path}", why=str(error), hint="Choose a folder you may write to (--output)."
        )
    return OutputError(f"cannot write {path}", why=str(error))


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``, readable and writable; on success it becomes ``path``.

    The parent folder is made if need be. ``mode`` is subject to the umask. On any exception nothing
    is left behind and ``path`` is untouched. Raises :class:`OutputError` where the file system refuses.
    """
    umask = os.umask(0)
    os.umask(umask)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode & ~umask)
            os.fsync(file.fileno())
        temporary.replace(path)
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
