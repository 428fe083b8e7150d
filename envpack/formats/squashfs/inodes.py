"""Writing inodes and directory listings; see :mod:`envpack.formats.squashfs.layout`."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from envpack.errors import IntegrityError
from envpack.formats.squashfs.codec import Compress
from envpack.formats.squashfs.index import NO_MTIME, Index
from envpack.formats.squashfs.layout import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEVICE_INODE,
    DIRECTORY,
    DIRECTORY_INDEX,
    DIRECTORY_INODE,
    DIRECTORY_INODE_X,
    EXTENDED,
    FILE,
    FILE_INODE,
    FILE_INODE_X,
    IPC_INODE,
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
from envpack.formats.squashfs.tree import Directory, Tree, placed
from envpack.formats.squashfs.xattrs import XattrTable

_ID_LAST = 0xFFFE
_DELTA_MIN, _DELTA_MAX = -0x8000, 0x7FFF


_Head = tuple[int, int, int, int, int, int]
_Child = tuple[bytes, int, int]  # name, inode number, kind


class _Listing(NamedTuple):
    """Where a directory's listing is: directory-table block, offset in it, bytes."""

    block: int
    offset: int
    size: int
    subdirectories: int
    index_entries: list[bytes]


@dataclass(slots=True, eq=False)
class _Names:
    """Of an inode that may have several names: its number, and how many there are."""

    number: int
    links: int = 1


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
        self.references = array("Q")  # by inode number - 1
        self.files = 0
        self.directories = 0
        self.content_size = 0
        self._listed: dict[int, _Listing] = {}  # by inode number, until the inode is written
        self._indexes = indexes
        self._data_starts = data_starts
        self._first_fragments = first_fragments
        self._epoch = epoch

    def write(self, tree: Tree) -> int:
        """Write everything; the reference of the root inode. Takes ``tree`` apart as it goes."""
        folders, linked = _number(tree)
        count = tree.root.number
        self.references = array("Q", bytes(8 * count))
        self.directories = len(folders)
        last = 0  # number of an inode
        for folder in folders:
            listed: list[_Child] = []
            for name, node in folder.children.items():
                if isinstance(node, Directory):
                    self._write_directory(node, folder.number)
                    last = node.number
                    listed.append((name, last, DIRECTORY))
                    continue
                names = linked.get(node) if linked else None
                if names is None or names.number == last + 1:
                    last += 1
                    links = names.links if names else 1
                    listed.append((name, last, self._write_other(node, last, links)))
                else:  # another name of an inode that is there
                    listed.append((name, names.number, tree.kind(node)))
            folder.children.clear()
            self._listed[folder.number] = self._write_listing(listed)
        self._write_directory(tree.root, count + 1)
        return self.references[count - 1]

    def _place(self, number: int) -> None:
        """The inode of that number comes next."""
        self.references[number - 1] = self.inodes.block << 16 | self.inodes.offset

    def _head(self, kind: int, mode: int, uid: int, gid: int, mtime: int, number: int) -> _Head:
        """What every inode starts with."""
        return kind, mode, self._id(uid), self._id(gid), self._epoch if mtime == NO_MTIME else mtime, number

    def _id(self, owner: int) -> int:
        """The position of a uid or gid in the id table."""
        position = self.ids.setdefault(owner, len(self.ids))
        if position > _ID_LAST:
            raise IntegrityError("the image has more than 65535 different owners, which squashfs cannot hold")
        return position

    def _write_directory(self, node: Directory, parent: int) -> None:
        listing = self._listed.pop(node.number)
        xattrs = self.xattrs.number(node.xattrs)
        extended = bool(listing.index_entries) or xattrs != NONE32
        kind = DIRECTORY + EXTENDED if extended else DIRECTORY
        head = self._head(kind, node.mode, node.uid, node.gid, node.mtime, node.number)
        size, links = listing.size + LISTING_EXTRA, 2 + listing.subdirectories
        self._place(node.number)
        if extended:
            entries = len(listing.index_entries)
            body = (links, size, listing.block, parent, entries, listing.offset, xattrs)
            self.inodes.write(DIRECTORY_INODE_X.pack(*head, *body) + b"".join(listing.index_entries))
        else:
            self.inodes.write(DIRECTORY_INODE.pack(*head, listing.block, links, size, listing.offset, parent))

    def _write_other(self, node: int, number: int, links: int) -> int:
        """Write the inode of a file or the like; its kind."""
        segment, entry = placed(node)
        index = self._indexes[segment]
        kind, mode, uid, gid, mtime, reference, attributes = index.records[entry]
        xattrs = NONE32 if attributes == NONE32 else self.xattrs.number(index.xattrs[attributes])
        extended = xattrs != NONE32
        if kind == FILE:
            size, start, sparse, first_word, words, fragment, offset = index.contents[reference]
            start = start + self._data_starts[segment] if words else 0
            if fragment != NONE32:
                fragment += self._first_fragments[segment]
            self.files += 1
            self.content_size += size
            # A basic inode has 32-bit numbers, one name, no holes and no attributes.
            extended = extended or start > NONE32 or size > NONE32 or links > 1 or sparse > 0
            head = self._head(kind + EXTENDED * extended, mode, uid, gid, mtime, number)
            if extended:
                packed = FILE_INODE_X.pack(*head, start, size, sparse, links, fragment, offset, xattrs)
            else:
                packed = FILE_INODE.pack(*head, start, fragment, offset, size)
            packed += index.words[4 * first_word : 4 * (first_word + words)]
        else:
            head = self._head(kind + EXTENDED * extended, mode, uid, gid, mtime, number)
            if kind == SYMLINK:
                target = index.targets[reference]
                packed = SYMLINK_INODE.pack(*head, links, len(target)) + target
            elif kind in (BLOCK_DEVICE, CHARACTER_DEVICE):
                packed = DEVICE_INODE.pack(*head, links, reference)
            else:
                packed = IPC_INODE.pack(*head, links)
            if extended:
                packed += U32.pack(xattrs)
        self._place(number)
        self.inodes.write(packed)
        return kind

    def _write_listing(self, children: Sequence[_Child]) -> _Listing:
        """Write the runs of one directory; an index entry for each metadata block after the first."""
        writer, references = self.listings, self.references
        block, offset = writer.block, writer.offset
        indexed, position = block, offset
        index = []
        done = 0
        while done < len(children):
            name, first, _ = children[done]
            inodes = references[first - 1] >> 16
            if writer.block != indexed:
                indexed = writer.block
                index.append(DIRECTORY_INDEX.pack(position - offset, indexed, len(name) - 1) + name)
            entries: list[bytes] = []
            # A run ends with the entry that crosses into the next metadata block: the index points at runs.
            room = METADATA_SIZE - writer.offset - RUN.size
            for name, number, kind in children[done : done + RUN_ENTRIES]:
                delta = number - first
                reference = references[number - 1]
                crossed = entries and room <= 0
                if crossed or reference >> 16 != inodes or not _DELTA_MIN <= delta <= _DELTA_MAX:
                    break
                entries.append(RUN_ENTRY.pack(reference & 0xFFFF, delta, kind, len(name) - 1) + name)
                room -= len(entries[-1])
            packed = RUN.pack(len(entries) - 1, inodes, first) + b"".join(entries)
            writer.write(packed)
            position += len(packed)
            done += len(entries)
        subdirectories = sum(kind == DIRECTORY for _, _, kind in children)
        return _Listing(block, offset, position - offset, subdirectories, index)


def _number(tree: Tree) -> tuple[list[Directory], dict[int, _Names]]:
    """Give every inode its number: directories have it themselves, what has several names is in the mapping,
    and the others are counted on in the order of the list and of the names, which are sorted.

    Directories come after those below them, so the root is last and has the highest number. Not
    recursive: a tree may be deeper than the interpreter's stack.
    """
    above: list[Directory] = []
    todo = [tree.root]
    while todo:
        folder = todo.pop()
        folder.children = dict(sorted(folder.children.items()))  # names differ: nodes are not compared
        above.append(folder)
        todo += [node for node in folder.children.values() if isinstance(node, Directory)]
    above.reverse()
    linked: dict[int, _Names] = {}
    number = 0
    for folder in above:
        for node in folder.children.values():
            if isinstance(node, Directory):
                number += 1
                node.number = number
            elif node not in tree.linked:
                number += 1
            elif node in linked:
                linked[node].links += 1
            else:
                number += 1
                linked[node] = _Names(number)
    tree.root.number = number + 1
    return above, linked
