from __future__ import annotations

import bz2
import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.content import tar_stream
from envpack.content.tar_stream import Member, TarError, TarStream
from envpack.entry import decode_path
from tests.unit.content.archives import folder, hard_link, member, symlink, tar, zstd

NAMES = st.binary(min_size=1, max_size=300).map(lambda raw: decode_path(raw.translate(None, b"\0/")) or "x")
SIZES = st.sampled_from([0, 1, 511, 512, 513, 1024, 5000])


def members(data: bytes, step: int = 1 << 20) -> list[tuple[Member, bytes]]:
    """Everything in an archive that arrives ``step`` bytes at a time."""
    stream = TarStream(Slow(data, step))
    return [(found, stream.read()) for found in stream]


class Slow:
    def __init__(self, data: bytes, step: int) -> None:
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._step))


@given(
    names=st.lists(NAMES, min_size=1, max_size=5),
    size=SIZES,
    format=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    step=st.sampled_from([1, 100, 512, 1000, 1 << 20]),
    uid=st.sampled_from([0, 1000, 2**21, 2**32]),
)
def test_reads_what_tarfile_writes(names: list[str], size: int, format: int, step: int, uid: int) -> None:
    written = [member(name, bytes([i]) * size, mode=0o4755, uid=uid) for i, name in enumerate(names)]
    written.append(symlink("link", names[0] + "x" * 120))
    found = members(tar(written, format), step)
    for (info, data), (got, content) in zip(written, found, strict=True):
        assert (got.name, got.mode, got.uid, got.mtime) == (info.name, info.mode, info.uid, info.mtime)
        assert (got.size, content, got.link) == (len(data), data, info.linkname)


def test_reads_names_of_the_ustar_format() -> None:
    name = "d" * 100 + "/" + "f" * 90
    assert members(tar([member(name, b"x")], tarfile.USTAR_FORMAT))[0][0].name == name


def test_reads_every_type() -> None:
    written = [
        folder("d", 0o1777),
        member("f", b"data"),
        hard_link("h", "f"),
        member("c", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("b", type=tarfile.BLKTYPE, devmajor=8, devminor=17),
        member("p", type=tarfile.FIFOTYPE),
    ]
    found = [found for found, _ in members(tar(written))]
    assert [m.type for m in found] == [
        tar_stream.DIRECTORY,
        tar_stream.FILE,
        tar_stream.HARDLINK,
        tar_stream.CHARACTER,
        tar_stream.BLOCK_DEVICE,
        tar_stream.FIFO,
    ]
    assert [m.device for m in found if m.device != (0, 0)] == [(1, 3), (8, 17)]
    assert found[2].link == "f"


def test_data_that_is_not_asked_for_is_skipped() -> None:
    stream = TarStream(io.BytesIO(tar([member(n, n.encode() * 600) for n in "abc"])))
    got = []
    for found in stream:
        if found.name == "b":
            got.append(next(iter(stream.chunks())))
        elif found.name == "c":
            got.append(stream.read())
    assert got == [b"b" * 600, b"c" * 600]


def test_global_records_hold_for_all_that_follow() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "12.75"}) as t:
        t.addfile(tarfile.TarInfo("a"))
        t.addfile(tarfile.TarInfo("b"))
    assert [found.mtime for found, _ in members(out.getvalue())] == [12, 12]


def test_a_time_before_1970() -> None:
    assert members(tar([member("a", mtime=-5)], tarfile.GNU_FORMAT))[0][0].mtime == -5


def test_pax_records_keep_bytes() -> None:
    info, data = member("a", b"x")
    info.pax_headers = {"SCHILY.xattr.user.x": "a=b\nc"}
    assert members(tar([(info, data)]))[0][0].pax["SCHILY.xattr.user.x"] == b"a=b\nc"


@pytest.mark.parametrize("encode", [bytes, gzip.compress, bz2.compress, zstd])
def test_decoders_are_chosen_by_the_first_bytes(encode: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(encode(tar([member("f", b"data" * 9999)])))
    with path.open("rb") as file:
        stream = TarStream(tar_stream.decompressed(file))
        assert [stream.read() for _ in stream] == [b"data" * 9999]


@pytest.mark.parametrize(
    "format", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, None], ids=["gnu", "ustar", "v7"]
)
@pytest.mark.parametrize("name", [b"BZh9", b"\x1f\x8b\x08\x01", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"])
def test_a_name_that_looks_like_a_decoder_s_mark(name: bytes, format: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = tar([member(decode_path(name), b"data")], format or tarfile.USTAR_FORMAT)
    path.write_bytes(data if format else _header(data, magic=bytes(8)) + data[512:])
    with path.open("rb") as file:
        assert [m.name for m in TarStream(tar_stream.decompressed(file))] == [decode_path(name)]


def test_zstandard_in_several_frames(tmp_path: Path) -> None:
    data = tar([member("f", bytes(5000))])
    path = tmp_path / "a"
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    path.write_bytes(skippable + zstd(data[:700]) + zstd(data[700:]))
    with path.open("rb") as file:
        assert [m.size for m in TarStream(tar_stream.decompressed(file))] == [5000]


@pytest.mark.parametrize("end", [1, 511, 513, 1023, 1025, 1535])
def test_a_cut_archive(end: int) -> None:
    data = tar([member("a", b"x" * 600), member("b", b"y")])
    with pytest.raises(TarError, match="ends in the middle"):
        members(data[:end])


@pytest.mark.parametrize("place", [0, 110, 130, 156, 300])
def test_a_flipped_byte_in_a_header(place: int) -> None:
    data = bytearray(tar([member("a", b"x")]))
    data[place] ^= 1
    with pytest.raises(TarError):
        members(bytes(data))


def test_bytes_that_are_no_archive() -> None:
    with pytest.raises(TarError, match="no number"):
        members(b"<html>" * 200)
    with pytest.raises(TarError, match="checksum"):
        members(b"1" * 1024)


def _header(archive: bytes = b"", **changes: bytes) -> bytes:
    """The first header of ``archive`` with some fields replaced, and a right checksum."""
    places = {"size": 124, "type": 156, "magic": 257}
    data = bytearray((archive or tar([member("a")]))[:512])
    for field, value in changes.items():
        data[places[field] : places[field] + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_header(type=b"M"), "not read"),
        (_header(type=b"x", size=b"77777777777\0"), "extended header of"),
        (_header(type=b"x", size=b"00000000010\0") + b"9999 a=b".ljust(512, b"\0"), "malformed"),
        (_header(type=b"x", size=b"00000000010\0") + b"-8 pat=b".ljust(512, b"\0"), "malformed"),
        (_header(type=b"x", size=b"00000000010\0") + b"8 pathb\n".ljust(512, b"\0"), "malformed"),
        (_header(size=b"\xff" * 12), "negative"),
        (_header(size=b"9" * 11), "no number"),
    ],
)
def test_headers_that_cannot_be(data: bytes, said: str) -> None:
    with pytest.raises(TarError, match=said):
        members(data + bytes(1024))


SPARSE = ["--format=gnu", "--format=posix --sparse-version=0.0", "--format=posix --sparse-version=0.1",
          "--format=posix --sparse-version=1.0"]  # fmt: skip


@pytest.mark.parametrize("options", SPARSE)
@pytest.mark.parametrize("step", [100, 1 << 20])
def test_holes_as_gnu_tar_writes_them(tmp_path: Path, options: str, step: int) -> None:
    pieces = {
        "start": [(0, b"x" * 5000)],
        "many": [(i << 14, b"%d" % i) for i in range(300)],
        "middle": [(3 << 20, b"y" * (2 << 20))],
        "none": [],
        "n" * 200: [(1 << 16, b"z")],
    }
    for name, parts in pieces.items():
        with (tmp_path / name).open("wb") as out:
            for at, data in parts:
                out.seek(at)
                out.write(data)
            out.truncate((8 << 20) + 7)
    (tmp_path / "whole").write_bytes(b"not sparse")
    names = [*pieces, "whole"]
    command = ["tar", "--sparse", *options.split(), "-cf", "-", *names]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len(done.stdout) < 12 << 20
    found = members(done.stdout, step)
    assert [got.name for got, _ in found] == names
    for got, content in found:
        assert content == (tmp_path / got.name).read_bytes()
        assert (got.type, got.size) == (tar_stream.FILE, len(content))
    assert [got.name for got in TarStream(Slow(done.stdout, step))] == names  # their data skipped


@pytest.mark.parametrize(
    "records",
    [
        {"major": "2", "minor": "0", "realsize": "5"},
        {"major": "1", "minor": "0", "realsize": "5"},  # no map in the data
        {"map": "0,5"},
        {"map": "0,5", "size": "no number"},
        {"map": "0", "size": "9"},
        {"map": "0,6", "size": "9"},
        {"map": "0,4", "size": "9"},
        {"map": "3,3,2,2", "size": "9"},
        {"map": "8,5", "size": "9"},
        {"map": "0,9,9,-4", "size": "9"},
    ],
)
def test_impossible_holes_are_refused(records: dict[str, str]) -> None:
    info, data = member("f", b"12345")
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in records.items()}
    with pytest.raises(TarError, match="f'"):
        members(tar([(info, data)]))


def test_a_map_of_holes_that_never_ends_is_refused() -> None:
    info, data = member("f", b"9" * 30 + b"\n" + b"0\n" * 2000)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}
    with pytest.raises(TarError, match="pieces"):
        members(tar([(info, data)]))
