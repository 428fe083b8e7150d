"""What a segment holds: the index between the data and the footer of a segment file.

One zlib stream of the sections below. All numbers are little-endian; positions count from the segment's own
start::

    counts     u32 each: entries, contents, fragments, block words, attribute sets, then
               u64 each: bytes of paths, bytes of targets
    entries    u8 type (squashfs basic type, 0 for a hard link), u8 0, u16 mode, u32 uid, u32 gid,
               s64 mtime (-1: the image's date), u32 reference, u32 attribute set (all ones: none);
               the reference is a content, a target, an earlier entry (hard link) or a packed device number
    contents   u64 size, u64 first block, u64 bytes in holes, u32 first block word, u32 number of block words,
               u32 fragment (all ones: none), u32 offset in the fragment
    fragments  u64 position, u32 block word
    words      u32 each: squashfs block words
    paths      one for each entry, each ended by a NUL
    targets    of symlinks, each ended by a NUL
    attributes for each set: u16 count, and for each: u16 name length, u32 value length, name, value
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from envpack.entry import Entry, Kind, decode_path, encode_path
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.sections import Packed, Paths
from envpack.formats.squashfs.segment_file import damaged, ending, read_tail, stored

HARDLINK = 0
NO_MTIME = -1

_COUNTS = struct.Struct("<5I2Q")
_ENTRY = struct.Struct("<BxH2Iq2I")
_CONTENT = struct.Struct("<3Q4I")
_FRAGMENT = struct.Struct("<QI")
_WORD = struct.Struct("<I")
_ATTRIBUTES = struct.Struct("<H")
_ATTRIBUTE = struct.Struct("<HI")
# Paths are indexed by the thousand: the fastest level is within a few percent of the best in size.
_LEVEL = 3
# An empty, "." or ".." part in a sequence of NUL-ended paths, one NUL before it.
_UNSAFE = tuple(a + b + c for a in (b"/", b"\0") for b in (b"", b".", b"..") for c in (b"/", b"\0"))

KINDS = {
    HARDLINK: Kind.HARDLINK,
    layout.DIRECTORY: Kind.DIRECTORY,
    layout.FILE: Kind.FILE,
    layout.SYMLINK: Kind.SYMLINK,
    layout.BLOCK_DEVICE: Kind.BLOCK_DEVICE,
    layout.CHARACTER_DEVICE: Kind.CHARACTER_DEVICE,
    layout.FIFO: Kind.FIFO,
    layout.SOCKET: Kind.SOCKET,
}
TYPES = {kind: number for number, kind in KINDS.items()}

Xattrs = tuple[tuple[str, bytes], ...]


class Record(NamedTuple):
    """An entry without its path; see the module's text."""

    type: int
    mode: int
    uid: int
    gid: int
    mtime: int
    reference: int
    xattrs: int


class Content(NamedTuple):
    """Where a file's bytes are, relative to the segment; see the module's text."""

    size: int
    start: int
    sparse: int
    first_word: int
    words: int
    fragment: int
    offset: int


class Fragment(NamedTuple):
    """A fragment block's position in the segment and its block word."""

    start: int
    word: int


@dataclass(frozen=True, slots=True)
class Index:
    """What a segment holds. ``digest`` (32 bytes, sha256) stands for its data and its index.

    ``records``, ``contents`` and ``fragments`` give plain tuples in the order of :class:`Record`,
    :class:`Content` and :class:`Fragment`: there are many, and assembling takes them apart anyway.
    ``words`` are packed.
    """

    digest: bytes
    data_digest: bytes
    data_size: int
    block_size: int
    compression_id: int
    paths: Paths
    records: Packed
    contents: Packed
    fragments: Packed
    words: bytes
    targets: Sequence[bytes]
    xattrs: Sequence[Xattrs]

    def entries(self) -> Iterator[Entry]:
        """The entries as they were written, in order, without their contents (``size`` is there)."""
        paths = list(self.paths)
        for path, fields in zip(paths, self.records, strict=True):
            record = Record._make(fields)
            size, target, device = 0, b"", (0, 0)
            if record.type == layout.FILE:
                size = self.contents[record.reference][0]
            elif record.type == layout.SYMLINK:
                target = self.targets[record.reference]
            elif record.type == HARDLINK:
                target = paths[record.reference]
            elif record.type in (layout.BLOCK_DEVICE, layout.CHARACTER_DEVICE):
                device = layout.decode_device(record.reference)
            yield Entry(
                decode_path(path),
                KINDS[record.type],
                record.mode,
                size,
                target=decode_path(target),
                mtime=None if record.mtime == NO_MTIME else record.mtime,
                uid=record.uid,
                gid=record.gid,
                device=device,
                xattrs=() if record.xattrs == layout.NONE32 else self.xattrs[record.xattrs],
            )


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file and what it holds."""

    path: Path
    index: Index

    @classmethod
    def open(cls, path: Path) -> Segment:
        """The segment at ``path``. Raises as :func:`read_index`."""
        return cls(path, read_index(path))

    @property
    def paths(self) -> Iterator[str]:
        """The paths of its entries, in order."""
        return map(decode_path, self.index.paths)

    def below(self, folder: str) -> Iterator[str]:
        """Those of its paths that are below ``folder``, in order."""
        return map(decode_path, self.index.paths.below(encode_path(folder)))

    def data(self) -> Iterator[memoryview]:
        """Its blocks as they are stored; see :func:`stored`."""
        return stored(self.path, 0, self.index.data_size)


def write_index(
    out: BinaryIO,
    *,
    block_size: int,
    compression_id: int,
    data_size: int,
    data_digest: bytes,
    paths: Sequence[bytes],
    records: Sequence[Record],
    contents: Sequence[Content],
    fragments: Sequence[Fragment],
    words: Sequence[int],
    targets: Sequence[bytes],
    xattrs: Sequence[Xattrs],
) -> None:
    """Write index and footer behind the data."""
    path_bytes = b"".join(path + b"\0" for path in paths)
    target_bytes = b"".join(target + b"\0" for target in targets)
    counts = (len(records), len(contents), len(fragments), len(words), len(xattrs))
    plain = b"".join(
        (
            _COUNTS.pack(*counts, len(path_bytes), len(target_bytes)),
            *(_ENTRY.pack(*record) for record in records),
            *(_CONTENT.pack(*content) for content in contents),
            *(_FRAGMENT.pack(*fragment) for fragment in fragments),
            struct.pack(f"<{len(words)}I", *words),
            path_bytes,
            target_bytes,
            *map(_pack_xattrs, xattrs),
        )
    )
    packed = zlib.compress(plain, _LEVEL)
    out.write(
        ending(
            packed,
            block_size=block_size,
            compression_id=compression_id,
            data_size=data_size,
            plain_size=len(plain),
            data_digest=data_digest,
        )
    )


def read_index(path: Path) -> Index:
    """Load a segment's index. Raises :class:`IntegrityError` if the file is cut, damaged or not ours.

    The data is not read; :func:`verify` does that.
    """
    tail = read_tail(path)
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(tail.packed, tail.plain_size)
        if len(plain) != tail.plain_size:
            raise damaged(path, "its index has another size")
        sections = _unpack(plain)
    except (zlib.error, struct.error, ValueError, IndexError) as error:
        raise damaged(path, str(error)) from error
    # Not of the packed bytes: images must not depend on the zlib of the python that runs.
    identity = hashlib.sha256(plain + tail.data_digest).digest()
    index = Index(identity, tail.data_digest, tail.data_size, tail.block_size, tail.compression_id, *sections)
    reason = _impossible(index)
    if reason:
        raise damaged(path, reason)
    return index


def _pack_xattrs(xattrs: Xattrs) -> bytes:
    parts = [_ATTRIBUTES.pack(len(xattrs))]
    for name, value in xattrs:
        raw = name.encode("utf-8", "surrogateescape")
        parts += (_ATTRIBUTE.pack(len(raw), len(value)), raw, value)
    return b"".join(parts)


_Sections = tuple[Paths, Packed, Packed, Packed, bytes, list[bytes], list[Xattrs]]


def _unpack(plain: bytes) -> _Sections:
    """The index's sections in the order of :class:`Index`; raises ValueError and the like for nonsense."""
    entries, contents, fragments, words, sets, path_size, target_size = _COUNTS.unpack_from(plain)
    position = _COUNTS.size
    view = memoryview(plain)

    def section(size: int) -> memoryview:
        nonlocal position
        start, position = position, position + size
        if position > len(view):
            raise ValueError("a section of the index is cut short")
        return view[start:position]

    records = Packed(_ENTRY, bytes(section(entries * _ENTRY.size)))
    content_records = Packed(_CONTENT, bytes(section(contents * _CONTENT.size)))
    fragment_records = Packed(_FRAGMENT, bytes(section(fragments * _FRAGMENT.size)))
    packed_words = bytes(section(words * _WORD.size))
    path_bytes = bytes(section(path_size))
    framed = b"\0" + path_bytes
    if any(part in framed for part in _UNSAFE):
        raise ValueError("the index holds an unsafe path")
    if path_bytes and path_bytes[-1]:
        raise ValueError("the last path of the index is cut short")
    paths = Paths(path_bytes)
    targets = bytes(section(target_size)).split(b"\0")[:-1]
    if len(paths) != entries:
        raise ValueError("the index holds another number of paths")
    if any(len(path) > layout.NAME_MAX and _has_long_name(path) for path in paths):
        raise ValueError("the index holds a name that is too long")
    if not all(0 < len(target) <= layout.TARGET_MAX for target in targets):
        raise ValueError("the index holds an impossible symlink target")
    xattrs = []
    for _ in range(sets):
        (count,) = _ATTRIBUTES.unpack(section(_ATTRIBUTES.size))
        found = []
        for _ in range(count):
            name_size, value_size = _ATTRIBUTE.unpack(section(_ATTRIBUTE.size))
            name = bytes(section(name_size)).decode("utf-8", "surrogateescape")
            found.append((name, bytes(section(value_size))))
        xattrs.append(tuple(found))
    return paths, records, content_records, fragment_records, packed_words, targets, xattrs


def _has_long_name(path: bytes) -> bool:
    return any(len(name) > layout.NAME_MAX for name in path.split(b"/"))


def _impossible(index: Index) -> str | None:
    """Why an index with the right checksum still cannot be one of ours, if so: an edited cache."""
    limits = {layout.FILE: len(index.contents), layout.SYMLINK: len(index.targets)}
    sets = len(index.xattrs)
    for number, (kind, mode, _, _, mtime, reference, xattrs) in enumerate(index.records):
        if kind not in KINDS or mode > 0o7777 or not NO_MTIME <= mtime <= layout.NONE32:
            return f"its entry {number} is impossible"
        if xattrs >= sets and xattrs != layout.NONE32:
            return f"its entry {number} refers to nothing"
        if kind <= layout.SYMLINK and reference >= limits.get(kind, number if kind == HARDLINK else 1):
            return f"its entry {number} refers to nothing"
        if kind == HARDLINK and index.records.first_byte(reference) == layout.DIRECTORY:
            return f"its entry {number} links to a directory"
    words, fragments = len(index.words) // _WORD.size, len(index.fragments)
    for number, (size, start, _, first, count, fragment, offset) in enumerate(index.contents):
        whole, tail = divmod(size, index.block_size)
        if fragment == layout.NONE32:
            fits = count == whole + bool(tail)
        else:
            fits = count == whole and offset + tail <= index.block_size and fragment < fragments
        if not fits or start > index.data_size or first + count > words:
            return f"its content {number} is impossible"
    for number, (start, word) in enumerate(index.fragments):
        if start + (word & ~layout.BLOCK_PLAIN) > index.data_size:
            return f"its fragment {number} is impossible"
    return None
