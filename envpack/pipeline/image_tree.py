"""The files of an image, for the reader of installed environments."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envpack.entry import Kind
from envpack.errors import SourceError
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs

_SQUASHFS_MAGIC = b"hsqs"
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_MAGIC_OFFSET = 32


class ImageTree:
    """A squashfs image as an :class:`envpack.sources.rooted.Tree`.

    Every method raises :class:`IntegrityError` for an image that is damaged.
    """

    def __init__(self, image: Squashfs) -> None:
        self._image = image

    def has_folder(self, path: str) -> bool:
        """Whether ``path`` is a folder."""
        found = self._image.lookup(path)
        return found is not None and found.kind is Kind.DIRECTORY

    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``."""
        return self._image.lookup(path) is not None

    def names(self, path: str) -> list[str]:
        """The names in the folder ``path``. Raises ``OSError``."""
        names = self._image.names(path)
        if names is None:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return names

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of the file ``path``. Raises ``OSError``, also for more than ``limit``."""
        found = self._image.lookup(path)
        if found is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if found.kind is not Kind.FILE:
            raise OSError(errno.EINVAL, "it is not a file")
        if found.size > limit:
            raise OSError(errno.EFBIG, f"it is longer than {limit >> 20} MiB")
        return b"".join(found.chunks)


def is_image(path: Path) -> bool:
    """Whether the file ``path`` is a SIF file or a squashfs image, by its first bytes."""
    try:
        # A fifo would wait for a writer.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_SIF_MAGIC_OFFSET + len(_SIF_MAGIC))
    except OSError:
        return False
    return head.startswith(_SQUASHFS_MAGIC) or head.endswith(_SIF_MAGIC)


@contextmanager
def opened(path: Path, shown: str) -> Iterator[ImageTree]:
    """The files of the image ``path``, a SIF file or a squashfs image, while it is open.

    Raises :class:`SourceError` when it is neither or cannot be read, :class:`IntegrityError` when it is
    damaged.
    """
    if not is_image(path):
        raise SourceError(
            f"{shown} is not an image",
            why="it is absent, or neither a SIF file nor a squashfs image",
            hint="Name a .sif file.",
        )
    with path.open("rb") as file:
        file.seek(_SIF_MAGIC_OFFSET)
        offset = sif.read(path).partition().offset if file.read(len(_SIF_MAGIC)) == _SIF_MAGIC else 0
        yield ImageTree(Squashfs(file, offset))
