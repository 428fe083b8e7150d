"""What others read in an image, as entries: the kernel, squashfuse, unsquashfs and PySquashfsImage.

The first three need these tools and root.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from envpack.entry import Entry, Kind, decode_path
from tests.unit.formats.squashfs.trees import whole

KINDS = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


def walked(root: Path, *, xattrs: bool = True, hard_links: bool = True) -> dict[str, Entry]:
    """What is below a folder. Without ``hard_links`` every name is taken for a file of its own."""

    def entries(folder: bytes, start: bytes) -> Iterator[Entry]:
        with os.scandir(folder) as found:
            names = sorted(item.name for item in found)
        for name in names:
            path = folder + b"/" + name
            status = os.lstat(path)
            kind = KINDS[stat.S_IFMT(status.st_mode)]
            entry = Entry(
                decode_path(start + name),
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_size if kind is Kind.FILE else 0,
                (Path(os.fsdecode(path)).read_bytes(),) if kind is Kind.FILE else (),
                target=str(Path(os.fsdecode(path)).readlink()) if kind is Kind.SYMLINK else "",
                mtime=int(status.st_mtime),
                uid=status.st_uid,
                gid=status.st_gid,
                device=_device(status.st_rdev) if kind in DEVICES else (0, 0),
                xattrs=attributes(path) if xattrs else (),
            )
            if hard_links and kind is not Kind.DIRECTORY and status.st_nlink > 1:
                first = linked.setdefault((status.st_dev, status.st_ino), entry.path)
                if first != entry.path:
                    entry = Entry(entry.path, Kind.HARDLINK, 0, target=first)
            yield entry
            if kind is Kind.DIRECTORY:
                yield from entries(path, start + name + b"/")

    linked: dict[tuple[int, int], str] = {}
    return whole(entries(os.fsencode(root), b""))


DEVICES = (Kind.BLOCK_DEVICE, Kind.CHARACTER_DEVICE)


def _device(number: int) -> tuple[int, int]:
    return os.major(number), os.minor(number)


def attributes(path: bytes) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes of a path."""
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # the image has no attributes at all
            return ()
        raise
    found = []
    for name in names:
        try:
            found.append((name, os.getxattr(path, name, follow_symlinks=False)))
        except OSError as error:
            if error.errno != errno.ENODATA:  # squashfuse's answer for an empty one
                raise
    return tuple(found)


def without_xattrs(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The same entries as a reader that gives no attributes has them."""
    return {path: replace(entry, xattrs=()) for path, entry in entries.items()}


def without_hard_links(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The same entries as a reader that gives no inode numbers has them."""
    found = {}
    for path, entry in entries.items():
        original = entries[entry.target] if entry.kind is Kind.HARDLINK else entry
        found[path] = replace(original, path=path)
    return found


def run(*command: str | Path) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def mounted(path: Path, offset: int = 0) -> Iterator[Path]:
    """The image at ``path``, mounted by the kernel."""
    point = path.with_name(path.name + ".mounted")
    point.mkdir()
    run("mount", "-o", f"loop,ro,offset={offset}", path, point)
    try:
        yield point
    finally:
        run("umount", point)


@contextmanager
def fuse_mounted(path: Path) -> Iterator[Path]:
    """The image at ``path``, mounted by squashfuse, for which every mode is only a number."""
    point = path.with_name(path.name + ".fuse")
    point.mkdir()
    run("squashfuse", path, point)
    try:
        yield point
    finally:
        run("umount", point)


@contextmanager
def unpacked(path: Path, *options: str) -> Iterator[Path]:
    """The image at ``path``, unpacked by unsquashfs."""
    folder = path.with_name(path.name + ".unpacked")
    run("unsquashfs", "-no-progress", "-quiet", *options, "-d", folder, path)
    yield folder


def by_pysquashfsimage(path: Path) -> dict[str, Entry]:
    """What PySquashfsImage reads, which are names in UTF-8, and no attributes."""
    from PySquashfsImage import SquashFsImage  # type: ignore[import-untyped] # it has no types

    first: dict[int, str] = {}

    def entries() -> Iterator[Entry]:
        for item in image:
            if item.parent is None:
                continue
            kind = KINDS[stat.S_IFMT(item.mode)]
            number = item.inode._header.inode_number
            name = item.path[1:]
            if first.setdefault(number, name) != name:
                yield Entry(name, Kind.HARDLINK, 0, target=first[number])
                continue
            yield Entry(
                name,
                kind,
                stat.S_IMODE(item.mode),
                item.size if kind is Kind.FILE else 0,
                (item.read_bytes(),) if kind is Kind.FILE else (),
                target=item.readlink() if kind is Kind.SYMLINK else "",
                mtime=item.time,
                uid=item.uid,
                gid=item.gid,
                device=(item.major, item.minor) if kind in DEVICES else (0, 0),
            )

    with SquashFsImage.from_file(str(path)) as image:
        return whole(entries())
