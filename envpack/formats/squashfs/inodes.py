"""Writing inodes and directory listings; see :mod:`envpack.formats.squashfs.layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from envpack.errors import IntegrityError
from envpack.formats.squashfs.codec import Compress
from envpack.formats.squashfs.index import NO_MTIME, Index
from envpack.formats.squashfs.layout import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEVICE_INODE,
    DEVICE_INODE_X,
    DIRECTORY,
    DIRECTORY_INDEX,
    DIRECTORY_INODE,
    DIRECTORY_INODE_X,
    EXTENDED,
    FILE,
    FILE_INODE,
    FILE_INODE_X,
    IPC_INODE,
    IPC_INODE_X,
    LISTING_EXTRA,
    METADATA_SIZE,
    NONE32,
    RUN,
    RUN_ENTRIES,
    RUN_ENTRY,
    SYMLINK,
    SYMLINK_INODE,
    U32,
)
from envpack.formats.squashfs.metadata import MetadataWriter
from envpack.formats.squashfs.tree import UNWRITTEN, Node, Tree
from envpack.formats.squashfs.xattrs import XattrTable

_ID_LAST = 0xFFFE
_DELTA_MIN, _DELTA_MAX = -0x8000, 0x7FFF


class _Listing(NamedTuple):
    """Where a directory's listing is: directory-table block, offset in it, bytes."""

    block: int
    offset: int
    size: int
    subdirectories: int
    index_entries: list[bytes]


class InodeWriter:
    """Numbers the inodes of a tree and writes the inode and directory tables.

    ``data_starts`` and ``first_fragments`` say, for each segment, where its data is in the image and the
    number of its first fragment block. Directories are written after what is in them, so that all of a
    directory's inodes are neighbours and its listing needs few runs.
    """

    def __init__(
        self,
        indexes: Sequence[Index],
        data_starts: Sequence[int],
        first_fragments: Sequence[int],
        epoch: int,
        compress: Compress,
    ) -> None:
        self.inodes = MetadataWriter(compress)
        self.listings = MetadataWriter(compress)
        self.xattrs = XattrTable(compress)
        self.ids: dict[int, int] = {}
        self.references: list[int] = []  # by inode number - 1
        self.files = 0
        self.directories = 0
        self.content_size = 0
        self._listed: dict[int, _Listing] = {}  # by inode number, until the inode is written
        self._indexes = indexes
        self._data_starts = data_starts
        self._first_fragments = first_fragments
        self._epoch = epoch

    def write(self, tree: Tree) -> int:
        """Write everything; the reference of the root inode."""
        folders = _number(tree.root)
        count = tree.root.number
        self.references = [0] * count
        self.directories = len(folders)
        for folder, children in folders:
            for _, node in children:
                if node.kind == DIRECTORY:
                    self._write_directory(node, folder.number)
                elif node.block == UNWRITTEN:  # else another name of an inode that is there
                    self._write_other(node)
            self._listed[folder.number] = self._write_listing(children)
        self._write_directory(tree.root, count + 1)
        return self.references[count - 1]

    def _place(self, node: Node) -> None:
        """The inode of ``node`` comes next."""
        inodes = self.inodes
        node.block, node.offset = inodes.block, inodes.offset
        self.references[node.number - 1] = inodes.block << 16 | inodes.offset

    def _head(self, node: Node, extended: bool) -> tuple[int, int, int, int, int, int]:
        """What every inode starts with."""
        return (
            node.kind + EXTENDED if extended else node.kind,
            node.mode,
            self._id(node.uid),
            self._id(node.gid),
            self._epoch if node.mtime == NO_MTIME else node.mtime,
            node.number,
        )

    def _id(self, owner: int) -> int:
        """The position of a uid or gid in the id table."""
        position = self.ids.setdefault(owner, len(self.ids))
        if position > _ID_LAST:
            raise IntegrityError("the image has more than 65535 different owners, which squashfs cannot hold")
        return position

    def _write_directory(self, node: Node, parent: int) -> None:
        listing = self._listed.pop(node.number)
        xattrs = self.xattrs.number(node.xattrs)
        extended = bool(listing.index_entries) or xattrs != NONE32
        head = self._head(node, extended)
        size, links = listing.size + LISTING_EXTRA, 2 + listing.subdirectories
        self._place(node)
        if extended:
            entries = len(listing.index_entries)
            body = (links, size, listing.block, parent, entries, listing.offset, xattrs)
            self.inodes.write(DIRECTORY_INODE_X.pack(*head, *body) + b"".join(listing.index_entries))
        else:
            self.inodes.write(DIRECTORY_INODE.pack(*head, listing.block, links, size, listing.offset, parent))

    def _write_other(self, node: Node) -> None:
        xattrs = self.xattrs.number(node.xattrs)
        if node.kind == FILE:
            packed = self._file(node, xattrs)
        elif node.kind == SYMLINK:
            head = self._head(node, xattrs != NONE32)
            packed = SYMLINK_INODE.pack(*head, node.links, len(node.target)) + node.target
            if xattrs != NONE32:
                packed += U32.pack(xattrs)
        elif node.kind in (BLOCK_DEVICE, CHARACTER_DEVICE):
            if xattrs == NONE32:
                packed = DEVICE_INODE.pack(*self._head(node, False), node.links, node.reference)
            else:
                packed = DEVICE_INODE_X.pack(*self._head(node, True), node.links, node.reference, xattrs)
        elif xattrs == NONE32:
            packed = IPC_INODE.pack(*self._head(node, False), node.links)
        else:
            packed = IPC_INODE_X.pack(*self._head(node, True), node.links, xattrs)
        self._place(node)
        self.inodes.write(packed)

    def _file(self, node: Node, xattrs: int) -> bytes:
        """A file's inode and its block words."""
        segment = node.segment
        index = self._indexes[segment]
        size, start, sparse, first_word, words, fragment, offset = index.contents[node.reference]
        start = start + self._data_starts[segment] if words else 0
        if fragment != NONE32:
            fragment += self._first_fragments[segment]
        self.files += 1
        self.content_size += size
        packed_words = index.words[4 * first_word : 4 * (first_word + words)]
        # A basic inode has 32-bit numbers, one name, no holes and no attributes.
        if start > NONE32 or size > NONE32 or node.links > 1 or sparse or xattrs != NONE32:
            body = (start, size, sparse, node.links, fragment, offset, xattrs)
            return FILE_INODE_X.pack(*self._head(node, True), *body) + packed_words
        return FILE_INODE.pack(*self._head(node, False), start, fragment, offset, size) + packed_words

    def _write_listing(self, children: Sequence[tuple[bytes, Node]]) -> _Listing:
        """Write the runs of one directory; an index entry for each metadata block after the first."""
        writer = self.listings
        block, offset = writer.block, writer.offset
        indexed, position = block, offset
        index = []
        done = 0
        while done < len(children):
            name, first = children[done]
            if writer.block != indexed:
                indexed = writer.block
                index.append(DIRECTORY_INDEX.pack(position - offset, indexed, len(name) - 1) + name)
            entries: list[bytes] = []
            # A run ends with the entry that crosses into the next metadata block: the index points at runs.
            room = METADATA_SIZE - writer.offset - RUN.size
            for name, node in children[done : done + RUN_ENTRIES]:
                delta = node.number - first.number
                crossed = entries and room <= 0
                if crossed or node.block != first.block or not _DELTA_MIN <= delta <= _DELTA_MAX:
                    break
                entries.append(RUN_ENTRY.pack(node.offset, delta, node.kind, len(name) - 1) + name)
                room -= len(entries[-1])
            packed = RUN.pack(len(entries) - 1, first.block, first.number) + b"".join(entries)
            writer.write(packed)
            position += len(packed)
            done += len(entries)
        subdirectories = sum(node.kind == DIRECTORY for _, node in children)
        return _Listing(block, offset, position - offset, subdirectories, index)


def _number(root: Node) -> list[tuple[Node, list[tuple[bytes, Node]]]]:
    """Give every inode its number and count its names; the directories with their children in byte order.

    Directories come after those below them, so the root is last and has the highest number. Not
    recursive: a tree may be deeper than the interpreter's stack.
    """
    above: list[tuple[Node, list[tuple[bytes, Node]]]] = []
    todo = [root]
    while todo:
        folder = todo.pop()
        children = sorted(folder.children.items())
        above.append((folder, children))
        todo += [node for _, node in children if node.kind == DIRECTORY]
    above.reverse()
    number = 0
    for _, children in above:
        for _, node in children:
            node.links += 1
            if not node.number:
                number += 1
                node.number = number
    root.number = number + 1
    return above
