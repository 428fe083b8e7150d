"""Files somebody else made, in a folder or an image: links are followed as from a root, never out of it."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from envpack.errors import Location, Problem, SourceError

T = TypeVar("T")
MAX_LINKS = 40  # as Linux


class Tree(Protocol):
    """Files below something that is a root to them. Links are followed, never out of it."""

    def has_folder(self, path: str) -> bool:
        """Whether ``path`` is a folder."""

    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``."""

    def names(self, path: str) -> list[str]:
        """The names in the folder ``path``, in any order. Raises ``OSError``."""

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of the file ``path``. Raises ``OSError``, also for more than ``limit``."""


class Folder:
    """The folder ``top`` as a :class:`Tree`."""

    def __init__(self, top: Path) -> None:
        self._top = top.resolve()

    def resolve(self, path: str) -> Path:
        """Where ``path`` leads, which need not exist. Raises ``OSError`` for links that go round."""
        done: list[str] = []
        ahead = _parts(path)
        links = 0
        while ahead:
            part = ahead.pop()
            if part == "..":
                del done[-1:]
                continue
            here = self._top.joinpath(*done, part)
            try:
                target = str(here.readlink())
            except OSError:  # no link, or nothing
                done.append(part)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                done = []
            ahead += _parts(target)
        return self._top.joinpath(*done)

    def has_folder(self, path: str) -> bool:
        """Whether ``path`` is a folder."""
        try:
            return self.resolve(path).is_dir()
        except OSError:
            return False

    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``."""
        try:
            return os.path.lexists(self.resolve(path))
        except OSError:
            return False

    def names(self, path: str) -> list[str]:
        """The names in the folder ``path``. Raises ``OSError``."""
        return os.listdir(self.resolve(path))  # noqa: PTH208 as text

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of the file ``path``. Raises ``OSError``, also for more than ``limit``."""
        return _read(self.resolve(path), limit)


class Rooted:
    """The files of ``tree``, with ``/`` as their root; ``shown`` is what messages call it."""

    def __init__(self, tree: Tree, shown: str) -> None:
        self._tree = tree
        self.shown = shown
        self.has_folder = tree.has_folder
        self.has = tree.has

    def at(self, path: str) -> Location:
        """``path`` as messages name it; what cannot be printed is shown as U+FFFD."""
        name = os.path.normpath(f"{self.shown}/{path}")
        return Location("".join(letter if letter.isprintable() else "\ufffd" for letter in name))

    def names(self, path: str) -> list[str]:
        """The names in the folder ``path``, sorted. Raises :class:`SourceError`."""
        return self._told(path, lambda: sorted(self._tree.names(path)))

    def read(self, path: str, limit: int) -> bytes:
        """The bytes of the file ``path``. Raises :class:`SourceError`, also for more than ``limit``."""
        return self._told(path, lambda: self._tree.read(path, limit))

    def read_object(self, path: str, limit: int) -> dict[str, Any]:
        """The JSON object in the file ``path``. Raises :class:`SourceError`."""
        try:
            found = json.loads(self.read(path, limit))
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise SourceError("the file is not JSON", where=self.at(path), why=why) from None
        if not isinstance(found, dict):
            raise SourceError("the file is not a JSON object", where=self.at(path))
        return found

    def _told(self, path: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise SourceError("cannot be read", where=self.at(path), why=error.strerror) from error


def problem(error: SourceError) -> Problem:
    """``error`` as one of several."""
    return Problem(error.what, error.where, error.why, error.hint)


def _parts(path: str) -> list[str]:
    """The parts of ``path``, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _read(path: Path, limit: int) -> bytes:
    # A fifo would wait for a writer, a device would do whatever it does.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is longer than {limit >> 20} MiB")
    return data
