"""Reading squashfs 4.0 images: untrusted input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from envpack.entry import Entry


class Squashfs:
    """A squashfs 4.0 image in ``file`` from ``offset``, compressed with gzip or zstd."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        raise NotImplementedError

    def entries(self) -> Iterator[Entry]:
        """Every path below the root, parents first, siblings in byte order; contents are read lazily.

        The second and later names of an inode are hard links to the first.
        """
        raise NotImplementedError

    def lookup(self, path: str) -> Entry:
        """The entry at ``path``, symlinks followed inside the image; FileNotFoundError if there is none."""
        raise NotImplementedError

    def read(self, path: str, limit: int = 1 << 26) -> bytes:
        """The content of the file at ``path`` (symlinks followed); refuses more than ``limit`` bytes."""
        raise NotImplementedError
