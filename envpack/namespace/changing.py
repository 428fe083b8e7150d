"""Running programs in an image and learning what they changed in it, from the side that starts it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envpack import process
from envpack.entry import Entry, Kind, whiteout
from envpack.errors import EngineError
from envpack.namespace import program

_PIECE = 1 << 20
_KINDS = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
}


@dataclass(frozen=True, slots=True)
class Run:
    """One program to be run in the image: the first of ``programs`` that is there, with ``arguments``.

    ``folder`` is its working folder; what it leaves in the file ``message_file`` is taken from there.
    """

    programs: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    message_file: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What :mod:`envpack.namespace.change` does, in the words of ``plan.json``.

    The image is mounted by the command ``squashfuse`` (to which the mount point is added), or lies in the
    folder ``unpacked``, which is written to. What changes below the absolute path ``watched`` is kept;
    ``log`` is a file for what the programs say.
    """

    squashfuse: tuple[str, ...]
    unpacked: str
    watched: str
    log: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: its exit code (128 + n if signal n ended it), its last output, and its message."""

    code: int
    output: str
    message: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What all runs made of the image.

    ``inside`` are the entries to lay over what is watched, whiteouts for what is gone; they can be read as
    long as the folder exists. ``outside`` are the paths that changed elsewhere.
    """

    outcomes: tuple[Outcome, ...]
    inside: tuple[Entry, ...]
    outside: tuple[str, ...]


class NotDone(Exception):
    """A step of the program failed, in the words of its report; other ways may do."""

    def __init__(self, failed: Mapping[str, Any]) -> None:
        super().__init__(failed["step"])
        self.failed = failed

    def __str__(self) -> str:
        """One line."""
        return f"{self.failed['step']}: {self.failed['text']}"


def change(plan: Plan, folder: Path, on_run: Callable[[int], None]) -> Changed:
    """Do what is planned with ``folder``, a new one, for all files; ``on_run`` is told when each run begins.

    Raises :class:`NotDone` when the machine does not allow a step.
    """
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), "utf-8")
    said: list[str] = []

    def heard(line: str) -> None:
        if line.isdigit():
            on_run(int(line))
        else:
            said.append(line)

    process.follow(program.command("change", folder), heard)
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise EngineError(
            "what runs packages' scripts ended before its time", why="\n".join(said[-5:])
        ) from None
    if "failed" in report:
        raise NotDone(report["failed"])
    found = json.loads((folder / "changes.json").read_text("utf-8"))
    return Changed(
        tuple(Outcome(**outcome) for outcome in report["runs"]),
        tuple(_entries(found["inside"], folder / "contents")),
        tuple(found["outside"]),
    )


def _entries(changes: Sequence[Mapping[str, Any]], contents: Path) -> Iterator[Entry]:
    """The changes as entries, their owner root and their date the image's; sockets are left out."""
    for found in changes:
        path, kind = found["path"], found["kind"]
        if kind is None:
            yield whiteout(path)
        elif "first" in found:
            yield Entry(path, Kind.HARDLINK, found["mode"], target=found["first"])
        elif kind in _KINDS:
            size, offset = found.get("size", 0), found.get("offset", 0)
            yield Entry(
                path,
                _KINDS[kind],
                found["mode"],
                size,
                _Chunks(contents, offset, size) if size else (),
                found.get("target", ""),
            )


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Some bytes of a file, as often as they are asked for."""

    path: Path
    offset: int
    size: int

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.size
            while left and (piece := file.read(min(left, _PIECE))):
                left -= len(piece)
                yield piece
