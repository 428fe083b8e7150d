"""Writing segments."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

from envpack.entry import Entry
from envpack.formats.squashfs.options import Options


def write_segment(entries: Iterable[Entry], out: BinaryIO, options: Options, pool: Executor) -> None:
    """Write ``entries`` as one segment file to ``out`` (at its current position, which must be 0).

    Blocks are compressed in ``pool`` (threads); the bytes written do not depend on their number. Contents
    are read in order, once, in pieces. Equal contents up to some blocks are stored once. Raises
    :class:`IntegrityError` for entries no image can hold: unsafe paths, a hard link to something that
    did not come before, contents of another length than announced.
    """
    raise NotImplementedError


def verify(path: Path) -> None:
    """Read all of a segment and compare with its checksums; raises :class:`IntegrityError`."""
    raise NotImplementedError
