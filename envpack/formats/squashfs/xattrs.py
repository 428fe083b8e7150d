"""Writing the table of extended attributes; see :mod:`envpack.formats.squashfs.layout`."""

from __future__ import annotations

from envpack.formats.squashfs.codec import Compress
from envpack.formats.squashfs.index import Xattrs
from envpack.formats.squashfs.layout import (
    NONE32,
    U32,
    XATTR_KEY,
    XATTR_PREFIXES,
    XATTR_RECORD,
    XATTR_TABLE,
)
from envpack.formats.squashfs.metadata import MetadataWriter, lookup_table, pack_positions


class XattrTable:
    """Sets of attributes, each stored once and named by its number.

    Squashfs has the namespaces user, trusted and security; attributes of others cannot be stored and
    are collected in ``unsupported``.
    """

    def __init__(self, compress: Compress) -> None:
        self.unsupported: set[str] = set()
        self._compress = compress
        self._pairs = MetadataWriter(compress)
        self._records = bytearray()
        self._numbers: dict[Xattrs, int] = {(): NONE32}

    def number(self, xattrs: Xattrs) -> int:
        """The number of a set for an inode; all ones for an empty one."""
        known = self._numbers.get(xattrs)
        if known is None:
            known = self._numbers[xattrs] = self._add(xattrs)
        return known

    def finish(self, position: int) -> tuple[bytes, int | None]:
        """The table's bytes from ``position`` on, and where the superblock points; None without any."""
        if not self._records:
            return b"", None
        pairs = self._pairs.finish()
        blocks, positions = lookup_table(bytes(self._records), position + len(pairs), self._compress)
        count = len(self._records) // XATTR_RECORD.size
        head = XATTR_TABLE.pack(position, count, 0)
        body = pairs + blocks
        return body + head + pack_positions(positions), position + len(body)

    def _add(self, xattrs: Xattrs) -> int:
        reference = self._pairs.block << 16 | self._pairs.offset
        count = size = 0
        for name, value in xattrs:
            namespace = next((i for i, p in enumerate(XATTR_PREFIXES) if name.startswith(p)), None)
            if namespace is None:
                self.unsupported.add(name)
                continue
            raw = name.encode("utf-8", "surrogateescape")
            suffix = raw[len(XATTR_PREFIXES[namespace]) :]
            self._pairs.write(XATTR_KEY.pack(namespace, len(suffix)) + suffix + U32.pack(len(value)) + value)
            # Readers give the names as one NUL-ended list: the size counts that and the values.
            size += len(raw) + 1 + len(value)
            count += 1
        if not count:
            return NONE32
        self._records += XATTR_RECORD.pack(reference, count, size)
        return len(self._records) // XATTR_RECORD.size - 1
