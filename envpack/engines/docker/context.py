"""The build context: a folder as the tar that Docker's API takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from envpack.entry import Entry, Kind, directory, symlink
from envpack.errors import EngineError
from envpack.formats import tar

_PIECE = 1 << 20


def archive(folder: Path, epoch: int) -> Iterator[bytes]:
    """Everything in ``folder``, sorted, as a tar in pieces, which are read as they are asked for.

    Owners are 0, dates ``epoch`` (seconds) and permissions 755 or 644, so that the same files are the same
    context, whoever wrote them. Raises :class:`EngineError` for what cannot be read.
    """
    try:
        yield from tar.archive(_entries(folder, ""), epoch)
    except OSError as error:
        raise EngineError(
            f"cannot read the recipe in {folder}",
            why=f"{error.filename}: {error.strerror}",
            hint="The same command writes it anew; see who may read that folder.",
        ) from error


def _entries(folder: Path, below: str) -> Iterator[Entry]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path = f"{below}{item.name}"
        if item.is_symlink():
            yield symlink(path, str(Path(item.path).readlink()))
        elif item.is_dir():
            yield directory(path)
            yield from _entries(Path(item.path), f"{path}/")
        elif item.is_file():
            about = item.stat()
            mode = 0o755 if about.st_mode & 0o100 else 0o644
            yield Entry(path, Kind.FILE, mode, about.st_size, _content(Path(item.path)))


def _content(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
