"""Decoding inodes, directory listings and extended attributes of an image that may be hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from envpack.formats.squashfs.layout import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEVICE_INODE,
    DEVICE_INODE_X,
    DIRECTORY,
    DIRECTORY_INODE,
    DIRECTORY_INODE_X,
    EXTENDED,
    FILE,
    FILE_INODE,
    FILE_INODE_X,
    HEADER,
    IPC_INODE,
    IPC_INODE_X,
    LISTING_EXTRA,
    NONE32,
    RUN,
    RUN_ENTRIES,
    RUN_ENTRY,
    SOCKET,
    SYMLINK,
    SYMLINK_INODE,
    TARGET_MAX,
    U32,
    XATTR_ELSEWHERE,
    XATTR_KEY,
    XATTR_MAX,
    XATTR_PREFIXES,
    decode_device,
)
from envpack.formats.squashfs.metadata_reader import Cursor, damaged

_NAME_MAX = 256
_XATTRS_MAX = 1 << 20
_REFERENCE_BITS = 16
_HEADER_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Inode:
    """A decoded inode; what its kind does not have is at its default. ``kind`` is the basic type.

    ``words`` reads the block words of a file, ``listing`` is the (block, offset, size) of a directory's.
    """

    kind: int
    mode: int
    uid_index: int
    gid_index: int
    mtime: int
    links: int = 1
    xattrs: int = NONE32
    size: int = 0
    start: int = 0
    fragment: int = NONE32
    offset: int = 0
    words: Cursor | None = None
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    listing: tuple[int, int, int] = (0, 0, 0)


class Child(NamedTuple):
    """An entry of a directory listing; ``reference`` is that of its inode."""

    name: bytes
    kind: int
    reference: int


def read_inode(cursor: Cursor) -> Inode:
    """Decode the inode that starts at ``cursor``."""
    head = cursor.take(HEADER.size)
    kind, mode, uid, gid, mtime, _ = HEADER.unpack(head)
    extended = kind > EXTENDED
    basic = kind - EXTENDED if extended else kind
    common = (basic, mode & 0o7777, uid, gid, mtime)
    if not DIRECTORY <= basic <= SOCKET:
        raise damaged(f"there is no inode type {kind}")
    if basic == DIRECTORY:
        if extended:
            links, size, block, _, _, offset, xattrs = _rest(DIRECTORY_INODE_X, head, cursor)
        else:
            block, links, size, offset, _ = _rest(DIRECTORY_INODE, head, cursor)
            xattrs = NONE32
        listing = (block, offset, max(size - LISTING_EXTRA, 0))
        return Inode(*common, links=links, xattrs=xattrs, listing=listing)
    if basic == FILE:
        if extended:
            start, size, _, links, fragment, offset, xattrs = _rest(FILE_INODE_X, head, cursor)
        else:
            start, fragment, offset, size = _rest(FILE_INODE, head, cursor)
            links, xattrs = 1, NONE32
        return Inode(
            *common,
            links=links,
            xattrs=xattrs,
            size=size,
            start=start,
            fragment=fragment,
            offset=offset,
            words=cursor,
        )
    xattrs = NONE32
    if basic == SYMLINK:
        links, size = _rest(SYMLINK_INODE, head, cursor)
        if size > TARGET_MAX:
            raise damaged(f"a symlink has {size} bytes")
        target = cursor.take(size)
        if extended:
            (xattrs,) = U32.unpack(cursor.take(U32.size))
        return Inode(*common, links=links, xattrs=xattrs, target=target)
    if basic in (BLOCK_DEVICE, CHARACTER_DEVICE):
        if extended:
            links, device, xattrs = _rest(DEVICE_INODE_X, head, cursor)
        else:
            links, device = _rest(DEVICE_INODE, head, cursor)
        return Inode(*common, links=links, xattrs=xattrs, device=decode_device(device))
    if extended:
        links, xattrs = _rest(IPC_INODE_X, head, cursor)
    else:
        (links,) = _rest(IPC_INODE, head, cursor)
    return Inode(*common, links=links, xattrs=xattrs)


def read_listing(cursor: Cursor, size: int) -> Iterator[Child]:
    """Decode a directory's listing of ``size`` bytes, lazily; names must be sorted, so none comes twice."""
    last = b""
    while size > 0:
        count, block, _ = RUN.unpack(cursor.take(RUN.size))
        size -= RUN.size
        if count >= RUN_ENTRIES:
            raise damaged(f"a directory has a run of {count + 1} entries")
        for _ in range(count + 1):
            offset, _, kind, length = RUN_ENTRY.unpack(cursor.take(RUN_ENTRY.size))
            if length >= _NAME_MAX:
                raise damaged(f"a name has {length + 1} bytes")
            name = cursor.take(length + 1)
            size -= RUN_ENTRY.size + length + 1
            if name in (b".", b"..") or b"/" in name or b"\0" in name or name <= last:
                raise damaged(f"a directory holds the name {name!r} after {last!r}")
            last = name
            yield Child(name, kind, block << _REFERENCE_BITS | offset)
    if size < 0:
        raise damaged("a directory listing is longer than its inode says")


def read_xattrs(
    cursor: Cursor, count: int, elsewhere: Callable[[int], Cursor]
) -> tuple[tuple[str, bytes], ...]:
    """Decode a set of extended attributes; ``elsewhere`` opens the reference of a value stored before."""
    found = []
    total = 0
    for _ in range(count):
        namespace, length = XATTR_KEY.unpack(cursor.take(XATTR_KEY.size))
        prefix = namespace & ~XATTR_ELSEWHERE
        if prefix >= len(XATTR_PREFIXES) or length >= _NAME_MAX:
            raise damaged("the name of an extended attribute is impossible")
        name = XATTR_PREFIXES[prefix] + cursor.take(length).decode("utf-8", "surrogateescape")
        value = _read_value(cursor)
        if namespace & XATTR_ELSEWHERE:
            if len(value) != 8:
                raise damaged("the value of an extended attribute is nowhere")
            value = _read_value(elsewhere(int.from_bytes(value, "little")))
        total += len(name) + len(value)
        if total > _XATTRS_MAX:
            raise damaged("a file has more than 1 MiB of extended attributes")
        found.append((name, value))
    return tuple(sorted(found))


def _read_value(cursor: Cursor) -> bytes:
    (size,) = U32.unpack(cursor.take(U32.size))
    if size > XATTR_MAX:
        raise damaged(f"an extended attribute has {size} bytes")
    return cursor.take(size)


def _rest(layout: Struct, head: bytes, cursor: Cursor) -> tuple[int, ...]:
    """The fields of an inode after its header."""
    return layout.unpack(head + cursor.take(layout.size - HEADER.size))[_HEADER_FIELDS:]
