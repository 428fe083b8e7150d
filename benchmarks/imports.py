"""How long an import takes from a folder and from images: cold (nothing in the page cache) and again."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.contest import Absent
from benchmarks.measure import CommandFailed, call
from benchmarks.squashfuse import Squashfuse, programs
from envpack.run.image_file import open_image

PROGRAM = "import numpy, scipy, pandas, matplotlib"
# In a mount namespace of its own, where /tmp can be written: matplotlib wants a folder for its cache.
# The loader finds a program's own folder through /proc.
_ENTER = """
root=$1; shift
mount -t tmpfs none "$root/tmp" && mount --rbind /proc "$root/proc" && exec chroot "$root" "$@"
"""
# What this needs itself, without an image.
_PREPARE = 'mount -t tmpfs none "$1" && exec chroot / true'
PYTHON = "/opt/env/bin/python"
# A folder as it is, or how an image is mounted.
Way = Literal["folder", "kernel"] | Squashfuse


@dataclass(frozen=True)
class Place:
    """A root file system: a folder, or an image and what mounts it."""

    key: str
    title: str
    path: Path
    way: Way


@dataclass
class ImportRow:
    """Seconds, one for each round; ``through`` is what mounted the image, if a program did."""

    key: str
    title: str
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    through: str = ""

    @property
    def medians(self) -> tuple[float, float]:
        """Cold and warm."""
        return statistics.median(self.cold), statistics.median(self.warm)


def mounting() -> tuple[list[Way], list[Absent]]:
    """How this machine can mount images, squashfuse first and of these the one that goals are judged by; and
    how it cannot.
    """
    ways: list[Way] = [*programs()]
    absent = [] if ways else [Absent("import through squashfuse", "there is no squashfuse")]
    if os.geteuid() == 0:
        ways.append("kernel")
    else:
        absent.append(Absent("import from an image mounted by the kernel", "only root can mount"))
    return ways, absent


def title(way: Way) -> str:
    return way.title if isinstance(way, Squashfuse) else way


def measure_imports(
    places: Sequence[Place], rounds: int, folder: Path, say: Callable[[str], None]
) -> tuple[list[ImportRow], list[Absent]]:
    """Import in turn, every other round from the last place to the first; gives the rows, and who failed."""
    rows = {
        place.key: ImportRow(
            place.key, place.title, through=title(place.way) if isinstance(place.way, Squashfuse) else ""
        )
        for place in places
    }
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
                    _unshare(_PREPARE, empty.parent / "made")
                    cold, warm = (_import(root) for _ in range(2))
            except CommandFailed as error:
                failed[place.key] = Absent(f"import from {place.title}", f"it failed: {error}", place.key)
                say(f"import from {place.title}: {error}")
                continue
            rows[place.key].cold.append(cold)
            rows[place.key].warm.append(warm)
            say(f"{number + 1}/{rounds} import from {place.title}: {cold:.2f} s cold, {warm:.2f} s warm")
    return [row for key, row in rows.items() if key not in failed], list(failed.values())


def inside(root: Path, *command: str | Path) -> str:
    """Run a program in a root file system; gives its output. Raises :class:`CommandFailed`."""
    return _unshare(_ENTER, root, *command)


def _import(root: Path) -> float:
    begun = time.perf_counter()
    inside(root, PYTHON, "-c", PROGRAM)
    return time.perf_counter() - begun


def _unshare(script: str, *arguments: str | Path) -> str:
    who = [] if os.geteuid() == 0 else ["--map-root-user"]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}
    return call("unshare", "--mount", *who, "sh", "-c", script, "sh", *arguments, env=env)


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
        call(*place.way.command, "-o", offset, place.path, empty)
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
