"""Segments laid over each other and read back as entries: what other formats than squashfs are made from.

The tree is the one an image of these segments has, so that every format holds the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from envpack.entry import Entry, Kind, decode_path, encode_path
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.contents import Contents
from envpack.formats.squashfs.index import KINDS, NO_MTIME, Index, Segment
from envpack.formats.squashfs.tree import Directory, Inode, Overwritten, Tree, placed


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
            made.append(Part(self._paths, self._indexes, self._tree, directories, others))
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
        return None if node is None else KINDS[self._tree.kind(node)]

    def read(self, path: str, limit: int) -> bytes | None:
        """The content of the file at ``path``, symlinks followed.

        ``None`` if there is nothing, something else, or a file of more than ``limit`` bytes.
        """
        node = self._tree.find(encode_path(path))
        if node is None or self._tree.kind(node) != layout.FILE:
            return None
        inode = self._tree.inode(node)
        with Contents(self._paths[inode.segment], self._indexes[inode.segment]) as contents:
            if contents.size(inode.reference) > limit:
                return None
            return b"".join(contents.chunks(inode.reference))

    def counts(self) -> Counts:
        """How much the whole tree holds."""
        files = directories = size = 0
        seen: set[int] = set()
        todo = [self._tree.root]
        while todo:
            directories += 1
            for node in todo.pop().children.values():
                if isinstance(node, Directory):
                    todo.append(node)
                elif self._tree.kind(node) == layout.FILE and node not in seen:
                    if node in self._tree.linked:
                        seen.add(node)
                    inode = self._tree.inode(node)
                    files += 1
                    size += self._indexes[inode.segment].contents[inode.reference][0]
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
        tree: Tree,
        directories: Sequence[tuple[bytes, Directory]],
        others: Sequence[tuple[bytes, int]],
    ) -> None:
        self._paths, self._indexes, self._tree = paths, indexes, tree
        self._directories, self._others = directories, others

    def key(self) -> str:
        """A hash of all that :meth:`entries` gives; contents by their segment and their place in it."""
        found = hashlib.sha256()
        for path, node in self._directories:
            found.update(_identity(path, self._tree.inode(node)))
        for path, inode, first in self._with_first_names():
            content = self._indexes[inode.segment].digest if inode.kind == layout.FILE else b""
            found.update(_identity(path, inode, first, content))
        return found.hexdigest()

    def entries(self) -> Iterator[Entry]:
        """Directories first, parents before children; then what is in them, segment by segment, by path.

        The second and later names of a file are hard links to the first.
        """
        for path, node in self._directories:
            yield _entry(path, self._tree.inode(node))
        for segment, found in groupby(self._with_first_names(), key=lambda item: item[1].segment):
            with Contents(self._paths[segment], self._indexes[segment]) as contents:
                for path, inode, first in found:
                    if first != path:
                        yield _entry(path, inode, kind=Kind.HARDLINK, target=first)
                    elif inode.kind == layout.FILE:
                        size, chunks = contents.size(inode.reference), contents.chunks(inode.reference)
                        yield _entry(path, inode, size=size, chunks=chunks)
                    else:
                        yield _entry(path, inode)

    def _with_first_names(self) -> Iterator[tuple[bytes, Inode, bytes]]:
        """Each path that is not a directory's, what is there, and the first path of that."""
        names: dict[int, bytes] = {}
        for path, node in self._others:
            first = names.setdefault(node, path) if node in self._tree.linked else path
            yield path, self._tree.inode(node), first


_Selected = tuple[list[tuple[bytes, Directory]], list[tuple[bytes, int]]]


def _select(root: Directory, groups: Sequence[Collection[int]]) -> Iterator[_Selected]:
    """For each group of segments: its directories with those above anything of it, and everything else."""
    owners = {segment: owner for owner, group in enumerate(groups) for segment in group}
    found: list[_Selected] = [([], []) for _ in groups]
    folders: list[tuple[bytes, Directory, int]] = [(b"", root, 0)]  # and the place of the one above
    needed: list[set[int]] = [set()]  # by which groups
    for place, (start, folder, _) in enumerate(folders):  # which grows meanwhile
        if folder.segment in owners:
            needed[place].add(owners[folder.segment])
        for name, node in folder.children.items():
            path = start + name
            if isinstance(node, Directory):
                folders.append((path + b"/", node, place))
                needed.append(set())
            elif (owner := owners.get(placed(node)[0])) is not None:
                found[owner][1].append((path, node))
                needed[place].add(owner)
    for place in range(len(folders) - 1, 0, -1):  # children before parents
        path, folder, above = folders[place]
        needed[above] |= needed[place]
        for owner in needed[place]:
            found[owner][0].append((path[:-1], folder))
    yield from found


def _by_path(item: tuple[bytes, Directory]) -> list[bytes]:
    return item[0].split(b"/")


def _by_segment(item: tuple[bytes, int]) -> tuple[int, bytes]:
    return placed(item[1])[0], item[0]


def _identity(path: bytes, inode: Inode, first: bytes = b"", content: bytes = b"") -> bytes:
    """All that an entry is made from."""
    owner = (inode.uid, inode.gid, inode.mtime, inode.xattrs)
    return ascii(
        (path, inode.kind, inode.mode, owner, inode.target, inode.reference, first, content)
    ).encode()


def _entry(
    path: bytes,
    inode: Inode,
    *,
    kind: Kind | None = None,
    target: bytes | None = None,
    size: int = 0,
    chunks: Iterator[bytes] | tuple[()] = (),
) -> Entry:
    is_device = inode.kind in (layout.BLOCK_DEVICE, layout.CHARACTER_DEVICE)
    return Entry(
        decode_path(path),
        kind or KINDS[inode.kind],
        inode.mode,
        size,
        chunks,
        target=decode_path(inode.target if target is None else target),
        mtime=None if inode.mtime == NO_MTIME else inode.mtime,
        uid=inode.uid,
        gid=inode.gid,
        device=layout.decode_device(inode.reference) if is_device else (0, 0),
        xattrs=inode.xattrs,
    )
