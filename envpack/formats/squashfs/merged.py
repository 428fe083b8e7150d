"""Segments laid over each other and read back as entries: what other formats than squashfs are made from.

The tree is the one an image of these segments has, so that every format holds the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from envpack.entry import Entry, Kind, decode_path, encode_path
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.contents import Contents
from envpack.formats.squashfs.index import KINDS, NO_MTIME, Index, Segment
from envpack.formats.squashfs.tree import Node, Overwritten, Tree

_Placed = tuple[bytes, Node]


class Merged:
    """The tree of ``segments``, of which later ones win; see :func:`envpack.formats.squashfs.image.assemble`.

    ``overwritten`` lists paths that several segments have.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._paths = tuple(segment.path for segment in segments)
        self._indexes = tuple(segment.index for segment in segments)
        self._tree = Tree(self._indexes)
        self.overwritten: tuple[Overwritten, ...] = tuple(self._tree.overwritten)

    def parts(self, groups: Sequence[Collection[int]]) -> list[Part]:
        """What each group of segments (by position) contributes to the tree, and the directories on the way
        there. No path but a directory's is in two parts, and directories are the same in all of them: laid
        over each other in any order they are the tree.
        """
        made = []
        for directories, others in _select(self._tree.root, groups):
            directories.sort(key=_by_path)
            others.sort(key=_by_segment)
            made.append(Part(self._paths, self._indexes, directories, others))
        return made

    def part(self, segments: Collection[int]) -> Part:
        """One of :meth:`parts`."""
        return self.parts([segments])[0]

    def size(self, segment: int) -> int:
        """The bytes of a segment's different contents, whether or not others overwrite them."""
        return sum(content[0] for content in self._indexes[segment].contents)

    def kind(self, path: str) -> Kind | None:
        """What is at ``path``, symlinks followed; ``None`` if there is nothing."""
        node = self._tree.find(encode_path(path))
        return KINDS[node.kind] if node else None

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of the file at ``path``, symlinks followed.

        ``None`` if there is nothing, something else, or a file of more than ``limit`` bytes.
        """
        node = self._tree.find(encode_path(path))
        if node is None or node.kind != layout.FILE:
            return None
        with Contents(self._paths[node.segment], self._indexes[node.segment]) as contents:
            if contents.size(node.reference) > limit:
                return None
            return b"".join(contents.chunks(node.reference))

    def counts(self) -> Counts:
        """How much the whole tree holds."""
        files = directories = size = 0
        seen: set[int] = set()
        todo = [self._tree.root]
        while todo:
            node = todo.pop()
            todo += node.children.values()
            if node.kind == layout.DIRECTORY:
                directories += 1
            elif node.kind == layout.FILE and id(node) not in seen:
                seen.add(id(node))
                files += 1
                size += self._indexes[node.segment].contents[node.reference][0]
        return Counts(files, directories, size)


@dataclass(frozen=True, slots=True)
class Counts:
    """Regular files (hard links once), directories with the root, and the files' bytes."""

    files: int
    directories: int
    size: int


class Part:
    """Some of a merged tree's paths: ``directories`` with parents first, ``others`` by segment and path."""

    def __init__(
        self,
        paths: Sequence[Path],
        indexes: Sequence[Index],
        directories: Sequence[_Placed],
        others: Sequence[_Placed],
    ) -> None:
        self._paths, self._indexes = paths, indexes
        self._directories, self._others = directories, others

    def key(self) -> str:
        """A hash of all that :meth:`entries` gives; contents by their segment and their place in it."""
        found = hashlib.sha256()
        for path, node in self._directories:
            found.update(_identity(path, node))
        for path, node, first in _with_first_names(self._others):
            content = self._indexes[node.segment].digest if node.kind == layout.FILE else b""
            found.update(_identity(path, node, first, content))
        return found.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Directories first, parents before children; then what is in them, segment by segment, by path.

        The second and later names of a file are hard links to the first.
        """
        for path, node in self._directories:
            yield _entry(path, node)
        for segment, placed in groupby(_with_first_names(self._others), key=lambda item: item[1].segment):
            with Contents(self._paths[segment], self._indexes[segment]) as contents:
                for path, node, first in placed:
                    if first != path:
                        yield _entry(path, node, kind=Kind.HARDLINK, target=first)
                    elif node.kind == layout.FILE:
                        size, chunks = contents.size(node.reference), contents.chunks(node.reference)
                        yield _entry(path, node, size=size, chunks=chunks)
                    else:
                        yield _entry(path, node)


def _with_first_names(placed: Iterable[_Placed]) -> Iterator[tuple[bytes, Node, bytes]]:
    """Each path and node with the first path of that node."""
    first: dict[int, bytes] = {}
    for path, node in placed:
        yield path, node, first.setdefault(id(node), path)


def _select(root: Node, groups: Sequence[Collection[int]]) -> Iterator[tuple[list[_Placed], list[_Placed]]]:
    """For each group of segments: its directories with those above anything of it, and everything else."""
    owners = {segment: owner for owner, group in enumerate(groups) for segment in group}
    found: list[tuple[list[_Placed], list[_Placed]]] = [([], []) for _ in groups]
    folders: list[tuple[bytes, Node, int]] = [(b"", root, 0)]  # and the place of the one above
    needed: list[set[int]] = [set()]  # by which groups
    for place, (start, folder, _) in enumerate(folders):  # which grows meanwhile
        if folder.segment in owners:
            needed[place].add(owners[folder.segment])
        for name, node in folder.children.items():
            path = start + name
            if node.kind == layout.DIRECTORY:
                folders.append((path + b"/", node, place))
                needed.append(set())
            elif (owner := owners.get(node.segment)) is not None:
                found[owner][1].append((path, node))
                needed[place].add(owner)
    for place in range(len(folders) - 1, 0, -1):  # children before parents
        path, node, above = folders[place]
        needed[above] |= needed[place]
        for owner in needed[place]:
            found[owner][0].append((path[:-1], node))
    yield from found


def _by_path(placed: _Placed) -> list[bytes]:
    return placed[0].split(b"/")


def _by_segment(placed: _Placed) -> tuple[int, bytes]:
    return placed[1].segment, placed[0]


def _identity(path: bytes, node: Node, first: bytes = b"", content: bytes = b"") -> bytes:
    """All that an entry is made from."""
    owner = (node.uid, node.gid, node.mtime, node.xattrs)
    return ascii((path, node.kind, node.mode, owner, node.target, node.reference, first, content)).encode()


def _entry(
    path: bytes,
    node: Node,
    *,
    kind: Kind | None = None,
    target: bytes | None = None,
    size: int = 0,
    chunks: Iterator[bytes] | tuple[()] = (),
) -> Entry:
    is_device = node.kind in (layout.BLOCK_DEVICE, layout.CHARACTER_DEVICE)
    return Entry(
        decode_path(path),
        kind or KINDS[node.kind],
        node.mode,
        size,
        chunks,
        target=decode_path(node.target if target is None else target),
        mtime=None if node.mtime == NO_MTIME else node.mtime,
        uid=node.uid,
        gid=node.gid,
        device=layout.decode_device(node.reference) if is_device else (0, 0),
        xattrs=node.xattrs,
    )
