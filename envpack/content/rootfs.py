"""The file system of a base image: its layers laid over each other.

A layer is a tar (plain, gzip or zstandard) of what changes on top of the layers below it
(https://github.com/opencontainers/image-spec/blob/main/layer.md):

    dir/.wh.NAME        NAME of the layers below is gone
    dir/.wh..wh..opq    everything that layers below have in dir is gone
    anything else       added, or in place of what is there; directories merge

The layers are read twice: once for the headers, to know what remains; once for the files that do.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envpack.content import tar_stream
from envpack.content.damaged import damaged, reading
from envpack.content.tar_stream import Member, TarStream
from envpack.entry import Entry, Kind, is_safe_path

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINKS = 40  # as Linux has it
_KINDS = {
    tar_stream.DIRECTORY: Kind.DIRECTORY,
    tar_stream.SYMLINK: Kind.SYMLINK,
    tar_stream.CHARACTER: Kind.CHARACTER_DEVICE,
    tar_stream.BLOCK_DEVICE: Kind.BLOCK_DEVICE,
    tar_stream.FIFO: Kind.FIFO,
}
_LIBC = re.compile(r"(?:usr/)?lib[^/]*/(?:[^/]+-linux-gnu[^/]*/)?libc\.so\.6\Z")
_GLIBC = re.compile(rb"GNU C Library \([^\n]*\) (?:stable|development) release version (\d+\.\d+)")


@dataclass(slots=True)
class _Node:
    """A path while layers are laid over each other. ``layer`` is the one that put it there last.

    Names that are hard links of each other share ``data``: (layer, number of the member in it).
    """

    layer: int
    entry: Entry | None = None  # None: a directory that is only implied
    data: tuple[int, int] | None = None
    children: dict[str, _Node] | None = None

    @property
    def target(self) -> str | None:
        return self.entry.target if self.entry and self.entry.kind is Kind.SYMLINK else None


def entries(layers: Sequence[Path]) -> Iterator[Entry]:
    """The merged file system of layers, the lowest first: every path once, the root itself not.

    Directories, links and devices come first, sorted, then the files in the order of the layers, each
    followed by its further names as hard links. Owners, modes, mtimes and extended attributes are kept.

    Raises :class:`IntegrityError` when a layer is damaged or has names that leave the root.
    """
    tree = _Tree.of(layers)
    files: dict[tuple[int, int], list[tuple[str, Entry]]] = {}
    first_of: dict[tuple[int, int], str] = {}
    for path, node in tree.walk():
        if node.entry is None:
            continue
        entry = tree.attributed(node, path)
        if node.data is None:
            yield entry
        elif entry.kind is Kind.FILE:
            files.setdefault(node.data, []).append((path, entry))
        elif (first := first_of.setdefault(node.data, path)) == path:
            yield entry
        else:
            yield Entry(path, Kind.HARDLINK, entry.mode, target=first)
    for layer, archive in enumerate(layers):
        for number, _, tar in _members(archive):
            names = files.get((layer, number), [])
            if names:
                first, entry = names[0]
                yield replace(entry, path=first, chunks=tar.chunks())
                for other, _ in names[1:]:
                    yield Entry(other, Kind.HARDLINK, entry.mode, target=first)


def glibc_version(layers: Sequence[Path]) -> str | None:
    """The version (``2.31``) of the GNU C library in the layers; ``None`` where there is none (musl).

    Raises :class:`IntegrityError` as :func:`entries` does.
    """
    tree = _Tree.of(layers)
    wanted = set()
    for path, _ in tree.walk():
        if _LIBC.match(path):
            node = tree.resolve(path)
            if node is not None and node.data is not None:
                wanted.add(node.data)
    for layer, archive in enumerate(layers):
        for number, _, tar in _members(archive):
            if (layer, number) in wanted:
                match = _GLIBC.search(b"".join(tar.chunks()))
                if match:
                    return match[1].decode()
    return None


def read_file(layers: Sequence[Path], path: str, limit: int = 1 << 16) -> bytes | None:
    """The first ``limit`` bytes of the file at ``path`` (``etc/os-release``), links followed inside the root.

    ``None`` where there is no such file. Raises :class:`IntegrityError` as :func:`entries` does.
    """
    node = _Tree.of(layers).resolve(path)
    if node is None or node.data is None or node.entry is None or node.entry.kind is not Kind.FILE:
        return None
    layer, wanted = node.data
    for number, _, tar in _members(layers[layer]):
        if number == wanted:
            data = b""
            for chunk in tar.chunks():
                data += chunk
                if len(data) >= limit:
                    break
            return data[:limit]
    return None


@dataclass(slots=True)
class _Tree:
    """``linked`` has the attributes that the last name of a file gave to all of its names."""

    root: _Node = field(default_factory=lambda: _Node(-1, children={}))
    linked: dict[tuple[int, int], Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, layers: Sequence[Path]) -> _Tree:
        tree = cls()
        for layer, path in enumerate(layers):
            with reading(path):
                for number, member, _ in _members(path):
                    tree.add(layer, number, member)
        return tree

    def walk(self) -> Iterator[tuple[str, _Node]]:
        """Every path below the root, parents first, sorted."""
        stack = [("", self.root)]
        while stack:
            path, node = stack.pop()
            if path:
                yield path, node
            if node.children:
                below = f"{path}/" if path else ""
                stack += [(below + name, node.children[name]) for name in sorted(node.children, reverse=True)]

    def resolve(self, path: str) -> _Node | None:
        """The node at ``path``, with symbolic links followed inside the root; ``None`` if there is none."""
        found = self._follow(path)
        return found[-1][1] if found else None

    def _follow(self, path: str) -> list[tuple[str, _Node]] | None:
        """The way to ``path`` without links: (name, node) from the root on."""
        way = [("", self.root)]
        todo = path.split("/")[::-1]
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(way) > 1:
                    way.pop()
                continue
            node = (way[-1][1].children or {}).get(name)
            if node is None:
                return None
            if node.target is not None:
                links += 1
                if links > _MAX_LINKS:
                    raise ValueError(f"the symbolic links of {path} go in circles")
                if node.target.startswith("/"):
                    del way[1:]
                todo += node.target.split("/")[::-1]
            else:
                way.append((name, node))
        return way

    def add(self, layer: int, number: int, member: Member) -> None:
        folder, _, name = member.name.rpartition("/")
        if name == _OPAQUE:
            self._hide(self._folder(layer, folder)[1], layer)
        elif name.startswith(_WHITEOUT + _WHITEOUT):
            return  # bookkeeping of AUFS
        elif name.startswith(_WHITEOUT):
            _, parent = self._folder(layer, folder)
            assert parent.children is not None
            hidden = parent.children.get(name.removeprefix(_WHITEOUT))
            if hidden is not None and not self._hide(hidden, layer):
                del parent.children[name.removeprefix(_WHITEOUT)]
            elif hidden is not None and hidden.layer < layer:
                hidden.entry = None
        else:
            place, parent = self._folder(layer, folder)
            assert parent.children is not None
            path = f"{place}/{name}" if place else name
            node = self._node(layer, number, member, path)
            before = parent.children.get(name)
            if before is not None and before.children is not None and node.children is not None:
                node.children = before.children
            parent.children[name] = node

    def _node(self, layer: int, number: int, member: Member, path: str) -> _Node:
        if member.type == tar_stream.HARDLINK:
            target = _normal(member.link)
            found = self.resolve_name(target)
            if found is None or found.children is not None:
                raise ValueError(f"{path} is a hard link to {member.link}, which is no file")
            assert found.entry is not None
            assert found.data is not None
            self.linked[found.data] = _relinked(self.attributed(found, path), member)
            return _Node(layer, found.entry, found.data)
        entry = Entry(
            path,
            _KINDS.get(member.type, Kind.FILE),
            member.mode,
            member.size,
            target=member.link if member.type == tar_stream.SYMLINK else "",
            mtime=member.mtime,
            uid=member.uid,
            gid=member.gid,
            device=member.device,
            xattrs=_xattrs(member),
        )
        if entry.kind is Kind.DIRECTORY:
            return _Node(layer, entry, children={})
        return _Node(layer, entry, (layer, number))

    def attributed(self, node: _Node, path: str) -> Entry:
        """The entry of what is no implied directory, at ``path``."""
        assert node.entry is not None
        return replace(self.linked.get(node.data, node.entry) if node.data else node.entry, path=path)

    def resolve_name(self, path: str) -> _Node | None:
        """The node at ``path``; links are followed on the way there, but not at its end."""
        folder, _, name = path.rpartition("/")
        parent = self.resolve(folder) if folder else self.root
        return (parent.children or {}).get(name) if parent else None

    def _folder(self, layer: int, path: str) -> tuple[str, _Node]:
        """The directory at ``path`` and its path without links; what is missing is made."""
        parts = path.split("/") if path else []
        way = [("", self.root)]
        done: list[str] = []
        for part in parts:
            done.append(part)
            found = self._follow("/".join([*(name for name, _ in way[1:]), part]))
            if found is None:
                parent = way[-1][1]
                assert parent.children is not None
                if part in parent.children:
                    raise ValueError(
                        f"{'/'.join(done)} is a symbolic link to nowhere, and has files below it"
                    )
                parent.children[part] = _Node(layer, children={})
                found = [*way, (part, parent.children[part])]
            if found[-1][1].children is None:
                raise ValueError(f"{'/'.join(done)} is no directory, and has files below it")
            way = found
        return "/".join(name for name, _ in way[1:]), way[-1][1]

    def _hide(self, node: _Node, layer: int) -> bool:
        """Remove what layers below ``layer`` have in ``node``; whether something of this layer remains."""
        children = node.children or {}
        for name, child in list(children.items()):
            remains = self._hide(child, layer)
            if child.layer < layer:
                if remains:
                    child.entry = None
                else:
                    del children[name]
        return node.layer == layer or bool(children)


def _members(path: Path) -> Iterator[tuple[int, Member, TarStream]]:
    """The members of one layer, numbered, with normal names; the root itself is left out."""
    with reading(path), path.open("rb") as file:
        tar = TarStream(tar_stream.decompressed(file))
        for number, member in enumerate(tar):
            raw, member.name = member.name, _normal(member.name)
            if not member.name and member.type == tar_stream.DIRECTORY:
                continue
            if not is_safe_path(member.name):
                raise damaged(path, f"it holds a file with the name {raw!r}")
            yield number, member, tar


def _normal(name: str) -> str:
    """Relative to the root, as other tools take it: without empty and ``.`` parts, which tars often have."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _xattrs(member: Member) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes, as star (raw) and libarchive (base64, the name URL-quoted) write them."""
    found = {}
    for key, value in member.pax.items():
        if key.startswith("SCHILY.xattr."):
            found[key.removeprefix("SCHILY.xattr.")] = value
        elif key.startswith("LIBARCHIVE.xattr."):
            name = urllib.parse.unquote(key.removeprefix("LIBARCHIVE.xattr."))
            found.setdefault(name, base64.b64decode(value + b"=" * (-len(value) % 4)))
    return tuple(sorted(found.items()))


def _relinked(entry: Entry, link: Member) -> Entry:
    """A file that got another name: docker and podman give it what that name's header says."""
    xattrs = tuple(sorted({**dict(entry.xattrs), **dict(_xattrs(link))}.items()))
    entry = replace(entry, uid=link.uid, gid=link.gid, xattrs=xattrs)
    return entry if entry.kind is Kind.SYMLINK else replace(entry, mode=link.mode, mtime=link.mtime)
