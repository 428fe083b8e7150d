"""Reading squashfs 4.0 images, ours and others', as untrusted input.

Memory is bounded whatever an image claims: blocks unpack to at most the block size, tables are read where
they are needed, contents are given in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from envpack.entry import Entry, Kind, decode_path, encode_path
from envpack.errors import IntegrityError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.codec import decompressor
from envpack.formats.squashfs.index import KINDS
from envpack.formats.squashfs.inode_reader import Child, Inode, read_inode, read_listing, read_xattrs
from envpack.formats.squashfs.metadata_reader import Cursor, ImageFile, LookupTable, Metadata, damaged

# As many as Linux follows in one path.
_LINKS_FOLLOWED = 40
_PATH_MAX = 1 << 16
_WORDS_AT_ONCE = 1024
_REFERENCE_BITS = 16


class Squashfs:
    """A squashfs 4.0 image in ``file`` (seekable) from ``offset`` on, compressed with gzip or zstd.

    ``epoch`` is the image's date in seconds, ``size`` its bytes without padding, ``inodes`` their number.
    ``file`` must stay open and is not to be used from several threads. Raises :class:`IntegrityError`
    here and in every method for anything that cannot be: positions outside of the image, loops, blocks
    of impossible size.
    """

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        available = file.seek(0, os.SEEK_END) - offset
        head = ImageFile(file, offset, max(available, 0)).read(0, layout.SUPERBLOCK.size)
        (
            magic, self.inodes, self.epoch, self._block_size, fragments, compression_id, block_log, _,
            ids, major, minor, self._root, self.size, id_table, xattr_table, self._inode_table,
            self._directory_table, fragment_table, _,
        ) = layout.SUPERBLOCK.unpack(head)  # fmt: skip
        if magic != layout.MAGIC:
            raise IntegrityError("this is not a squashfs image")
        if (major, minor) != (4, 0):
            raise IntegrityError(f"the squashfs image has version {major}.{minor}, expected 4.0")
        if not 12 <= block_log <= 20 or self._block_size != 1 << block_log:
            raise damaged(f"its block size is {self._block_size}")
        if self.size > available:
            raise damaged(f"it is cut short: {available} bytes of {self.size}")
        self._image = ImageFile(file, offset, self.size)
        self._decompress = decompressor(compression_id)
        self._metadata = Metadata(self._image, self._decompress)
        self._ids = self._table(id_table, ids, layout.U32.size, "owner")
        self._owners: dict[int, int] = {}
        self._fragments = self._table(fragment_table, fragments, layout.FRAGMENT.size, "fragment")
        self._xattrs: LookupTable | None = None
        self._xattr_pairs = 0
        if xattr_table != layout.NONE64:
            raw = self._image.read(xattr_table, layout.XATTR_TABLE.size)
            self._xattr_pairs, count, _ = layout.XATTR_TABLE.unpack(raw)
            positions = xattr_table + layout.XATTR_TABLE.size
            self._xattrs = self._table(positions, count, layout.XATTR_RECORD.size, "attribute set")
        self._fragment: tuple[int, bytes] = (layout.NONE32, b"")

    def entries(self) -> Iterator[Entry]:
        """Every path below the root, parents first, siblings in byte order; contents are read when asked for.

        The second and later names of an inode are hard links to the first.
        """
        root = self._inode(self._root)
        visited = {self._root}
        linked: dict[int, str] = {}
        todo = [(b"", self._children(root))]
        while todo:
            parent, children = todo[-1]
            child = next(children, None)
            if child is None:
                todo.pop()
                continue
            path = parent + child.name
            if len(path) > _PATH_MAX:
                raise damaged("its directories are nested without end")
            inode = self._inode(child.reference)
            if inode.kind != child.kind:
                raise damaged(f"{decode_path(path)!r} is listed as another kind than it is")
            name = decode_path(path)
            if inode.kind == layout.DIRECTORY:
                if child.reference in visited:
                    raise damaged(f"the directory {name!r} has two names")
                visited.add(child.reference)
                todo.append((path + b"/", self._children(inode)))
            elif inode.links > 1:
                first = linked.setdefault(child.reference, name)
                if first != name:
                    yield self._entry(name, inode, target=first)
                    continue
            yield self._entry(name, inode)

    def lookup(self, path: str) -> Entry | None:
        """The entry at ``path``, all symlinks followed inside the image; None if there is none."""
        inode = self._resolve(encode_path(path))
        return None if inode is None else self._entry(path, inode)

    def names(self, path: str) -> list[str] | None:
        """The names in the directory at ``path`` (symlinks followed); None if there is none."""
        inode = self._resolve(encode_path(path))
        if inode is None or inode.kind != layout.DIRECTORY:
            return None
        return [decode_path(child.name) for child in self._children(inode)]

    def read(self, path: str, limit: int = 1 << 26) -> bytes:
        """The content of the file at ``path`` (symlinks followed).

        Raises :class:`IntegrityError` if it is not there, not a file, or has more than ``limit`` bytes.
        """
        inode = self._resolve(encode_path(path))
        if inode is None or inode.kind != layout.FILE:
            raise IntegrityError(f"the image has no file {path!r}")
        if inode.size > limit:
            raise IntegrityError(f"the file {path!r} in the image has {inode.size} bytes, more than {limit}")
        return b"".join(self._content(inode))

    def _table(self, position: int, count: int, size: int, name: str) -> LookupTable:
        return LookupTable(self._image, self._metadata, position, count=count, size=size, name=name)

    def _cursor(self, table: int, reference: int) -> Cursor:
        block, offset = reference >> _REFERENCE_BITS, reference & 0xFFFF
        return Cursor(self._metadata, table, block, offset)

    def _inode(self, reference: int) -> Inode:
        return read_inode(self._cursor(self._inode_table, reference))

    def _children(self, inode: Inode) -> Iterator[Child]:
        if inode.kind != layout.DIRECTORY:
            raise damaged("its root is not a directory")
        block, offset, size = inode.listing
        if not size:  # the place of an empty listing may be behind the table
            return iter(())
        return read_listing(Cursor(self._metadata, self._directory_table, block, offset), size)

    def _resolve(self, path: bytes) -> Inode | None:
        """Walk to ``path``, following symlinks; ``..`` does not leave the root."""
        above = [self._inode(self._root)]
        todo = path.split(b"/")[::-1]
        followed = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if len(above) > 1:
                    above.pop()
                continue
            if above[-1].kind != layout.DIRECTORY:
                return None
            child = next((c for c in self._children(above[-1]) if c.name == name), None)
            if child is None:
                return None
            inode = self._inode(child.reference)
            if inode.kind == layout.SYMLINK:
                followed += 1
                if followed > _LINKS_FOLLOWED:
                    return None
                if inode.target.startswith(b"/"):
                    del above[1:]
                todo += inode.target.split(b"/")[::-1]
                continue
            above.append(inode)
        return above[-1]

    def _entry(self, path: str, inode: Inode, target: str | None = None) -> Entry:
        """The entry of an inode; with ``target`` a hard link to that path."""
        kind = KINDS[inode.kind] if target is None else Kind.HARDLINK
        is_file = kind is Kind.FILE
        return Entry(
            path,
            kind,
            inode.mode,
            inode.size if is_file else 0,
            self._content(inode) if is_file else (),
            target=decode_path(inode.target) if target is None else target,
            mtime=inode.mtime,
            uid=self._owner(inode.uid_index),
            gid=self._owner(inode.gid_index),
            device=inode.device,
            xattrs=() if inode.xattrs == layout.NONE32 else self._attributes(inode.xattrs),
        )

    def _owner(self, index: int) -> int:
        if index not in self._owners:
            (self._owners[index],) = layout.U32.unpack(self._ids.record(index))
        return self._owners[index]

    def _attributes(self, number: int) -> tuple[tuple[str, bytes], ...]:
        if self._xattrs is None:
            raise damaged("it has no extended attributes but refers to them")
        reference, count, _ = layout.XATTR_RECORD.unpack(self._xattrs.record(number))
        return read_xattrs(
            self._cursor(self._xattr_pairs, reference),
            count,
            lambda value: self._cursor(self._xattr_pairs, value),
        )

    def _content(self, inode: Inode) -> Iterator[bytes]:
        """A file's bytes, a block at a time."""
        assert inode.words is not None
        left = inode.size
        position = inode.start
        blocks = left // self._block_size
        if inode.fragment == layout.NONE32 and left % self._block_size:
            blocks += 1
        while blocks:
            words = inode.words.take(min(blocks, _WORDS_AT_ONCE) * layout.U32.size)
            for (word,) in layout.U32.iter_unpack(words):
                size = min(left, self._block_size)
                if word:
                    yield self._block(position, word, size)
                else:
                    yield bytes(size)
                position += word & ~layout.BLOCK_PLAIN
                left -= size
                blocks -= 1
        if left:
            if inode.fragment != self._fragment[0]:
                start, word, _ = layout.FRAGMENT.unpack(self._fragments.record(inode.fragment))
                self._fragment = inode.fragment, self._block(start, word, None)
            piece = self._fragment[1][inode.offset : inode.offset + left]
            if len(piece) != left:
                raise damaged("a file ends outside of its fragment")
            yield piece

    def _block(self, position: int, word: int, size: int | None) -> bytes:
        """The unpacked data block at ``position``, of ``size`` bytes if that is known."""
        stored = word & ~layout.BLOCK_PLAIN
        if stored > self._block_size:
            raise damaged(f"the data block at {position} has {stored} bytes")
        data = self._image.read(position, stored)
        if not word & layout.BLOCK_PLAIN:
            data = self._decompress(data, self._block_size)
        if size is not None and len(data) != size:
            raise damaged(f"the data block at {position} unpacks to {len(data)} bytes instead of {size}")
        return data
