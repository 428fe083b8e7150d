r"""Singularity Image Format (SIF) files, as Apptainer and SingularityCE run them: writer and reader.

A SIF file is a header, a table of descriptors and the data objects they describe, little-endian::

        0  header (128 bytes)
             32s launch script "#!/usr/bin/env run-singularity\n"   10s "SIF_MAGIC"    3s version "01"
             3s architecture, two digits    16s UUID    s64 created    s64 modified
             s64 descriptors free    s64 descriptors    s64 position and s64 size of the descriptors
             s64 position and s64 size of the data
     4096  descriptors, 48 of 585 bytes each
             s32 type    u8 used    u32 number, from 1    u32 group    u32 link
             s64 position    s64 size    s64 size with the padding before it
             s64 created    s64 modified    s64 uid    s64 gid    128s name    384s extra
    32176  data objects, one behind the other
           the partition, at the next multiple of 4096: a squashfs image
             extra: s32 file system (1 squashfs)    s32 use (2 primary system)    3s architecture

A group is ``0xf0000000 | number``. Signatures are further data objects that link to a group.

Source: github.com/apptainer/sif/v2, pkg/sif (sif.go, descriptor.go).
"""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from envpack.errors import IntegrityError

_LAUNCH = b"#!/usr/bin/env run-singularity\n"
_MAGIC = b"SIF_MAGIC\0"
_VERSION = b"01\0"
_HEADER = struct.Struct("<32s10s3s3s16s8q")
_DESCRIPTOR = struct.Struct("<iB3I7q128s384s")
_PARTITION = struct.Struct("<2i3s")
_DESCRIPTORS = 48
_DESCRIPTORS_AT = 4096
_DATA_AT = _DESCRIPTORS_AT + _DESCRIPTORS * _DESCRIPTOR.size
_ALIGNMENT = 4096
_NAME_MAX = 127
_GROUP = 0xF0000001
_SQUASHFS = 1
_ENCRYPTED_SQUASHFS = 5
_PRIMARY_SYSTEM = 2
# Signed files and ones with many objects have a larger table, but none has this many.
_DESCRIPTORS_MAX = 1 << 16


class DataType(IntEnum):
    """What a data object is (sif ``descriptor.go``)."""

    DEFINITION_FILE = 0x4001
    ENVIRONMENT = 0x4002
    LABELS = 0x4003
    PARTITION = 0x4004
    SIGNATURE = 0x4005
    GENERIC_JSON = 0x4006
    GENERIC = 0x4007
    CRYPTO_MESSAGE = 0x4008
    SBOM = 0x4009
    OCI_ROOT_INDEX = 0x400A
    OCI_BLOB = 0x400B


@dataclass(frozen=True, slots=True)
class DataObject:
    """A small object stored before the partition; ``name`` has at most 127 bytes of UTF-8."""

    type: DataType
    data: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One used descriptor of a file: position and size in bytes, dates in seconds since the epoch.

    ``type`` is a :class:`DataType` or a number this module does not know; ``extra`` is what the type says.
    """

    type: int
    number: int
    group: int
    link: int
    offset: int
    size: int
    created: int
    modified: int
    uid: int
    gid: int
    name: str
    extra: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sif:
    """A file's header and used descriptors; ``architecture`` is the two-digit code."""

    path: Path
    architecture: str
    id: uuid.UUID
    created: int
    modified: int
    descriptors: tuple[Descriptor, ...]

    def objects(self, type: int) -> tuple[Descriptor, ...]:
        """The descriptors of one type, in order."""
        return tuple(found for found in self.descriptors if found.type == type)

    def partition(self) -> Descriptor:
        """The primary system partition, which is squashfs; raises :class:`IntegrityError` without one."""
        for found in self.objects(DataType.PARTITION):
            file_system, use, _ = _PARTITION.unpack_from(found.extra)
            if use != _PRIMARY_SYSTEM:
                continue
            if file_system != _SQUASHFS:
                kind = "encrypted" if file_system == _ENCRYPTED_SQUASHFS else "not squashfs"
                raise IntegrityError(f"the system partition of {self.path} is {kind} and cannot be read")
            return found
        raise IntegrityError(f"{self.path} has no system partition", hint="Is it an image for Apptainer?")


def partition_offset(objects: Sequence[DataObject]) -> int:
    """Where the partition starts in a file with these objects: the length of its :func:`head`."""
    return _aligned(_DATA_AT + sum(len(found.data) for found in objects))


def head(
    objects: Sequence[DataObject],
    *,
    partition_size: int,
    architecture: str,
    content: bytes,
    epoch: int,
) -> bytes:
    """All of a file before its partition, which is the rest of it.

    ``architecture`` is the two-digit code (``Platform.sif_architecture``); ``content`` is a digest of the
    partition, from which, with the objects, the file's UUID is made; ``epoch`` (seconds) is all its dates.
    The objects are at most 47. No user is recorded.
    """
    assert len(objects) < _DESCRIPTORS, "more objects than descriptors"
    code = architecture.encode() + b"\0"
    identity = hashlib.sha256()
    descriptors: list[bytes] = []
    end = _DATA_AT
    for found in objects:
        start, end = end, end + len(found.data)
        descriptors.append(_pack(len(descriptors) + 1, found.type, (start, end), epoch, name=found.name))
        identity.update(struct.pack("<iQ", found.type, len(found.data)) + found.data)
    padding = bytes(_aligned(end) - end)
    start, end = end + len(padding), end + len(padding) + partition_size
    extra = _PARTITION.pack(_SQUASHFS, _PRIMARY_SYSTEM, code)
    number = len(descriptors) + 1
    descriptors.append(
        _pack(number, DataType.PARTITION, (start, end), epoch, padding=len(padding), extra=extra)
    )
    identity.update(content)

    table = b"".join(descriptors).ljust(_DESCRIPTORS * _DESCRIPTOR.size, b"\0")
    header = _HEADER.pack(
        _LAUNCH,
        _MAGIC,
        _VERSION,
        code,
        _content_uuid(identity.digest()).bytes,
        epoch,
        epoch,
        _DESCRIPTORS - len(descriptors),
        _DESCRIPTORS,
        _DESCRIPTORS_AT,
        len(table),
        _DATA_AT,
        end - _DATA_AT,
    )
    data = b"".join(found.data for found in objects)
    return header.ljust(_DESCRIPTORS_AT, b"\0") + table + data + padding


def read(path: Path) -> Sif:
    """Read header and descriptors; raises :class:`IntegrityError` if they do not describe the file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size or header[32:42] != _MAGIC:
                raise IntegrityError(f"{path} is not a SIF file")
            _, _, version, architecture, raw_id, created, modified, _, total, table_at, table_size, _, _ = (
                _HEADER.unpack(header)
            )
            if version != _VERSION:
                raise _damaged(path, f"it has version {_text(version)!r}, expected '01'")
            if not 0 <= total <= _DESCRIPTORS_MAX or table_size < total * _DESCRIPTOR.size:
                raise _damaged(path, f"it claims {total} descriptors in {table_size} bytes")
            if not 0 < table_at <= size:
                raise _damaged(path, "its descriptors are outside of the file")
            file.seek(table_at)
            table = file.read(total * _DESCRIPTOR.size)
    except OSError as error:
        raise IntegrityError(f"cannot read {path}", why=str(error)) from error
    if len(table) != total * _DESCRIPTOR.size:
        raise _damaged(path, "its descriptors are cut short")
    descriptors = []
    for fields in _DESCRIPTOR.iter_unpack(table):
        kind, used, number, group, link, offset, length, _, born, changed, uid, gid, name, extra = fields
        if not used:
            continue
        if offset < 0 or length < 0 or offset + length > size:
            raise _damaged(path, f"its data object {number} is outside of the file: it may be cut short")
        found = Descriptor(
            kind, number, group, link, offset, length, born, changed, uid, gid, _text(name), extra
        )
        descriptors.append(found)
    return Sif(path, _text(architecture), uuid.UUID(bytes=raw_id), created, modified, tuple(descriptors))


def read_object(sif: Sif, descriptor: Descriptor, limit: int = 1 << 26) -> bytes:
    """The data of one object; raises :class:`IntegrityError` for more than ``limit`` bytes."""
    if descriptor.size > limit:
        raise _damaged(sif.path, f"its data object {descriptor.number} has {descriptor.size} bytes")
    try:
        with sif.path.open("rb") as file:
            file.seek(descriptor.offset)
            data = file.read(descriptor.size)
    except OSError as error:
        raise IntegrityError(f"cannot read {sif.path}", why=str(error)) from error
    if len(data) != descriptor.size:
        raise _damaged(sif.path, f"its data object {descriptor.number} is cut short")
    return data


def _pack(
    number: int,
    kind: DataType,
    span: tuple[int, int],
    epoch: int,
    *,
    padding: int = 0,
    name: str = "",
    extra: bytes = b"",
) -> bytes:
    """One descriptor of the data from ``span[0]`` to ``span[1]``."""
    raw = name.encode()
    assert len(raw) <= _NAME_MAX, "the name does not fit its field"
    size = span[1] - span[0]
    return _DESCRIPTOR.pack(
        kind, 1, number, _GROUP, 0, span[0], size, size + padding, epoch, epoch, 0, 0, raw, extra
    )


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _content_uuid(digest: bytes) -> uuid.UUID:
    """A version 8 UUID (RFC 9562: content of the maker's choice) of a digest's first bits."""
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=number)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"the SIF file {path} is damaged", why=why, hint="Copy, download or build it again."
    )
