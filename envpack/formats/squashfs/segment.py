"""Writing segments: entries in, one position-independent file of compressed blocks and an index out.

The file's layout is drawn in :mod:`envpack.formats.squashfs.segment_file`. What remains of a file after its
whole blocks is packed with others into fragment blocks; a remainder of more than half a block gets its own.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import BinaryIO

from envpack.entry import Entry, Kind, encode_path, is_safe_path
from envpack.errors import IntegrityError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.codec import Compress, compressor
from envpack.formats.squashfs.index import (
    HARDLINK,
    NO_MTIME,
    TYPES,
    Content,
    Fragment,
    Record,
    Xattrs,
    write_index,
)
from envpack.formats.squashfs.options import Options

# Bytes of blocks that are compressed by one thread at once, and how many such batches are in flight: enough
# to keep a few threads busy, few enough to bound memory.
_BATCH = 1 << 20
_WINDOW = 8
# Files up to this size are held in memory to be compared with those before; larger ones stream.
_COMPARED = 8 << 20
# Bytes of small files and tails that are held to be sorted.
_SORTED = 16 << 20


def write_segment(entries: Iterable[Entry], out: BinaryIO, options: Options, pool: Executor) -> None:
    """Write ``entries`` as one segment to ``out``, an empty file at its start.

    Blocks are compressed in ``pool`` (threads); the bytes written do not depend on their number. Contents
    are read in order, once, in pieces; equal contents of up to 8 MiB are stored once. Raises
    :class:`IntegrityError` for entries no image can hold: unsafe paths, a hard link to something that
    did not come before, contents of another length than announced.
    """
    writer = _SegmentWriter(out, options, pool)
    try:
        for entry in entries:
            writer.add(entry)
        writer.finish()
    finally:
        writer.blocks.abandon()


@dataclass(slots=True, eq=False)
class _Run:
    """Consecutive blocks in the segment: those of a file, or one fragment block."""

    start: int = 0
    words: list[int] = field(default_factory=list)


class _Blocks:
    """Compresses blocks in a pool, some at a time, and writes them in the order they were given."""

    def __init__(self, out: BinaryIO, compress: Compress, pool: Executor) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._out = out
        self._compress = compress
        self._pool = pool
        self._batch = _Batch()
        self._pending: deque[tuple[_Batch, Future[list[tuple[bytes, int]]]]] = deque()

    def put(self, run: _Run, data: bytes) -> None:
        """Queue one block of ``run``; no bytes at all are a block of zeros, which takes no space."""
        batch = self._batch
        batch.runs.append(run)
        batch.blocks.append(data)
        batch.size += len(data)
        if batch.size >= _BATCH:
            self._submit()
            self._write(_WINDOW)

    def finish(self) -> None:
        """Write what is queued."""
        self._submit()
        self._write(0)

    def abandon(self) -> None:
        """Forget what is queued."""
        for batch, future in self._pending:
            if future.cancel():
                batch.blocks.clear()

    def _submit(self) -> None:
        self._pending.append((self._batch, self._pool.submit(self._pack, self._batch)))
        self._batch = _Batch()

    def _pack(self, batch: _Batch) -> list[tuple[bytes, int]]:
        """Each block as it is stored, and its block word."""
        stored = []
        for data in batch.blocks:
            packed = self._compress(data) if data else b""
            if len(packed) < len(data) or not data:
                stored.append((packed, len(packed)))
            else:
                stored.append((data, len(data) | layout.BLOCK_PLAIN))
        batch.blocks.clear()
        return stored

    def _write(self, allowed: int) -> None:
        while len(self._pending) > allowed:
            batch, future = self._pending.popleft()
            # What has not begun is done by the one who would wait for it.
            stored = self._pack(batch) if future.cancel() else future.result()
            for run, (packed, word) in zip(batch.runs, stored, strict=True):
                if not run.words:
                    run.start = self.size
                run.words.append(word)
                self._out.write(packed)
                self.digest.update(packed)
                self.size += len(packed)


@dataclass(slots=True, eq=False)
class _Batch:
    """Blocks that are compressed by one thread, and the runs they belong to.

    The blocks go as soon as they are not needed: a pool's queue keeps what was cancelled.
    """

    runs: list[_Run] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True, eq=False)
class _Stored:
    """One file content: its blocks and its part of a fragment. ``sparse`` counts bytes in holes."""

    size: int
    run: _Run
    sparse: int = 0
    fragment: int = layout.NONE32
    offset: int = 0


class _SegmentWriter:
    """Collects the index while entries go by."""

    def __init__(self, out: BinaryIO, options: Options, pool: Executor) -> None:
        self.blocks = _Blocks(out, compressor(options), pool)
        self._out = out
        self._options = options
        self._hole = bytes(options.block_size)
        self._paths: list[bytes] = []
        self._records: list[Record] = []
        self._positions: dict[str, int] = {}
        self._contents: list[_Stored] = []
        self._known: dict[bytes, int] = {}
        self._fragments: list[_Run] = []
        self._tails: list[tuple[str, _Stored, bytes]] = []
        self._tails_size = 0
        self._targets: list[bytes] = []
        self._xattrs: dict[Xattrs, int] = {}

    def add(self, entry: Entry) -> None:
        """Store one entry and its content."""
        _check(entry)
        kind = TYPES[entry.kind]
        reference = 0
        if kind == layout.FILE:
            reference = self._add_content(entry)
        elif kind == layout.SYMLINK:
            reference = len(self._targets)
            self._targets.append(encode_path(entry.target))
        elif kind == HARDLINK:
            reference = self._linked(entry)
        elif kind in (layout.BLOCK_DEVICE, layout.CHARACTER_DEVICE):
            reference = layout.encode_device(*entry.device)
        xattrs = layout.NONE32
        if entry.xattrs:
            xattrs = self._xattrs.setdefault(entry.xattrs, len(self._xattrs))
        mtime = NO_MTIME if entry.mtime is None else min(max(entry.mtime, 0), layout.NONE32)
        self._positions[entry.path] = len(self._paths)
        self._paths.append(encode_path(entry.path))
        self._records.append(Record(kind, entry.mode, entry.uid, entry.gid, mtime, reference, xattrs))

    def finish(self) -> None:
        """Write what is left of the data, and the index."""
        self._pack_tails()
        self.blocks.finish()
        contents = []
        words: list[int] = []
        for stored in self._contents:
            run = stored.run
            content = Content(
                stored.size,
                run.start,
                stored.sparse,
                len(words),
                len(run.words),
                stored.fragment,
                stored.offset,
            )
            contents.append(content)
            words += run.words
        write_index(
            self._out,
            block_size=self._options.block_size,
            compression_id=self._options.compression_id,
            data_size=self.blocks.size,
            data_digest=self.blocks.digest.digest(),
            paths=self._paths,
            records=self._records,
            contents=contents,
            fragments=[Fragment(run.start, run.words[0]) for run in self._fragments],
            words=words,
            targets=self._targets,
            xattrs=list(self._xattrs),
        )

    def _linked(self, entry: Entry) -> int:
        """The position of the entry that a hard link names."""
        position = self._positions.get(entry.target)
        if position is None:
            raise IntegrityError(
                f"the hard link {entry.path!r} refers to {entry.target!r}, which does not come before it"
            )
        if self._records[position].type == layout.DIRECTORY:
            raise IntegrityError(f"the hard link {entry.path!r} refers to the directory {entry.target!r}")
        return position

    def _add_content(self, entry: Entry) -> int:
        """Store a file's content, or find it stored already; its position among the contents."""
        if entry.size > _COMPARED:
            return self._store(entry.path, entry.size, self._split(entry))
        data = _whole(entry)
        key = hashlib.sha256(data).digest()
        known = self._known.get(key)
        if known is None:
            size = self._options.block_size
            pieces = (data[i : i + size] for i in range(0, len(data), size))
            known = self._known[key] = self._store(entry.path, len(data), pieces)
        return known

    def _store(self, path: str, size: int, pieces: Iterable[bytes]) -> int:
        """Store a content given in pieces of the block size (the last one may be shorter)."""
        block_size = self._options.block_size
        stored = _Stored(size, _Run())
        for piece in pieces:
            if len(piece) == block_size:
                if piece == self._hole:
                    stored.sparse += block_size
                    self.blocks.put(stored.run, b"")
                else:
                    self.blocks.put(stored.run, piece)
            elif len(piece) > block_size // 2:
                self.blocks.put(stored.run, piece)
            else:
                self._tails.append((path, stored, piece))
                self._tails_size += len(piece)
        if self._tails_size > _SORTED:
            self._pack_tails()
        self._contents.append(stored)
        return len(self._contents) - 1

    def _pack_tails(self) -> None:
        """Fill fragment blocks with the tails at hand: bytecode, then libraries, then the rest, each by path.

        Archives are in any order, but programs read a directory's files together, and an import reads its
        bytecode without the sources beside it: sorted so, they read and unpack fewer blocks, and like
        compresses well beside like.
        """
        self._tails.sort(key=_place)
        block: list[bytes] = []
        size = 0
        for _, stored, tail in self._tails:
            if size + len(tail) > self._options.block_size:
                self._put_fragment(block)
                block, size = [], 0
            stored.fragment, stored.offset = len(self._fragments), size
            block.append(tail)
            size += len(tail)
        if block:
            self._put_fragment(block)
        self._tails.clear()
        self._tails_size = 0

    def _put_fragment(self, tails: Sequence[bytes]) -> None:
        run = _Run()
        self._fragments.append(run)
        self.blocks.put(run, b"".join(tails))

    def _split(self, entry: Entry) -> Iterator[bytes]:
        """A large file's content in pieces of the block size."""
        block_size = self._options.block_size
        held: list[memoryview] = []
        room = block_size
        seen = 0
        for chunk in entry.chunks:
            seen += len(chunk)
            if seen > entry.size:
                break
            view = memoryview(chunk)
            while view:
                held.append(view[:room])
                view = view[room:]
                room -= len(held[-1])
                if not room:
                    yield b"".join(held)
                    held.clear()
                    room = block_size
        _check_size(entry, seen)
        if held:
            yield b"".join(held)


def _place(tail: tuple[str, _Stored, bytes]) -> tuple[int, str]:
    """By what tails are sorted."""
    path = tail[0]
    if path.endswith(".pyc"):
        return 0, path
    return (1 if path.endswith(".so") or ".so." in path else 2), path


def _whole(entry: Entry) -> bytes:
    """A small file's content."""
    chunks = []
    seen = 0
    for chunk in entry.chunks:
        seen += len(chunk)
        if seen > entry.size:
            break
        chunks.append(chunk)
    _check_size(entry, seen)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_size(entry: Entry, seen: int) -> None:
    if seen != entry.size:
        amount = "more than " if seen > entry.size else f"{seen} instead of "
        raise IntegrityError(f"the content of {entry.path!r} has {amount}{entry.size} bytes")


def _check(entry: Entry) -> None:
    """Refuse what squashfs or Linux cannot hold."""
    if not is_safe_path(entry.path):
        raise IntegrityError(f"the path {entry.path!r} is not relative and normalised")
    reason = None
    path = encode_path(entry.path)
    if len(path) > layout.NAME_MAX and any(len(part) > layout.NAME_MAX for part in path.split(b"/")):
        reason = "a name in its path is longer than 255 bytes"
    elif not 0 <= entry.mode <= 0o7777:
        reason = f"its mode is {entry.mode:o}"
    elif not (0 <= entry.uid < layout.NONE32 and 0 <= entry.gid < layout.NONE32):
        reason = f"its owner is {entry.uid}:{entry.gid}"
    elif entry.kind is Kind.SYMLINK and not _is_target(entry.target):
        reason = "its symlink target is empty, too long or holds a NUL"
    elif not (0 <= entry.device[0] <= 0xFFF and 0 <= entry.device[1] <= 0xFFFFF):
        reason = f"its device number is {entry.device[0]}:{entry.device[1]}"
    elif any(
        len(encode_path(name)) > layout.NAME_MAX or len(value) > layout.XATTR_MAX
        for name, value in entry.xattrs
    ):
        reason = "an extended attribute is too long"
    if reason:
        raise IntegrityError(f"{entry.path!r} cannot be stored in an image", why=reason)


def _is_target(target: str) -> bool:
    return bool(target) and "\0" not in target and len(encode_path(target)) <= layout.TARGET_MAX
