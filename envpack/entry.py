"""The one content model: whatever goes into an image is a sequence of entries.

Base layers, conda packages and wheels produce entries; squashfs and tar writers consume them and know
nothing of where they came from. Sequences are lazy and single-pass: the chunks of a file must be
consumed (or dropped) before the next entry is asked for, because they may come from a stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a path is."""

    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a file system.

    ``path`` is relative, separated by ``/``, normalised (no empty, ``.`` or ``..`` part); bytes that are
    not UTF-8 are held as surrogate escapes. ``mode`` has the 12 permission bits only. ``size`` counts the
    bytes that ``chunks`` will give. ``target`` is a symlink's text as it is, or the ``path`` of an earlier
    entry of the same sequence for a hard link. ``mtime`` in seconds since the epoch; ``None`` means the
    image's own date. ``device`` is (major, minor). ``xattrs`` are (full name, value), sorted by name.
    """

    path: str
    kind: Kind
    mode: int
    size: int = 0
    chunks: Iterable[bytes] = ()
    target: str = ""
    mtime: int | None = None
    uid: int = 0
    gid: int = 0
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def with_content(self, chunks: Iterable[bytes], mtime: int | None) -> Entry:
        """The same with other chunks, of the same size, and another date."""
        # dataclasses.replace would do, five times slower, and there are tens of thousands
        return Entry(
            self.path,
            self.kind,
            self.mode,
            self.size,
            chunks,
            self.target,
            mtime,
            self.uid,
            self.gid,
            self.device,
            self.xattrs,
        )


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory entry."""
    return Entry(path, Kind.DIRECTORY, mode)


def file(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A file entry whose whole content is in memory."""
    return Entry(path, Kind.FILE, mode, len(data), (data,))


def symlink(path: str, target: str) -> Entry:
    """A symbolic link entry; ``target`` is stored as it is."""
    return Entry(path, Kind.SYMLINK, 0o777, target=target)


WHITEOUT = (("trusted.overlay.whiteout", b"y"),)
"""The attributes of a :func:`whiteout`."""


def whiteout(path: str) -> Entry:
    """An entry that removes what earlier sequences have at ``path``; a directory with all that is in it.

    An empty file with the attribute by which overlay file systems know whiteouts (Linux 6.7,
    Documentation/filesystems/overlayfs.rst).
    """
    return Entry(path, Kind.FILE, 0, xattrs=WHITEOUT)


def encode_path(path: str) -> bytes:
    """The bytes of a path on disk."""
    return path.encode("utf-8", "surrogateescape")


def decode_path(raw: bytes) -> str:
    """The path that :func:`encode_path` turns back into ``raw``."""
    return raw.decode("utf-8", "surrogateescape")


def is_safe_path(path: str) -> bool:
    """Whether ``path`` is relative, normalised and stays inside the root: the rule for untrusted archives."""
    framed = f"/{path}/"
    return not ("//" in framed or "/./" in framed or "/../" in framed or "\0" in path)
