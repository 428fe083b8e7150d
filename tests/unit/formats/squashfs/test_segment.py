"""Segments: what is refused, what is stored once, what a damaged file is told as."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.entry import Entry, Kind, directory, file, symlink
from envpack.errors import IntegrityError
from envpack.formats.squashfs import index as index_module
from envpack.formats.squashfs import layout, segment_file
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.index import Content, Segment, read_index
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from envpack.formats.squashfs.segment import write_segment
from tests.unit.formats.squashfs.trees import BLOCK, SMALL, everything, pattern, segment, trees


@settings(max_examples=25, deadline=None)
@given(entries=trees())
def test_the_index_gives_the_entries_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    path = tmp_path_factory.mktemp("segment") / "a"
    path.write_bytes(segment(entries))
    segment_file.verify(path)
    found = list(read_index(path).entries())
    assert [e.path for e in found] == [e.path for e in entries]
    for have, want in zip(found, entries, strict=True):
        for name in ("kind", "mode", "size", "target", "mtime", "uid", "gid", "device", "xattrs"):
            assert getattr(have, name) == getattr(want, name), name


def test_the_bytes_do_not_depend_on_threads_or_chunks() -> None:
    content = pattern(7 * BLOCK + 100, 1) * 300  # beyond what is held in memory to be compared
    cut = [content[i : i + 1000] for i in range(0, len(content), 1000)]
    one = segment([Entry("a", Kind.FILE, 0o644, len(content), (content,)), *everything()], threads=1)
    four = segment([Entry("a", Kind.FILE, 0o644, len(content), cut), *everything()], threads=4)
    assert len(content) > 8 << 20
    assert one == four


def test_what_a_segment_is_known_by_does_not_depend_on_zlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images have an identity that follows from it, and pythons have different versions of zlib."""
    (tmp_path / "a").write_bytes(segment(everything()))
    monkeypatch.setattr(index_module, "_LEVEL", 0)
    (tmp_path / "b").write_bytes(segment(everything()))
    assert (tmp_path / "a").stat().st_size != (tmp_path / "b").stat().st_size
    assert read_index(tmp_path / "a").digest == read_index(tmp_path / "b").digest


def test_small_files_are_stored_side_by_side_by_path(tmp_path: Path) -> None:
    """Bytecode first, which an import reads without the rest, then libraries."""
    path = tmp_path / "segment"
    names = ["b/2.py", "a/c/1.pyc", "b/1.so", "a/1.py", "b/1.pyc", "a/2.so.1", "a/c/2.pyc"]
    wanted = ["a/c/1.pyc", "a/c/2.pyc", "b/1.pyc", "a/2.so.1", "b/1.so", "a/1.py", "b/2.py"]
    path.write_bytes(segment([file(name, name.encode()) for name in names]))
    index = read_index(path)
    offsets = {p.decode(): index.contents[r[5]][6] for p, r in zip(index.paths, index.records, strict=True)}
    assert sorted(offsets, key=offsets.__getitem__) == wanted


@pytest.mark.parametrize(
    ("size", "words", "in_fragment"),
    [(0, 0, False), (1, 0, True), (BLOCK // 2, 0, True), (BLOCK // 2 + 1, 1, False), (BLOCK, 1, False)],
)
def test_only_short_tails_share_a_block(tmp_path: Path, size: int, words: int, in_fragment: bool) -> None:
    path = tmp_path / "segment"
    path.write_bytes(segment([file("a", pattern(size, 1))]))
    content = Content._make(read_index(path).contents[0])
    assert (content.size, content.words, content.fragment != layout.NONE32) == (size, words, in_fragment)


def test_holes_take_no_space() -> None:
    assert len(segment([file("a", bytes(1000 * BLOCK))])) < 3 * BLOCK


def test_large_files_are_not_held_in_memory() -> None:
    size = 64 << 20

    def chunks() -> Iterator[bytes]:
        for i in range(size // BLOCK):
            yield i.to_bytes(8, "little") * (BLOCK // 8)

    out = io.BytesIO()
    options = Options(block_size=1 << 17)
    with ThreadPoolExecutor(2) as pool:
        tracemalloc.start()
        write_segment([Entry("a", Kind.FILE, 0o644, size, chunks())], out, options, pool)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < size // 4


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (file("../a", b""), "not relative"),
        (file("/a", b""), "not relative"),
        (file("a//b", b""), "not relative"),
        (file("a\0b", b""), "not relative"),
        (file("", b""), "not relative"),
        (file("x" * 256, b""), "longer than 255"),
        (file("ü" * 128, b""), "longer than 255"),
        (Entry("a", Kind.FILE, 0o10000), "mode"),
        (Entry("a", Kind.FILE, 0o644, uid=-1), "owner"),
        (Entry("a", Kind.FILE, 0o644, gid=1 << 32), "owner"),
        (symlink("a", ""), "symlink target"),
        (symlink("a", "b\0c"), "symlink target"),
        (symlink("a", "b" * 4096), "symlink target"),
        (Entry("a", Kind.BLOCK_DEVICE, 0o644, device=(4096, 0)), "device number"),
        (Entry("a", Kind.FILE, 0o644, xattrs=(("user." + "n" * 300, b""),)), "extended attribute"),
        (Entry("a", Kind.FILE, 0o644, xattrs=(("user.n", bytes(65537)),)), "extended attribute"),
        (Entry("a", Kind.HARDLINK, 0, target="b"), "does not come before"),
        (Entry("a", Kind.HARDLINK, 0, target="a"), "does not come before"),
        (Entry("a", Kind.HARDLINK, 0, target="folder"), "the directory 'folder'"),
        (Entry("a", Kind.FILE, 0o644, 3, (b"ab",)), "2 instead of 3"),
        (Entry("a", Kind.FILE, 0o644, 3, (b"ab", b"cd")), "more than 3"),
        (Entry("a", Kind.FILE, 0o644, 9 << 20, (bytes(5 << 20),)), "5242880 instead of 9437184"),
        (Entry("a", Kind.FILE, 0o644, 9 << 20, (bytes(5 << 20),) * 2), "more than 9437184"),
    ],
)
def test_what_no_image_can_hold_is_refused(entry: Entry, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        segment([directory("folder"), entry])


def test_a_failing_source_leaves_nothing_running() -> None:
    def chunks() -> Iterator[bytes]:
        yield pattern(40 * BLOCK, 1)
        raise IntegrityError("the archive is cut short")

    with ThreadPoolExecutor(1) as pool, pytest.raises(IntegrityError, match="cut short"):
        write_segment([Entry("a", Kind.FILE, 0o644, 9 << 20, chunks())], io.BytesIO(), SMALL, pool)


DAMAGED = segment([file("a", pattern(3 * BLOCK, 1)), file("b", b"b"), symlink("c", "a")])


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(DAMAGED) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped"
    data = bytearray(DAMAGED)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="is damaged"):
        segment_file.verify(path)


@given(size=st.integers(0, len(DAMAGED) - 1))
def test_every_cut_is_found(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(DAMAGED[:size])
    with pytest.raises(IntegrityError, match="is damaged"):
        read_index(path)


def test_a_missing_segment_is_told(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is damaged"):
        read_index(tmp_path / "none")


def edited(position: int, new: bytes) -> bytes:
    """A segment whose index was changed by someone who put the checksums right."""
    footer_at = len(DAMAGED) - segment_file._FOOTER_SIZE
    fields = list(segment_file._FOOTER.unpack_from(DAMAGED, footer_at))
    data_size, packed_size = fields[4:6]
    plain = bytearray(zlib.decompress(DAMAGED[data_size : data_size + packed_size]))
    position %= len(plain)
    plain[position : position + len(new)] = new
    packed = zlib.compress(plain)
    fields[5:7] = len(packed), len(plain)
    footer = segment_file._FOOTER.pack(*fields)
    return DAMAGED[:data_size] + packed + footer + hashlib.sha256(packed + footer).digest()


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10_000), new=st.binary(min_size=1, max_size=4) | st.just(b"\xff" * 4))
def test_edited_caches_are_survived(
    tmp_path_factory: pytest.TempPathFactory, position: int, new: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "edited"
    path.write_bytes(edited(position, new))
    out = io.BytesIO()
    with suppress(IntegrityError):
        edited_segment = Segment.open(path)
        list(edited_segment.index.entries())
        assemble(out, 0, [edited_segment], SMALL, 0)
        for entry in Squashfs(out).entries():
            for _, _ in zip(entry.chunks, range(100), strict=False):
                pass


@pytest.mark.parametrize("path", [b"../x", b"a/../b", b"/a", b"a//b", b".", b"a/.", b"", b"a/" + b"b" * 256])
def test_unsafe_paths_of_edited_caches_are_refused(tmp_path: Path, path: bytes) -> None:
    out = io.BytesIO()
    record = index_module.Record(layout.FIFO, 0o644, 0, 0, 0, 0, layout.NONE32)
    index_module.write_index(
        out,
        block_size=BLOCK,
        compression_id=6,
        data_size=0,
        data_digest=bytes(32),
        paths=[b"fine", path, b"fine.too"],
        records=[record] * 3,
        contents=[],
        fragments=[],
        words=[],
        targets=[],
        xattrs=[],
    )
    (tmp_path / "segment").write_bytes(out.getvalue())
    with pytest.raises(IntegrityError, match=r"unsafe path|too long"):
        read_index(tmp_path / "segment")
