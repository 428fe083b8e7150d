"""Cached segments: what a package or a base image contributes to a file system, made once.

A segment depends on nothing but the bytes it is made from, the prefix and python it is linked for, and how
it is compressed; its name in the cache is a hash of all these.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path

from envpack.cache import Cache, cannot_write
from envpack.entry import Entry
from envpack.errors import IntegrityError
from envpack.formats.squashfs import segment
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.segment_file import read_tail, verify_data

# Part of every key: raise it when linking the same package gives other entries than before.
LINKING = 3


class Segments:
    """Makes and finds segments; ``folder`` is this build's own, ``pool`` compresses.

    What is found is compared with its checksums, in the pool, while the build goes on: whoever writes
    something made of segments calls :meth:`settle` before.
    """

    def __init__(self, cache: Cache, folder: Path, options: Options, pool: Executor) -> None:
        self._cache, self._folder, self._options, self._pool = cache, folder, options, pool
        self._stopped = threading.Event()
        self._found: dict[Path, tuple[int, Future[None]]] = {}  # inode, and what comparing it gives
        self.made = False  # any segment: whether the cache had all of them

    def stop(self) -> None:
        """Have what other threads are writing end with :class:`CancelledError`."""
        self._stopped.set()

    def get(self, parts: Iterable[str], entries: Callable[[], Iterable[Entry]]) -> Path:
        """The segment made from ``parts`` (whatever it depends on); ``entries`` makes it if need be."""
        text = "\0".join([str(LINKING), self._options.key(), *parts])
        path = self._cache.segment(hashlib.sha256(text.encode()).hexdigest())
        if self._cache.use(path) and self._is_whole(path):
            return path
        self.made = True
        self._cache.keep(self._write(path.name, entries()), path, durably=False)
        return path

    def settle(self) -> None:
        """Raise :class:`IntegrityError` if a segment that was found is damaged."""
        for _, compared in self._found.values():
            compared.result()

    def discard_damaged(self) -> list[Path]:
        """Remove the damaged ones from the cache, to be made anew. Raises :class:`OutputError`."""
        damaged = []
        for path, (inode, compared) in self._found.items():
            if isinstance(compared.exception(), IntegrityError):
                self._cache.discard(path, inode)
                damaged.append(path)
        return damaged

    def write(self, name: str, entries: Iterable[Entry]) -> Segment:
        """A segment of this build alone, in its own folder. Raises :class:`OutputError`."""
        return Segment.open(self._write(name, entries))

    def _is_whole(self, path: Path) -> bool:
        """Whether a segment is there and its index is as it was written; its data are compared meanwhile."""
        try:
            inode = path.stat().st_ino
        except OSError:  # gone: another command found it damaged
            return False
        try:
            tail = read_tail(path)
        except IntegrityError:
            self._cache.discard(path, inode)
            return False
        if path not in self._found:
            compared = self._pool.submit(verify_data, path, tail.data_size, tail.data_digest)
            self._found[path] = inode, compared
        return True

    def _write(self, name: str, entries: Iterable[Entry]) -> Path:
        path = self._folder / name
        try:
            with path.open("w+b") as out:
                segment.write_segment(self._until_stopped(entries), out, self._options, self._pool)
        except OSError as error:
            raise cannot_write(self._cache.root, error) from error
        return path

    def _until_stopped(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if self._stopped.is_set():
                raise CancelledError
            yield entry
