"""Our images in the tools of others: squashfs-tools, the kernel, squashfuse. Needs root and these tools."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envpack.entry import Entry, Kind, decode_path
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from tests.unit.formats.squashfs.trees import BLOCK, GZIP, SMALL, everything, image, whole

pytestmark = pytest.mark.engines

KINDS = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}
ALL_OPTIONS = [SMALL, GZIP, Options(), Options("gzip", 9), Options("zstd", 15, 1 << 17)]


def walked(root: Path, xattrs: bool = True) -> dict[str, Entry]:
    """What is below a folder."""

    def entries(folder: Path) -> Iterator[Entry]:
        for path in sorted(folder.iterdir(), key=os.fsencode):
            status = path.lstat()
            name = decode_path(os.fsencode(path.relative_to(root)))
            kind = KINDS[stat.S_IFMT(status.st_mode)]
            key = (status.st_dev, status.st_ino)
            is_device = kind in (Kind.BLOCK_DEVICE, Kind.CHARACTER_DEVICE)
            entry = Entry(
                name,
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_size if kind is Kind.FILE else 0,
                (path.read_bytes(),) if kind is Kind.FILE else (),
                target=str(path.readlink()) if kind is Kind.SYMLINK else "",
                mtime=int(status.st_mtime),
                uid=status.st_uid,
                gid=status.st_gid,
                device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if is_device else (0, 0),
                xattrs=attributes(path) if xattrs else (),
            )
            if kind is not Kind.DIRECTORY and status.st_nlink > 1:
                first = linked.setdefault(key, name)
                if first != name:
                    entry = Entry(name, Kind.HARDLINK, 0, target=first)
            yield entry
            if kind is Kind.DIRECTORY:
                yield from entries(path)

    linked: dict[tuple[int, int], str] = {}
    return whole(entries(root))


def attributes(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def without_xattrs(entries: dict[str, Entry]) -> dict[str, Entry]:
    return {
        path: Entry(e.path, e.kind, e.mode, e.size, e.chunks, e.target, e.mtime, e.uid, e.gid, e.device)
        for path, e in entries.items()
    }


def run(*command: str | Path) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def mounted(path: Path, offset: int = 0) -> Iterator[Path]:
    point = path.with_name(path.name + ".mounted")
    point.mkdir()
    run("mount", "-o", f"loop,ro,offset={offset}", path, point)
    try:
        yield point
    finally:
        run("umount", point)


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=Options.key)
def test_unsquashfs_unpacks_everything(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "image"
    path.write_bytes(image(everything(), options=options)[0])
    run("unsquashfs", "-no-xattrs", "-no-progress", "-d", tmp_path / "out", path)
    assert walked(tmp_path / "out", xattrs=False) == without_xattrs(whole(everything()))


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=Options.key)
def test_the_kernel_reads_everything(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "image"
    path.write_bytes(image(everything(), options=options, offset=4096)[0])
    with mounted(path, 4096) as point:
        # Looked up one by one before anything is listed: the kernel goes through the directory's index.
        for i in range(0, 2000, 7):
            assert (point / f"many/{i:04}-{'n' * 40}").read_bytes() == b"%04d" % i
        assert not (point / "many/0500").exists()
        assert walked(point) == whole(everything())
        if options.block_size == BLOCK:
            assert (point / "sparse").stat().st_blocks * 512 == BLOCK  # the other three are holes


def test_squashfuse_reads_everything(tmp_path: Path) -> None:
    path, point = tmp_path / "image", tmp_path / "mounted"
    path.write_bytes(image(everything(), options=Options())[0])
    point.mkdir()
    run("squashfuse", path, point)
    try:
        # squashfuse gives the attributes of namespace user only, and knows no hard links' numbers.
        assert walked(point, xattrs=False).keys() == whole(everything()).keys()
        for entry in everything():
            if entry.kind is Kind.FILE:
                assert (point / entry.path).read_bytes() == b"".join(entry.chunks)
    finally:
        run("umount", point)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-comp", "gzip"],
        ["-comp", "gzip", "-noI", "-noD", "-noF", "-noX", "-noId"],
        ["-comp", "zstd", "-Xcompression-level", "3", "-b", "4096"],
        ["-comp", "zstd", "-b", "1M", "-always-use-fragments"],
        ["-comp", "zstd", "-no-fragments", "-no-exports"],
    ],
    ids=" ".join,
)
def test_images_of_mksquashfs_are_read(tmp_path: Path, arguments: list[str]) -> None:
    path, copy = tmp_path / "image", tmp_path / "copy"
    path.write_bytes(image(everything())[0])
    with mounted(path) as point:
        run("mksquashfs", point, copy, "-no-progress", "-quiet", *arguments)
    with copy.open("rb") as opened:
        assert whole(Squashfs(opened).entries()) == whole(everything())
