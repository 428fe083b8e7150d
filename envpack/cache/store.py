"""The cache's files: where each is, how it gets there, and that it is used."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envpack import atomic
from envpack.errors import IntegrityError, LockError, OutputError
from envpack.image import Digest

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
# What archive names are made of, percent signs of URLs included; no separators. With the hash before it and
# ".part" behind it, a name is as long as file systems allow.
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!%=~-]{0,184}\Z")
_HASH = re.compile(r"[0-9a-f]{64}-")


class Cache:
    """The cache below one folder. Several commands may use it at once; nothing is made before it is used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the root, and see that it can be written; raises :class:`OutputError`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def archive(self, sha256: str, filename: str) -> Path:
        """Where the archive with this hash (hexadecimal) is, or will be.

        Raises :class:`LockError` for a hash or a name that could lead elsewhere.
        """
        if not _FILENAME.match(filename) or filename.endswith(".part"):
            raise LockError(f"{filename!r} cannot be the name of a package archive")
        try:
            digest = Digest(f"sha256:{sha256}")
        except ValueError as error:
            raise LockError(f"{filename} has no usable sha256", why=str(error)) from None
        return self.root / "archives" / f"{digest.hex}-{filename}"

    def blob(self, digest: Digest) -> Path:
        """Where the blob with this digest is, or will be."""
        return self.root / "blobs" / "sha256" / digest.hex

    def segment(self, key: str) -> Path:
        """Where the file system segment made from ``key`` is, or will be."""
        return self._keyed("segments", key)

    def layer(self, key: str) -> Path:
        """Where it is, or will be, recorded which blob is the layer made from ``key``."""
        return self._keyed("layers", key)

    def _keyed(self, kind: str, key: str) -> Path:
        if not _KEY.match(key):
            raise ValueError(f"not a cache key: {key!r}")
        return self.root / kind / key

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A new folder of one's own, gone at the end; those of commands that died are removed first.

        Raises :class:`OutputError` when the cache cannot be written.
        """
        folder = self.root / "tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(folder)
            own, lock = _make(folder)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)
            own.with_name(f"{own.name}.lock").unlink(missing_ok=True)
            os.close(lock)

    def keep(self, temporary: Path, final: Path, *, durably: bool = True) -> None:
        """Move a finished file from :meth:`temporary` to its place.

        ``durably`` waits for the disk; a file with a checksum of its own that is compared at every use can
        do without, and be made again after a power cut. Raises :class:`OutputError` when the cache cannot be
        written.
        """
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            if durably:
                descriptor = os.open(temporary, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            temporary.replace(final)
            if durably:
                atomic.sync_folder(final.parent)
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def write(self, final: Path, data: bytes) -> None:
        """Put a small file in its place, durably; raises as :meth:`keep`."""
        with self.temporary() as folder:
            file = folder / final.name
            try:
                file.write_bytes(data)
            except OSError as error:
                raise cannot_write(self.root, error) from error
            self.keep(file, final)

    def check(self, path: Path, sha256: str) -> None:
        """Raise :class:`IntegrityError` unless the file has this hash (hexadecimal)."""
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise IntegrityError(f"cannot read {path}", why=str(error)) from error
        if digest.hexdigest() != sha256:
            raise IntegrityError(
                f"{path} was changed since it was downloaded",
                why=f"expected sha256 {sha256}\n     got sha256 {digest.hexdigest()}",
                hint=f"Remove it (`rm {path}`) and run the same command again.",
            )

    def use(self, *paths: Path) -> bool:
        """Note that these files are used now, and say whether all of them are there.

        While the command has its :meth:`temporary` folder, which it must have before, nobody prunes them.
        A cache that can only be read is used all the same.
        """
        found = True
        with self.guarded(exclusive=False):
            for path in paths:
                try:
                    os.utime(path)
                except OSError:
                    found = found and path.exists()
        return found

    def discard(self, path: Path, inode: int) -> None:
        """Remove a damaged file, in use or not, if it is still the one with ``inode`` and was not made anew.

        Raises :class:`OutputError`.
        """
        try:
            with self.guarded(exclusive=True), suppress(FileNotFoundError):
                if path.lstat().st_ino == inode:
                    path.unlink()
        except OSError as error:
            raise cannot_write(self.root, error) from error

    @contextmanager
    def guarded(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold the lock between using and removing files; ``False`` where there are no locks."""
        descriptor = self._guard()
        if descriptor is None:
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
                locked = True
            except OSError:  # not on this file system
                locked = False
            yield locked
        finally:
            os.close(descriptor)

    def _guard(self) -> int | None:
        path = self.root / "prune.lock"
        for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
            with suppress(OSError):
                return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        return None


def archive_name(path: Path) -> str:
    """The filename for which :meth:`Cache.archive` gave this path; of other paths their own."""
    match = _HASH.match(path.name)
    return path.name[match.end() :] if match else path.name


def cannot_write(root: Path, error: OSError) -> OutputError:
    """The error for a cache that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    first = "Free some space there" if full else "Change who may write it"
    return OutputError(
        f"cannot write to the cache {root}",
        why=error.strerror or str(error),
        hint=f"{first}, or name another folder with ENVPACK_CACHE.",
    )


def _make(folder: Path) -> tuple[Path, int]:
    """A new folder in ``folder`` and the descriptor that holds its lock."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix="", suffix=".lock", dir=folder)
        try:
            # Between these two lines another command may take the file for an abandoned one and remove it.
            if atomic.lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
                own = Path(name.removesuffix(".lock"))
                own.mkdir(mode=0o700)
                return own, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Remove the folders whose lock nobody holds. Others may be doing the same: what is gone is gone."""
    for lock in sorted(folder.glob("*.lock")):
        with suppress(FileNotFoundError, PermissionError):
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if atomic.lock(descriptor):
                    # the folder first: while its lock file exists, it can still be found
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)
