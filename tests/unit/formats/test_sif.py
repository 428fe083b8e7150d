"""SIF files: field by field, and what a damaged or hostile one is told as."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.errors import IntegrityError
from envpack.formats import sif
from envpack.formats.sif import DataObject, DataType

EPOCH = 1_700_000_000
PARTITION = b"hsqs" * 2048
OBJECTS = [
    DataObject(DataType.DEFINITION_FILE, b"Bootstrap: scratch\n"),
    DataObject(DataType.GENERIC_JSON, b"{}", "inspect-metadata.json"),
]


def written(
    path: Path,
    objects: list[DataObject] = OBJECTS,
    content: bytes = b"digest",
    architecture: str = "02",
    partition: bytes = PARTITION,
) -> bytes:
    data = head(objects, partition, content, architecture) + partition
    path.write_bytes(data)
    return data


def head(
    objects: list[DataObject],
    partition: bytes = PARTITION,
    content: bytes = b"digest",
    architecture: str = "02",
) -> bytes:
    size = len(partition)
    return sif.head(objects, partition_size=size, architecture=architecture, content=content, epoch=EPOCH)


def test_the_header(tmp_path: Path) -> None:
    data = written(tmp_path / "a.sif")
    assert data[:32] == b"#!/usr/bin/env run-singularity\n\0"
    assert data[32:48] == b"SIF_MAGIC\x0001\x0002\0"
    assert struct.unpack_from("<8q", data, 64) == (
        EPOCH, EPOCH, 45, 48, 4096, 48 * 585, 32176, len(data) - 32176,
    )  # fmt: skip
    assert data[128:4096] == bytes(4096 - 128)


def test_the_descriptors(tmp_path: Path) -> None:
    data = written(tmp_path / "a.sif")
    first = struct.unpack_from("<iB3I7q", data, 4096)
    assert first == (0x4001, 1, 1, 0xF0000001, 0, 32176, 19, 19, EPOCH, EPOCH, 0, 0)
    second = struct.unpack_from("<iB3I7q128s", data, 4096 + 585)
    assert second[:8] == (0x4006, 1, 2, 0xF0000001, 0, 32195, 2, 2)
    assert second[12] == b"inspect-metadata.json".ljust(128, b"\0")
    third = struct.unpack_from("<iB3I7q128s2i3s", data, 4096 + 2 * 585)
    assert third[:8] == (0x4004, 1, 3, 0xF0000001, 0, 32768, len(PARTITION), len(PARTITION) + 571)
    assert third[13:] == (1, 2, b"02\0")
    assert data[32768:] == PARTITION


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    written(path, architecture="04")
    found = sif.read(path)
    assert (found.architecture, found.created, found.modified) == ("04", EPOCH, EPOCH)
    assert [d.type for d in found.descriptors] == [0x4001, 0x4006, 0x4004]
    (metadata,) = found.objects(DataType.GENERIC_JSON)
    assert metadata.name == "inspect-metadata.json"
    assert sif.read_object(found, metadata) == b"{}"
    partition = found.partition()
    assert (partition.offset, partition.size) == (sif.partition_offset(OBJECTS), len(PARTITION))


@given(st.lists(st.binary(max_size=5000), max_size=47))
def test_the_partition_is_aligned_whatever_comes_before(contents: list[bytes]) -> None:
    objects = [DataObject(DataType.GENERIC, content) for content in contents]
    offset = sif.partition_offset(objects)
    assert len(head(objects)) == offset
    assert offset % 4096 == 0
    assert 0 <= offset - 32176 - sum(map(len, contents)) < 4096


def test_47_objects_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    written(path, [DataObject(DataType.GENERIC, b"%d" % i, str(i)) for i in range(47)])
    found = sif.read(path)
    assert len(found.descriptors) == 48
    assert sif.read_object(found, found.descriptors[46]) == b"46"


def test_the_same_content_gives_the_same_bytes_and_another_one_another_id(tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    first = written(path)
    identity = sif.read(path).id
    assert written(path) == first
    assert identity.version == 8
    others = set()
    for objects, content in ((OBJECTS, b"other"), (OBJECTS[:1], b"digest"), ([], b"digest")):
        written(path, objects, content)
        others.add(sif.read(path).id)
    assert len(others | {identity}) == 4


def test_unknown_objects_and_signatures_are_kept(tmp_path: Path) -> None:
    """A signature is one more object behind the partition, linked to a group."""
    path = tmp_path / "a.sif"
    data = bytearray(written(path))
    end = len(data)
    signature = struct.pack(
        "<iB3I7q128s384s", 0x4005, 1, 4, 0, 0xF0000001, end, 3, 3, 1, 1, 7, 8, b"part-signature", b"x"
    )
    unknown = struct.pack("<iB3I7q128s384s", 0x7777, 1, 5, 0, 0, end, 3, 3, 1, 1, 0, 0, b"\xff", b"")
    data[4096 + 3 * 585 : 4096 + 5 * 585] = signature + unknown
    path.write_bytes(data + b"sig")
    found = sif.read(path)
    assert [d.type for d in found.descriptors][3:] == [DataType.SIGNATURE, 0x7777]
    (kept,) = found.objects(DataType.SIGNATURE)
    assert (kept.link, kept.name, kept.uid, kept.gid) == (0xF0000001, "part-signature", 7, 8)
    assert sif.read_object(found, kept) == b"sig"
    assert found.partition().number == 3


def damaged(tmp_path: Path, position: int, form: str, value: int) -> Path:
    path = tmp_path / "a.sif"
    data = bytearray(written(path))
    struct.pack_into(form, data, position, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("position", "form", "value", "why"),
    [
        (32, "<B", 0, "not a SIF file"),
        (43, "<B", ord("2"), "version '02'"),
        (88, "<q", -1, "claims -1 descriptors"),
        (88, "<q", 1 << 40, "claims 1099511627776 descriptors"),
        (88, "<q", 49, "claims 49 descriptors"),
        (96, "<q", -5, "outside of the file"),
        (96, "<q", 1 << 50, "outside of the file"),
        (96, "<q", 32760, "cut short"),
        (4096 + 17, "<q", -1, "data object 1 is outside"),
        (4096 + 25, "<q", -1, "data object 1 is outside"),
        (4096 + 25, "<q", 1 << 62, "data object 1 is outside"),
    ],
)
def test_impossible_fields_are_told(tmp_path: Path, position: int, form: str, value: int, why: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        sif.read(damaged(tmp_path, position, form, value))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("position", "value", "why"),
    [
        (4096 + 2 * 585 + 201, 5, "is encrypted"),
        (4096 + 2 * 585 + 201, 2, "is not squashfs"),
        (4096 + 2 * 585 + 205, 3, "no system partition"),
    ],
)
def test_partitions_that_cannot_be_read(tmp_path: Path, position: int, value: int, why: str) -> None:
    found = sif.read(damaged(tmp_path, position, "<i", value))
    with pytest.raises(IntegrityError, match=why):
        found.partition()


def test_objects_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.sif"
    written(path)
    found = sif.read(path)
    with pytest.raises(IntegrityError, match="has 19 bytes"):
        sif.read_object(found, found.descriptors[0], limit=18)


@settings(max_examples=100)
@given(size=st.integers(0, 32768 + len(PARTITION) - 1))
def test_cut_files_are_told(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.sif"
    path.write_bytes(written(path)[:size])
    with pytest.raises(IntegrityError):
        sif.read(path)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4096 + 4 * 585), st.binary(min_size=1, max_size=8))
def test_changed_bytes_are_survived(
    tmp_path_factory: pytest.TempPathFactory, position: int, new: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.sif"
    data = bytearray(written(path))
    data[position : position + len(new)] = new
    path.write_bytes(data)
    with suppress(IntegrityError):
        found = sif.read(path)
        for descriptor in found.descriptors:
            sif.read_object(found, descriptor)
        found.partition()


def test_other_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    with pytest.raises(IntegrityError, match="not a SIF file"):
        sif.read(path)
    with pytest.raises(IntegrityError, match="cannot read"):
        sif.read(tmp_path / "none")
