"""One directory tree from the indexes of many segments: later segments win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from envpack.entry import WHITEOUT, decode_path
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.index import HARDLINK, NO_MTIME, Index, Record, Xattrs

# As many as Linux follows in one path.
_LINKS_FOLLOWED = 40
_IMPLIED_MODE = 0o755
_SEGMENT = 32  # bits of an entry's number in its segment
_REFERENCE = Record._fields.index("reference")


class Overwritten(NamedTuple):
    """A path that was given twice and could not be merged; segments by their position."""

    path: str
    loser: int
    winner: int


@dataclass(slots=True, eq=False)
class Directory:
    """A directory, merged from those that segments have: ``segment`` gave the rest of the fields.

    ``number`` is the inode's, filled when the image is written.
    """

    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: Xattrs
    segment: int
    children: dict[bytes, Node] = field(default_factory=dict)
    number: int = 0


Node = Directory | int
"""What is under a name: a directory, or the place of the entry (see :func:`place`) that any other inode is
from. Most of a tree is files: a number for each takes a tenth of what an object takes. Names with one place
are hard links of each other."""


def place(segment: int, entry: int) -> int:
    """One number for an entry of a segment (both by position)."""
    return segment << _SEGMENT | entry


def placed(number: int) -> tuple[int, int]:
    """Segment and entry of a :func:`place`."""
    return number >> _SEGMENT, number & layout.NONE32


class Inode(NamedTuple):
    """All of a node but a directory's children. ``reference`` is a content's position or a device number,
    ``target`` a symlink's text; ``segment`` is where its content, or a directory's mode, is from.
    """

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    reference: int
    xattrs: Xattrs
    segment: int
    target: bytes


class Tree:
    """The merged tree. ``overwritten`` lists what lost, in the order it happened; ``linked`` has the places
    that may be there under several names.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        self.root = _implied_directory(0)
        self.overwritten: list[Overwritten] = []
        self.linked: set[int] = set()
        self._indexes = indexes
        # Directories by the path they were asked for, symlinks included: emptied when one may have changed.
        self._known: dict[bytes, Directory] = {b"": self.root}
        for position, index in enumerate(indexes):
            self._merge(index, position)

    def inode(self, node: Node) -> Inode:
        """What a node stands for."""
        if isinstance(node, Directory):
            owner = (node.mode, node.uid, node.gid, node.mtime)
            return Inode(layout.DIRECTORY, *owner, 0, node.xattrs, node.segment, b"")
        segment, entry = placed(node)
        index = self._indexes[segment]
        record = Record._make(index.records[entry])
        target = index.targets[record.reference] if record.type == layout.SYMLINK else b""
        return Inode(*record[:6], _xattrs(index, record.xattrs), segment, target)

    def kind(self, node: Node) -> int:
        """Its basic type."""
        if isinstance(node, Directory):
            return layout.DIRECTORY
        segment, entry = placed(node)
        return self._indexes[segment].records.first_byte(entry)

    def find(self, path: bytes) -> Node | None:
        """What is at ``path``, symlinks followed inside the root; ``None`` if there is nothing."""
        for _ in range(_LINKS_FOLLOWED):
            parent, _, name = path.rpartition(b"/")
            if name in (b"", b".", b".."):
                return self._walk(path, None)
            folder = self._walk(parent, None)
            node = folder.children.get(name) if folder else None
            target = self._target(node)
            if not target:
                return node
            path = target if target.startswith(b"/") else parent + b"/" + target
        return None

    def narrow(self, path: bytes) -> tuple[str, ...]:
        """Make the directory at ``path`` the root, an empty one if there is none.

        Gives what lies outside of it, and is gone, in byte order: everything but directories, of which only
        empty ones are named.
        """
        top = self.root
        self.root = self._walk(path, None) or _implied_directory(0)
        self._known = {b"": self.root}
        outside = []
        todo: list[tuple[bytes, Directory]] = [(b"", top)]
        while todo:
            start, folder = todo.pop()
            for name, node in folder.children.items():
                if isinstance(node, Directory) and node.children:
                    if node is not self.root:
                        todo.append((start + name + b"/", node))
                elif node is not self.root:
                    outside.append(start + name)
        return tuple(map(decode_path, sorted(outside)))

    def _merge(self, index: Index, position: int) -> None:
        known = self._known
        for number, (path, record) in enumerate(
            zip(index.paths, index.records, strict=True), position << _SEGMENT
        ):
            kind, mode, uid, gid, mtime, reference, attributes = record
            parent, _, name = path.rpartition(b"/")
            folder = known.get(parent) or self._directory(parent, position)
            present = folder.children.get(name)
            if attributes != layout.NONE32 and index.xattrs[attributes] == WHITEOUT:
                if present is not None:
                    del folder.children[name]
                    self._forget(present)
                continue
            node: Node = number
            if kind == HARDLINK:
                node = place(position, self._origin(index, reference))
                self.linked.add(node)
            elif kind == layout.DIRECTORY:
                if present is not None:
                    directory = self._existing_directory(path, present)
                    if directory is not None:
                        if directory is present:
                            directory.mode, directory.uid, directory.gid = mode, uid, gid
                            directory.mtime, directory.xattrs = mtime, _xattrs(index, attributes)
                            directory.segment = position
                        continue
                node = Directory(mode, uid, gid, mtime, _xattrs(index, attributes), position)
            if present is not None:
                self._replace(path, present, position)
            folder.children[name] = node

    def _origin(self, index: Index, entry: int) -> int:
        """The entry that a hard link to ``entry`` leads to, through others."""
        while index.records.first_byte(entry) == HARDLINK:
            entry = index.records[entry][_REFERENCE]
        return entry

    def _target(self, node: Node | None) -> bytes:
        """A symlink's text; empty for everything else."""
        if node is None or isinstance(node, Directory):
            return b""
        segment, entry = placed(node)
        index = self._indexes[segment]
        if index.records.first_byte(entry) != layout.SYMLINK:
            return b""
        return index.targets[index.records[entry][_REFERENCE]]

    def _replace(self, path: bytes, loser: Node, winner: int) -> None:
        segment = loser.segment if isinstance(loser, Directory) else placed(loser)[0]
        self.overwritten.append(Overwritten(decode_path(path), segment, winner))
        self._forget(loser)

    def _forget(self, gone: Node) -> None:
        """Whatever leads through ``gone`` is looked up anew."""
        if isinstance(gone, Directory) or self._target(gone):
            self._known.clear()
            self._known[b""] = self.root

    def _existing_directory(self, path: bytes, present: Node) -> Directory | None:
        """The directory at ``path``, itself or through a symlink, which a later directory entry keeps."""
        if isinstance(present, Directory):
            return present
        return self._walk(path, None) if self._target(present) else None

    def _directory(self, path: bytes, position: int) -> Directory:
        """The directory that ``path`` leads to, made if need be."""
        node = self._walk(path, position)
        assert node is not None
        self._known[path] = node
        return node

    def _walk(self, path: bytes, position: int | None) -> Directory | None:
        """Follow ``path`` and the symlinks in it, never leaving the root.

        With the ``position`` of a segment, what is missing or not a directory becomes one of that segment;
        without it the answer is None.
        """
        nodes = [self.root]
        names: list[bytes] = []
        todo = path.split(b"/")[::-1]
        followed = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if names:
                    names.pop()
                    nodes.pop()
                continue
            node = nodes[-1].children.get(name)
            target = self._target(node)
            if target and followed < _LINKS_FOLLOWED:
                followed += 1
                if target.startswith(b"/"):
                    del nodes[1:], names[:]
                todo += target.split(b"/")[::-1]
                continue
            if not isinstance(node, Directory):
                if position is None:
                    return None
                if node is not None:
                    self._replace(b"/".join((*names, name)), node, position)
                node = nodes[-1].children[name] = _implied_directory(position)
            names.append(name)
            nodes.append(node)
        return nodes[-1]


def _implied_directory(segment: int) -> Directory:
    return Directory(_IMPLIED_MODE, 0, 0, NO_MTIME, (), segment)


def _xattrs(index: Index, number: int) -> Xattrs:
    return () if number == layout.NONE32 else index.xattrs[number]
