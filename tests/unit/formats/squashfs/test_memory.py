"""Memory for each file while an image is assembled."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

from envpack.entry import Entry, file
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.index import Segment
from tests.unit.formats.squashfs.trees import EPOCH, SMALL, segment

# Measured: 370, of which 150 are the packed index; 1000 with an object for each.
MOST = 450
PACKAGES, FILES = 20, 500


def package(number: int) -> list[Entry]:
    """Files as python's packages have them: long paths, some fifteen in a folder."""
    top = f"opt/env/lib/python3.12/site-packages/package_{number:02}"
    return [
        file(f"{top}/part_{n // 15:02}/__pycache__/module_{n}.cpython-312.pyc", b"%d %d" % (number, n))
        for n in range(FILES)
    ]


def used(segments: list[Path]) -> int:
    """The most bytes at once while an image of these is made, from opening them on."""
    tracemalloc.start()
    try:
        assemble(io.BytesIO(), 0, [Segment.open(path) for path in segments], SMALL, EPOCH)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_for_each_file(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(PACKAGES)]
    for number, path in enumerate(paths):
        path.write_bytes(segment(package(number)))
    few = paths[: PACKAGES // 4]
    used(few)  # what is loaded or made once
    each = (used(paths) - used(few)) / ((len(paths) - len(few)) * FILES)
    assert each < MOST
