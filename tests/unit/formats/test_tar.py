"""Archives read back: by the standard library, by our own reader of layers, and by tar itself."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from envpack.content.tar_stream import TarStream
from envpack.entry import Entry, Kind, decode_path, directory, file, symlink
from envpack.errors import IntegrityError
from envpack.formats import tar
from tests.unit.formats.squashfs.trees import EPOCH, trees

KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER_DEVICE,
    tarfile.BLKTYPE: Kind.BLOCK_DEVICE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
}


def archive(*entries: Entry, epoch: int = EPOCH) -> bytes:
    return b"".join(tar.archive(entries, epoch))


def members(data: bytes) -> list[Entry]:
    """What the standard library reads."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        for member in opened:
            assert (member.uname, member.gname) == ("", "")
            content = opened.extractfile(member) if member.isreg() else None
            chunks = (content.read(),) if content else ()
            device = (member.devmajor, member.devminor) if member.ischr() or member.isblk() else (0, 0)
            xattrs = tuple(
                (key.removeprefix("SCHILY.xattr."), value.encode("utf-8", "surrogateescape"))
                for key, value in sorted(member.pax_headers.items())
                if key.startswith("SCHILY.xattr.")
            )
            entry = Entry(
                member.name, KINDS[member.type], member.mode, member.size, chunks, member.linkname,
                int(member.mtime), member.uid, member.gid, device, xattrs,
            )  # fmt: skip
            found.append(entry)
    return found


def plain(entry: Entry) -> Entry:
    """The entry as it comes back: one chunk, a date."""
    chunks = (b"".join(entry.chunks),) if entry.kind is Kind.FILE else ()
    return replace(entry, chunks=chunks, mtime=EPOCH if entry.mtime is None else entry.mtime)


@settings(max_examples=100, deadline=None)
@given(trees())
def test_the_standard_library_reads_what_was_written(entries: list[Entry]) -> None:
    entries = [e for e in entries if e.kind is not Kind.SOCKET]
    assert members(archive(*entries)) == [plain(e) for e in entries]


@settings(max_examples=50, deadline=None)
@given(trees())
def test_our_reader_of_layers_reads_what_was_written(entries: list[Entry]) -> None:
    entries = [e for e in entries if e.kind is not Kind.SOCKET]
    stream = TarStream(io.BytesIO(archive(*entries)))
    for entry, member in zip(entries, stream, strict=True):
        assert member.name.rstrip("/") == entry.path
        assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
        assert member.link == entry.target
        assert stream.read() == b"".join(entry.chunks)


LENGTHS = [1, 98, 99, 100, 101, 154, 155, 156, 199, 255]


@pytest.mark.parametrize("folder", LENGTHS)
@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("make", [directory, lambda path: file(path, b"x"), lambda path: symlink(path, path)])
def test_names_of_every_length(folder: int, name: int, make: object) -> None:
    assert callable(make)
    entry = make(f"{'d' * folder}/{'n' * name}")
    assert members(archive(entry)) == [plain(entry)]


def test_short_names_need_no_extension() -> None:
    entry = file(f"{'d' * 155}/{'n' * 100}", b"x")
    assert archive(entry)[156:157] == b"0", "the first header is the file's own"
    assert len(archive(entry)) == 4 * tar.BLOCK


def test_numbers_beyond_their_fields() -> None:
    entries = [
        replace(file("a", b""), uid=8**7, gid=2**32 - 2, mtime=8**11),
        replace(file("b", b""), uid=8**7 - 1, gid=0, mtime=8**11 - 1),
        replace(file("before", b""), mtime=-1),
    ]
    data = archive(*entries)
    assert members(data) == [plain(e) for e in entries]


def test_files_of_more_than_8_gib() -> None:
    pieces = tar.archive([Entry("big", Kind.FILE, 0o644, 9 << 30, (b"x" * 10,))], 0)
    with tarfile.open(fileobj=io.BytesIO(next(pieces) + bytes(2 * tar.BLOCK))) as opened:
        member = opened.next()
    assert member is not None
    assert member.size == 9 << 30
    with pytest.raises(IntegrityError, match="10 instead of 9663676416"):
        list(pieces)


def test_tar_unpacks_names_that_are_no_text(tmp_path: Path) -> None:
    long = "l" * 120
    entries = [
        directory("d"),
        file(decode_path(b"d/\xff\xfe"), b"raw"),
        file("d/\N{GREEK SMALL LETTER ALPHA}", b"text"),
        symlink("d/link", decode_path(b"\xff\xfe")),
        file(f"d/{long}", b"long"),
        Entry("d/second", Kind.HARDLINK, 0o644, target=f"d/{long}"),
    ]
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=archive(*entries), check=True)
    names = {bytes(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    assert names == {e.path.encode("utf-8", "surrogateescape") for e in entries}
    assert (tmp_path / "d" / "link").read_bytes() == b"raw"
    assert (tmp_path / "d" / "second").samefile(tmp_path / "d" / long)


def test_attributes_with_any_bytes() -> None:
    entry = replace(file("a", b""), xattrs=(("security.capability", b"\1\0\0\2\0=\n"), ("user.x", b"")))
    stream = TarStream(io.BytesIO(archive(entry)))
    member = next(iter(stream))
    assert member.pax == {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (file("../a", b""), "not relative"),
        (file("/a", b""), "not relative"),
        (file("a//b", b""), "not relative"),
        (Entry("s", Kind.SOCKET, 0o644), "a socket has no place"),
        (Entry("h", Kind.HARDLINK, 0o644, target="../x"), "link target"),
        (symlink("s", "a\0b"), "link target"),
        (Entry("d", Kind.CHARACTER_DEVICE, 0o644, device=(0, 8**7)), "device number"),
        (replace(file("m", b""), mode=0o10000), "mode"),
        (replace(file("x", b""), xattrs=(("user.a=b", b""),)), "impossible name"),
        (Entry("f", Kind.FILE, 0o644, 1, (b"xy",)), "more than 1"),
        (Entry("f", Kind.FILE, 0o644, 3, (b"xy",)), "2 instead of 3"),
    ],
)
def test_what_no_archive_can_hold_is_refused(entry: Entry, reason: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        archive(entry)
    assert reason in str(caught.value)
