"""The reader on images that lie: an IntegrityError each time, never a crash, a loop or a flood of memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.entry import Entry, Kind, directory, file, symlink
from envpack.errors import IntegrityError
from envpack.formats.squashfs import image as image_module
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.codec import decompressor
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import GZIP_ID, ZSTD_ID, Options
from envpack.formats.squashfs.reader import Squashfs
from tests.unit.formats.squashfs.trees import BLOCK, EPOCH, SMALL, image, pattern, segment

LIMIT = 1000


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image whose tables are not compressed, so that a changed byte is a changed field."""
    entries = [
        directory("folder"),
        file("folder/a", pattern(2 * BLOCK + 5, 1)),
        Entry("folder/b", Kind.FILE, 0o644, 5, (b"hello",), xattrs=(("user.a", b"1"), ("user.b", b"2"))),
        Entry("folder/c", Kind.HARDLINK, 0, target="folder/a"),
        symlink("link", "folder/a"),
        Entry("null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
        Entry("pipe", Kind.FIFO, 0o666),
    ]
    path = tmp_path_factory.mktemp("plain") / "segment"
    path.write_bytes(segment(entries))
    out = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_module, "compressor", lambda _: lambda data: data)
        image_module.assemble(out, 0, [Segment.open(path)], SMALL, EPOCH)
    return out.getvalue()


def read_all(data: bytes) -> int:
    """Read every content of an image, but only so much of each; the number of entries."""
    count = 0
    for entry in Squashfs(io.BytesIO(data)).entries():
        for _, _ in zip(entry.chunks, range(LIMIT), strict=False):
            pass
        count += 1
        assert count < LIMIT
    return count


def changed(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def test_the_plain_image_is_read(plain: bytes) -> None:
    assert read_all(plain) == 7


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_bytes_are_survived(plain: bytes, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([0, layout.SUPERBLOCK.unpack_from(plain)[15]]), "region")
    image_bytes = plain
    for _ in range(data.draw(st.integers(1, 3), "changes")):
        position = data.draw(st.integers(start, len(plain.rstrip(b"\0"))), "position")
        new = data.draw(
            st.sampled_from([b"\0", b"\xff", b"\xff" * 4, b"\x01\0"]) | st.binary(min_size=1, max_size=4)
        )
        image_bytes = changed(image_bytes, position, new)
    with suppress(IntegrityError):
        read_all(image_bytes)


@given(size=st.integers(0, 3 * BLOCK))
def test_cut_images_are_told(plain: bytes, size: int) -> None:
    used = layout.SUPERBLOCK.unpack_from(plain)[12]
    with pytest.raises(IntegrityError):
        read_all(plain[: min(size, used - 1)])


SUPERBLOCK_FIELDS = {
    "magic": (0, "<I", 1),
    "block size": (12, "<I", 1 << 31),
    "compressor": (20, "<H", 5),
    "log2": (22, "<H", 40),
    "version": (28, "<H", 3),
    "root": (32, "<Q", 1 << 40),
    "bytes used": (40, "<Q", 1 << 40),
    "ids": (48, "<Q", 1 << 63),
    "inodes": (64, "<Q", (1 << 64) - 8),
}


@pytest.mark.parametrize("name", SUPERBLOCK_FIELDS)
def test_impossible_superblocks_are_told(plain: bytes, name: str) -> None:
    position, form, value = SUPERBLOCK_FIELDS[name]
    with pytest.raises(IntegrityError):
        read_all(changed(plain, position, struct.pack(form, value)))


def test_foreign_compressors_are_named(plain: bytes) -> None:
    with pytest.raises(IntegrityError, match="lz4"):
        Squashfs(io.BytesIO(changed(plain, 20, b"\x05\0")))


def test_a_directory_in_itself_is_told(plain: bytes) -> None:
    fields = layout.SUPERBLOCK.unpack_from(plain)
    root_offset, listings = fields[11] & 0xFFFF, fields[16]
    position = plain.index(b"folder", listings) - layout.RUN_ENTRY.size
    looped = changed(plain, position, struct.pack("<H", root_offset))
    # The root itself is not in the walk, so its own listing meets it at once.
    with pytest.raises(IntegrityError, match="two names"):
        read_all(looped)


@pytest.mark.parametrize("name", [b"..lder", b"a/lder", b"fo\0der", b"zolder"])
def test_names_that_would_escape_are_refused(plain: bytes, name: bytes) -> None:
    listings = layout.SUPERBLOCK.unpack_from(plain)[16]
    position = plain.index(b"folder", listings)
    bad = changed(plain, position, name)
    if name == b"..lder":  # shorten it to ".." exactly
        bad = changed(bad, position - 2, struct.pack("<H", 1))
    with pytest.raises(IntegrityError):
        read_all(bad)


def test_large_symlinks_are_refused(plain: bytes) -> None:
    inodes = layout.SUPERBLOCK.unpack_from(plain)[15]
    position = plain.index(struct.pack("<I", 8) + b"folder/a", inodes)
    with pytest.raises(IntegrityError, match="a symlink has"):
        read_all(changed(plain, position, struct.pack("<I", 1 << 31)))


PACK: dict[int, Callable[[bytes], bytes]] = {
    GZIP_ID: zlib.compress,
    ZSTD_ID: lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("compression", PACK)
def test_blocks_that_unpack_to_too_much_are_refused(compression: int) -> None:
    decompress = decompressor(compression)
    pack = PACK[compression]
    assert decompress(pack(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    for bad in (pack(bytes(LIMIT + 1)), pack(bytes(100 << 20)), pack(bytes(LIMIT))[:-1], b"", b"nonsense"):
        with pytest.raises(IntegrityError):
            decompress(bad, LIMIT)


def test_zstd_frames_without_a_size_are_bounded_too() -> None:
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(LIMIT + 1))
    with pytest.raises(IntegrityError):
        decompressor(ZSTD_ID)(packed, LIMIT)
    # A frame header that announces 2**60 bytes must not make the reader allocate them.
    announced = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 60) + b"\x01\0\0"
    with pytest.raises(IntegrityError):
        decompressor(ZSTD_ID)(announced, LIMIT)


TREE = [
    directory("usr/bin"),
    file("usr/bin/tool", b"tool"),
    symlink("bin", "/usr/bin"),
    symlink("usr/up", "../../.."),
    symlink("loop", "loop"),
    file("large", bytes(3 * BLOCK)),
]


@pytest.mark.parametrize("path", ["usr/bin/tool", "bin/tool", "/bin/tool", "usr/up/bin/../bin/./tool"])
def test_files_are_found_through_symlinks(path: str) -> None:
    data, _ = image(TREE)
    squashfs = Squashfs(io.BytesIO(data))
    assert squashfs.read(path) == b"tool"
    entry = squashfs.lookup(path)
    assert entry is not None
    assert (entry.path, entry.kind, entry.size) == (path, Kind.FILE, 4)


@pytest.mark.parametrize("path", ["none", "usr/none", "usr/bin/tool/x", "loop", "loop/x"])
def test_what_is_not_there(path: str) -> None:
    squashfs = Squashfs(io.BytesIO(image(TREE)[0]))
    assert squashfs.lookup(path) is None
    with pytest.raises(IntegrityError, match="has no file"):
        squashfs.read(path)


def test_read_is_bounded() -> None:
    squashfs = Squashfs(io.BytesIO(image(TREE)[0]))
    assert len(squashfs.read("large")) == 3 * BLOCK
    with pytest.raises(IntegrityError, match="more than"):
        squashfs.read("large", limit=3 * BLOCK - 1)
    with pytest.raises(IntegrityError, match="has no file"):
        squashfs.read("usr")


def test_default_options_are_read(tmp_path: Path) -> None:
    data, _ = image(TREE, options=Options())
    assert Squashfs(io.BytesIO(data)).read("bin/tool") == b"tool"
