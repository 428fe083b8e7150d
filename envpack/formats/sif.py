"""Singularity Image Format (SIF) files: writer and reader."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO


class DataType(IntEnum):
    """Data object types (sif ``descriptor.go``)."""

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
    """A small object stored before the partition; ``name`` has at most 128 bytes."""

    type: DataType
    data: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One used descriptor of a file that was read; ``type`` may be one this module does not know."""

    type: int
    id: int
    group: int
    link: int
    offset: int
    size: int
    created: int
    modified: int
    name: str
    extra: bytes


@dataclass(frozen=True, slots=True)
class Sif:
    """A SIF file's header and descriptors."""

    architecture: str
    id: uuid.UUID
    created: int
    modified: int
    descriptors: tuple[Descriptor, ...]

    @property
    def partition(self) -> Descriptor:
        """The primary system partition; raises :class:`IntegrityError` if there is none or not squashfs."""
        raise NotImplementedError

    def objects(self, type: int) -> tuple[Descriptor, ...]:
        """The descriptors of one type, in order."""
        raise NotImplementedError


def partition_offset(objects: Sequence[DataObject]) -> int:
    """Where the partition starts in a file with these objects."""
    raise NotImplementedError


def finish(
    out: BinaryIO,
    objects: Sequence[DataObject],
    *,
    partition_size: int,
    architecture: str,
    content: bytes,
    epoch: int,
) -> None:
    """Write all but the partition, which the caller has put at :func:`partition_offset`.

    ``architecture`` is the two-digit code (:attr:`Platform.sif_architecture`); ``content`` is a digest of
    the partition, from which (and the objects) the file's UUID comes; ``epoch`` is all its dates.
    """
    raise NotImplementedError


def read(path: Path) -> Sif:
    """Read header and descriptors; raises :class:`IntegrityError` if they do not describe the file."""
    raise NotImplementedError


def read_object(path: Path, descriptor: Descriptor, limit: int = 1 << 26) -> bytes:
    """The data of one object; refuses more than ``limit`` bytes."""
    raise NotImplementedError
