"""One directory tree from the indexes of many segments: later segments win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from envpack.entry import WHITEOUT, decode_path
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.index import HARDLINK, NO_MTIME, Index, Xattrs

# As many as Linux follows in one path.
_LINKS_FOLLOWED = 40
_IMPLIED_MODE = 0o755
UNWRITTEN = -1


class Overwritten(NamedTuple):
    """A path that was given twice and could not be merged; segments by their position."""

    path: str
    loser: int
    winner: int


@dataclass(slots=True, eq=False)
class Node:
    """One inode. ``reference`` is a content's position or a device number, ``target`` a symlink's text.

    ``segment`` is where its content or, for a directory, its mode, owner and date are from.

    ``links``, ``number``, ``block`` and ``offset`` are filled when the image is written: the number of
    names, the inode's number, and its place in the inode table.
    """

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    reference: int
    xattrs: Xattrs
    segment: int
    target: bytes = b""
    children: dict[bytes, Node] = field(default_factory=dict)
    links: int = 0
    number: int = 0
    block: int = UNWRITTEN
    offset: int = 0


class Tree:
    """The merged tree. ``overwritten`` lists what lost, in the order it happened."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        self.root = _implied_directory(0)
        self.overwritten: list[Overwritten] = []
        # Directories by the path they were asked for, symlinks included: emptied when one may have changed.
        self._known: dict[bytes, Node] = {b"": self.root}
        for position, index in enumerate(indexes):
            self._merge(index, position)

    def find(self, path: bytes) -> Node | None:
        """What is at ``path``, symlinks followed inside the root; ``None`` if there is nothing."""
        for _ in range(_LINKS_FOLLOWED):
            parent, _, name = path.rpartition(b"/")
            if name in (b"", b".", b".."):
                return self._walk(path, None)
            folder = self._walk(parent, None)
            node = folder.children.get(name) if folder else None
            if node is None or node.kind != layout.SYMLINK:
                return node
            path = node.target if node.target.startswith(b"/") else parent + b"/" + node.target
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
        todo = [(b"", top)]
        while todo:
            start, folder = todo.pop()
            for name, node in folder.children.items():
                if node.kind == layout.DIRECTORY and node.children:
                    if node is not self.root:
                        todo.append((start + name + b"/", node))
                elif node is not self.root:
                    outside.append(start + name)
        return tuple(map(decode_path, sorted(outside)))

    def _merge(self, index: Index, position: int) -> None:
        made: list[Node] = []  # by entry, for hard links
        known = self._known
        targets = index.targets
        for path, record in zip(index.paths, index.records, strict=True):
            kind, mode, uid, gid, mtime, reference, attributes = record
            parent, _, name = path.rpartition(b"/")
            folder = known.get(parent) or self._directory(parent, position)
            present = folder.children.get(name)
            xattrs = () if attributes == layout.NONE32 else index.xattrs[attributes]
            if xattrs == WHITEOUT:
                made.append(folder)  # no hard link is one to a whiteout
                if present is not None:
                    del folder.children[name]
                    self._forget(present)
                continue
            if kind == HARDLINK:
                node = made[reference]
            else:
                if kind == layout.DIRECTORY and present is not None:
                    directory = self._existing_directory(path, present)
                    if directory is not None:
                        made.append(directory)
                        if directory is present:
                            present.mode, present.uid, present.gid = mode, uid, gid
                            present.mtime, present.xattrs = mtime, xattrs
                            present.segment = position
                        continue
                target = targets[reference] if kind == layout.SYMLINK else b""
                node = Node(kind, mode, uid, gid, mtime, reference, xattrs, position, target)
            if present is not None:
                self._replace(path, present, position)
            folder.children[name] = node
            made.append(node)

    def _replace(self, path: bytes, loser: Node, winner: int) -> None:
        self.overwritten.append(Overwritten(decode_path(path), loser.segment, winner))
        self._forget(loser)

    def _forget(self, gone: Node) -> None:
        """Whatever leads through ``gone`` is looked up anew."""
        if gone.kind in (layout.DIRECTORY, layout.SYMLINK):
            self._known.clear()
            self._known[b""] = self.root

    def _existing_directory(self, path: bytes, present: Node) -> Node | None:
        """The directory at ``path``, itself or through a symlink, which a later directory entry keeps."""
        if present.kind == layout.DIRECTORY:
            return present
        if present.kind == layout.SYMLINK:
            return self._walk(path, None)
        return None

    def _directory(self, path: bytes, position: int) -> Node:
        """The directory that ``path`` leads to, made if need be."""
        node = self._walk(path, position)
        assert node is not None
        self._known[path] = node
        return node

    def _walk(self, path: bytes, position: int | None) -> Node | None:
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
            if node is not None and node.kind == layout.SYMLINK and followed < _LINKS_FOLLOWED:
                followed += 1
                if node.target.startswith(b"/"):
                    del nodes[1:], names[:]
                todo += node.target.split(b"/")[::-1]
                continue
            if node is None or node.kind != layout.DIRECTORY:
                if position is None:
                    return None
                if node is not None:
                    self._replace(b"/".join((*names, name)), node, position)
                node = nodes[-1].children[name] = _implied_directory(position)
            names.append(name)
            nodes.append(node)
        return nodes[-1]


def _implied_directory(segment: int) -> Node:
    return Node(layout.DIRECTORY, _IMPLIED_MODE, 0, 0, NO_MTIME, 0, (), segment)
