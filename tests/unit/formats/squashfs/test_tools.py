"""Our images in the tools of others: squashfs-tools, the kernel, squashfuse. Needs root and these tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.entry import Kind
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from tests.unit.formats.squashfs.readers import mounted, run, walked, without_xattrs
from tests.unit.formats.squashfs.trees import BLOCK, GZIP, SMALL, everything, image, whole

pytestmark = pytest.mark.engines

ALL_OPTIONS = [SMALL, GZIP, Options(), Options("gzip", 9), Options("zstd", 15, 1 << 17)]


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
