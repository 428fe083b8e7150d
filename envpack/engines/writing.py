"""Writing a squashfs image into a file: copied, hashed and on the disk at about the same time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from envpack.formats.squashfs.image import Image


@dataclass(frozen=True, slots=True)
class Written:
    """A file: its bytes, and their sha256 (hexadecimal)."""

    size: int
    sha256: str


def write(
    out: BinaryIO,
    image: Image,
    settle: Callable[[], None],
    offset: int = 0,
    head: Callable[[], bytes] = bytes,
) -> Written:
    """Write the ``offset`` bytes of ``head`` and the image behind them into an empty file.

    The data are on their way while tables are made and everything is hashed. ``settle`` is called when it is
    there, and raises what would make it wrong.
    """

    def write_data() -> None:
        image.write_data(out, offset)
        out.flush()
        os.fsync(out.fileno())

    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        written = pool.submit(write_data)
        start = head()
        digest = hashlib.sha256(start)
        for piece in image.pieces():
            digest.update(piece)
        written.result()
    settle()
    out.seek(0)
    out.write(start)
    image.write_tables(out, offset)
    return Written(out.tell(), digest.hexdigest())
