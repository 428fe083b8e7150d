"""Images read back exactly, by our reader and by an independent one."""

from __future__ import annotations

import dataclasses
import io
import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySquashfsImage import SquashFsImage  # type: ignore[import-untyped]  # it ships no type information

from envpack.entry import Entry, Kind, directory, file
from envpack.errors import IntegrityError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from tests.unit.formats.squashfs.trees import (
    BLOCK,
    EPOCH,
    GZIP,
    SMALL,
    everything,
    image,
    pattern,
    segment,
    trees,
    whole,
)


def read(data: bytes, offset: int = 0) -> dict[str, Entry]:
    return whole(Squashfs(io.BytesIO(data), offset).entries())


@settings(max_examples=50, deadline=None)
@given(trees(), st.sampled_from([SMALL, GZIP]))
def test_what_is_written_is_read_back(entries: list[Entry], options: Options) -> None:
    data, assembled = image(entries, options=options, offset=128)
    found = read(data, 128)
    assert found == whole(entries)
    assert len(data) == 128 + assembled.size
    inodes = [e for e in found.values() if e.kind is not Kind.HARDLINK]
    files = [e for e in inodes if e.kind is Kind.FILE]
    assert assembled.inodes == len(inodes) + 1
    assert assembled.files == len(files)
    assert assembled.content_size == sum(e.size for e in files)
    assert assembled.directories == 1 + sum(e.kind is Kind.DIRECTORY for e in inodes)
    assert assembled.overwritten == ()


TYPES = {
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.FILE: stat.S_IFREG,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
}


def independent(data: bytes) -> dict[str, tuple[Any, ...]]:
    """What PySquashfsImage reads."""
    found = {}
    with SquashFsImage.from_bytes(data) as squashfs:
        for node in squashfs:
            content: Any = None
            if node.is_file:
                content = node.read_bytes()
            elif node.is_symlink:
                content = node.readlink()
            elif node.is_char_device or node.is_block_device:
                content = node.major, node.minor
            found[node.path] = (node.mode, node.uid, node.gid, node.time, content)
    return found


@settings(max_examples=30, deadline=None)
@given(trees(utf8=True), st.sampled_from([SMALL, GZIP]))
def test_an_independent_reader_agrees(entries: list[Entry], options: Options) -> None:
    data, _ = image(entries, options=options)
    agreed(data, entries)


def test_an_independent_reader_reads_everything() -> None:
    data, _ = image(everything())
    agreed(data, everything())


def agreed(data: bytes, entries: list[Entry]) -> None:
    expected = whole(entries)
    found = independent(data)
    assert found.pop("/")[:4] == (stat.S_IFDIR | 0o755, 0, 0, EPOCH)
    assert sorted(found) == sorted("/" + path for path in expected)
    for path, entry in expected.items():
        owner = expected[entry.target] if entry.kind is Kind.HARDLINK else entry
        content: Any = None
        if owner.kind is Kind.FILE:
            content = b"".join(owner.chunks)
        elif owner.kind is Kind.SYMLINK:
            content = owner.target
        elif owner.kind in (Kind.BLOCK_DEVICE, Kind.CHARACTER_DEVICE):
            content = owner.device
        have = found["/" + path]
        if isinstance(have[4], bytes) and owner.kind is Kind.SYMLINK:
            have = (*have[:4], have[4].decode())
        mode = TYPES[owner.kind] | owner.mode
        assert have == (mode, owner.uid, owner.gid, owner.mtime, content)


def test_everything_hard_is_read_back() -> None:
    entries = everything()
    for options in (SMALL, GZIP):
        data, _ = image(entries, options=options)
        assert read(data) == whole(entries)


def test_the_bytes_do_not_depend_on_threads() -> None:
    one, _ = image(everything(), threads=1)
    four, _ = image(everything(), threads=4)
    assert one == four


def test_files_and_memory_get_the_same_bytes(tmp_path: Path) -> None:
    """Into a file the data is copied by the kernel, into memory by reading and writing."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for number, path in enumerate(paths):
        path.write_bytes(segment([file(f"{path.name}", pattern(20 * BLOCK + 1, number))]))
    segments = list(map(Segment.open, paths))
    memory = io.BytesIO()
    assemble(memory, 512, segments, SMALL, EPOCH)
    with (tmp_path / "image").open("w+b") as out:
        out.write(b"begin")
        assembled = assemble(out, 512, segments, SMALL, EPOCH)
        assert out.tell() == 512 + assembled.size
        out.seek(512)
        assert out.read() == memory.getvalue()[512:]


def test_the_digest_stands_for_the_content() -> None:
    first = image([file("a", b"1")])[1].digest
    assert image([file("a", b"1")])[1].digest == first
    assert image([file("a", b"2")])[1].digest != first
    assert image([file("b", b"1")])[1].digest != first
    assert image([file("a", b"1")], options=GZIP)[1].digest != first


def test_equal_contents_of_a_segment_are_stored_once() -> None:
    content = pattern(100 * BLOCK, 3)
    once, _ = image([file("a", content)])
    twice, _ = image([file("a", content), file("b", content)])
    assert len(twice) <= len(once) + layout.PADDING


def test_block_words_of_many_blocks() -> None:
    content = b"".join(b"%08d" % i for i in range(3000 * BLOCK // 8)) + b"tail"
    data, _ = image([file("a", content)])
    assert b"".join(read(data)["a"].chunks) == content


def test_deeper_than_the_stack() -> None:
    entries = [directory("/".join(["d"] * depth)) for depth in range(1, 1500)]
    data, _ = image(entries)
    assert len(read(data)) == 1499


def test_the_index_of_a_large_directory_points_at_runs() -> None:
    """The kernel starts at the last indexed name that is not after the one it looks for."""
    entries = [file(f"{i:05}{'x' * 60}", b"") for i in range(1500)]
    data, _ = image(entries)
    squashfs = Squashfs(io.BytesIO(data))
    head = layout.SUPERBLOCK.unpack_from(data)
    root, directory_table = head[11], head[16]
    cursor = squashfs._cursor(squashfs._inode_table, root)
    fields = layout.DIRECTORY_INODE_X.unpack(cursor.take(layout.DIRECTORY_INODE_X.size))
    size, count, offset = fields[7], fields[10], fields[11]
    assert fields[0] == layout.DIRECTORY + layout.EXTENDED
    assert count == (offset + size) // layout.METADATA_SIZE > 10
    for _ in range(count):
        position, block, length = layout.DIRECTORY_INDEX.unpack(cursor.take(layout.DIRECTORY_INDEX.size))
        name = cursor.take(length + 1)
        run = squashfs._cursor(directory_table, block << 16 | (offset + position) % layout.METADATA_SIZE)
        run.take(layout.RUN.size)
        entry = layout.RUN_ENTRY.unpack(run.take(layout.RUN_ENTRY.size))
        assert run.take(entry[3] + 1) == name


def test_positions_beyond_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first segment claims 5 GiB of data, which are a hole: only its size matters to the second one."""
    content = pattern(3 * BLOCK, 1)
    large = 5 << 30
    paths = [tmp_path / "hollow", tmp_path / "late"]
    paths[0].write_bytes(segment([file("early", b"1")]))
    paths[1].write_bytes(segment([file("late", content)]))

    first, second = map(Segment.open, paths)
    first = Segment(first.path, dataclasses.replace(first.index, data_size=large))

    def copy_late(path: Path, size: int, out: BinaryIO, position: int) -> None:
        if path == paths[1]:
            out.seek(position)
            out.write(path.read_bytes()[:size])

    monkeypatch.setattr("envpack.formats.squashfs.image._copy", copy_late)
    with (tmp_path / "image").open("w+b") as out:
        assembled = assemble(out, 0, [first, second], SMALL, EPOCH)
        assert assembled.size > large
        assert Squashfs(out).read("late") == content


def test_the_size_of_an_attribute_set() -> None:
    """As squashfs-tools count it: full names, each with a NUL, and values."""
    entry = Entry("a", Kind.FIFO, 0o644, xattrs=(("security.zz", b"1"), ("user.abc", b"12345")))
    data, _ = image([entry, Entry("b", Kind.FIFO, 0o644, xattrs=entry.xattrs)])
    table = Squashfs(io.BytesIO(data))._xattrs
    assert table is not None
    assert layout.XATTR_RECORD.unpack(table.record(0)) == (0, 2, 27)
    with pytest.raises(IntegrityError, match="no attribute set 1"):
        table.record(1)


def test_xattrs_of_other_namespaces_are_told() -> None:
    entry = Entry("a", Kind.FIFO, 0o644, xattrs=(("system.posix_acl_access", b"x"), ("user.a", b"y")))
    data, assembled = image([entry, Entry("b", Kind.FIFO, 0o644, xattrs=(("system.x", b"x"),))])
    assert assembled.unsupported_xattrs == ("system.posix_acl_access", "system.x")
    found = read(data)
    assert found["a"].xattrs == (("user.a", b"y"),)
    assert found["b"].xattrs == ()


def test_a_segment_of_other_options_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(segment([file("a", b"1")], GZIP))
    with pytest.raises(IntegrityError, match="other options"):
        assemble(io.BytesIO(), 0, [Segment.open(path)], SMALL, EPOCH)


def test_too_many_owners_are_refused() -> None:
    entries = [Entry(str(i), Kind.FIFO, 0, uid=2 * i, gid=2 * i + 1) for i in range(32768)]
    with pytest.raises(IntegrityError, match="different owners"):
        image(entries)


def test_the_superblock() -> None:
    data, assembled = image([file("a", b"1")])
    fields = struct.unpack_from("<5I6H8Q", data)
    assert fields[:4] == (0x73717368, 2, EPOCH, BLOCK)
    assert fields[5:7] == (6, 12)
    assert fields[9:11] == (4, 0)
    assert assembled.size % 4096 == 0
    assert fields[12] <= assembled.size
