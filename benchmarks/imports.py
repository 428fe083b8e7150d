"""How long an import takes from a folder and from images: cold (nothing in the page cache) and again."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.contest import Absent
from benchmarks.measure import CommandFailed, call
from envpack.run.image_file import open_image

PROGRAM = "import numpy, scipy, pandas, matplotlib"
# In a mount namespace of its own, where /tmp can be written: matplotlib wants a folder for its cache.
# The loader finds a program's own folder through /proc.
ENTER = """
mount -t tmpfs none "$1/tmp" && mount --rbind /proc "$1/proc" && exec chroot "$1" /opt/env/bin/python -c "$2"
"""
Way = Literal["folder", "squashfuse", "kernel"]
MOUNTED: tuple[Way, ...] = ("squashfuse", "kernel")


@dataclass(frozen=True)
class Place:
    """A root file system: a folder, or an image and what mounts it."""

    key: str
    title: str
    path: Path
    way: Way


@dataclass
class ImportRow:
    """Seconds, one for each round."""

    key: str
    title: str
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float]:
        """Cold and warm."""
        return statistics.median(self.cold), statistics.median(self.warm)


def missing(way: Way) -> str | None:
    """Why this machine cannot mount images so; ``None`` if it can."""
    if way == "squashfuse" and not _squashfuse():
        return "there is no squashfuse"
    if way == "kernel" and os.geteuid() != 0:
        return "only root can mount"
    return None


def measure_imports(
    places: Sequence[Place], rounds: int, folder: Path, say: Callable[[str], None]
) -> tuple[list[ImportRow], list[Absent]]:
    """Import in turn, every other round from the last place to the first; gives the rows, and who failed."""
    rows = {place.key: ImportRow(place.key, place.title) for place in places}
    failed: dict[str, Absent] = {}
    empty = folder / "mount"
    empty.mkdir(exist_ok=True)
    for number in range(rounds):
        for place in places if number % 2 == 0 else reversed(places):
            if place.key in failed:
                continue
            _forget(place.path)
            try:
                with _mounted(place, empty) as root:
                    # What the measurement itself needs is read again first.
                    _enter('mount -t tmpfs none "$1" && exec chroot / true', empty.parent / "made", "")
                    cold, warm = (_enter(ENTER, root, PROGRAM) for _ in range(2))
            except CommandFailed as error:
                failed[place.key] = Absent(f"import from {place.title}", f"it failed: {error}")
                say(f"import from {place.title}: {error}")
                continue
            rows[place.key].cold.append(cold)
            rows[place.key].warm.append(warm)
            say(f"{number + 1}/{rounds} import from {place.title}: {cold:.2f} s cold, {warm:.2f} s warm")
    return [row for key, row in rows.items() if key not in failed], list(failed.values())


def _enter(script: str, root: Path, program: str) -> float:
    """Seconds that a script takes in a mount namespace."""
    who = [] if os.geteuid() == 0 else ["--map-root-user"]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}
    begun = time.perf_counter()
    call("unshare", "--mount", *who, "sh", "-c", script, "sh", root, program, env=env)
    return time.perf_counter() - begun


def _forget(path: Path) -> None:
    """Drop what the page cache has: everything as root, else of these files."""
    os.sync()
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    for file in files:
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _squashfuse() -> str | None:
    # As Apptainer does: the one on FUSE's low level interface is the faster.
    return shutil.which("squashfuse_ll") or shutil.which("squashfuse")


@contextmanager
def _mounted(place: Place, empty: Path) -> Iterator[Path]:
    """The root of a place, mounted on the folder ``empty`` if it is an image."""
    if place.way == "folder":
        yield place.path
        return
    offset = f"offset={open_image(place.path).offset}"
    if place.way == "kernel":
        call("mount", "-t", "squashfs", "-o", f"loop,ro,{offset}", place.path, empty)
        unmount = ["umount"]
    else:
        program = _squashfuse()
        assert program
        call(program, "-o", offset, place.path, empty)
        unmount = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
    try:
        yield empty
    finally:
        for _ in range(50):
            try:
                call(*unmount, empty)
                break
            except CommandFailed:  # busy
                time.sleep(0.1)
