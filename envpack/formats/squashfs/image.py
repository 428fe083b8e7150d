"""Assembling an image from segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from envpack.formats.squashfs.options import Options


class Overwritten(NamedTuple):
    """A path that two segments give and that cannot be merged; segments by their position."""

    path: str
    loser: int
    winner: int


@dataclass(frozen=True, slots=True)
class Assembled:
    """What was written. ``size`` in bytes is a multiple of 4096; ``bytes`` counts file contents unpacked."""

    size: int
    inodes: int
    files: int
    directories: int
    bytes: int
    overwritten: tuple[Overwritten, ...]
    digest: bytes  # sha256 over the options, the epoch and the segments' digests: stands for the content


def assemble(out: BinaryIO, offset: int, segments: Sequence[Path], options: Options, epoch: int) -> Assembled:
    """Write the file system made of ``segments`` into ``out`` (read-write, seekable), starting at ``offset``.

    Later segments win; directories merge, with the later one's mode, owner and mtime; a path below a
    symlink to a directory lands in that directory. ``epoch`` (seconds) is the image's date and that of
    entries without one. Raises :class:`IntegrityError` for damaged segments or ones of other options.
    """
    raise NotImplementedError
