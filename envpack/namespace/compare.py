"""What is another in a file system than it was before programs wrote to it."""

# Paths are bytes, as the kernel has them:
# ruff: noqa: PTH115, PTH118, PTH123, PTH208

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

PIECE = 1 << 20

Places = dict[bytes, tuple[int, int, int, bytes]]
"""By path: inode, time of change in nanoseconds, mode, and what stands for the content."""


class Change(NamedTuple):
    """A path, relative to the image's root, and what it is now: ``None`` where it is gone."""

    path: bytes
    status: os.stat_result | None


def changed(below: bytes, upper: bytes, now: bytes, path: bytes) -> Iterator[Change]:
    """What is another in the overlay ``now`` than ``below``, in the folder ``path`` of all three.

    Parents first, names in byte order. What is in place of something of another kind comes after the change
    that says that this is gone. What is not in ``upper`` is as it was; what is may be so, too.
    """
    start = path and path + b"/"
    was, written, has = (set(os.listdir(os.path.join(root, path))) for root in (below, upper, now))
    for name in sorted(was | has):
        inner = start + name
        if name not in has:
            yield Change(inner, None)
            continue
        status = os.lstat(os.path.join(now, inner))
        if name not in was:
            yield from added(now, inner, status)
            continue
        if name not in written:
            continue
        old = os.lstat(os.path.join(below, inner))
        if stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(old.st_mode):
            if status.st_mode != old.st_mode:
                yield Change(inner, status)
            yield from changed(below, upper, now, inner)
        elif stat.S_IFMT(status.st_mode) != stat.S_IFMT(old.st_mode):
            yield Change(inner, None)
            yield from added(now, inner, status)
        elif status.st_mode != old.st_mode or not same(
            os.path.join(below, inner), os.path.join(now, inner), old, status
        ):
            yield Change(inner, status)


def added(now: bytes, path: bytes, status: os.stat_result) -> Iterator[Change]:
    """What is new at ``path``, and below it."""
    yield Change(path, status)
    if stat.S_ISDIR(status.st_mode):
        for name in sorted(os.listdir(os.path.join(now, path))):
            inner = path + b"/" + name
            yield from added(now, inner, os.lstat(os.path.join(now, inner)))


def same(one: bytes, other: bytes, first: os.stat_result, second: os.stat_result) -> bool:
    """Whether two paths of one kind have the same content."""
    if stat.S_ISLNK(first.st_mode):
        return os.readlink(one) == os.readlink(other)
    if not stat.S_ISREG(first.st_mode):
        return first.st_rdev == second.st_rdev
    if first.st_size != second.st_size:
        return False
    with open(one, "rb") as left, open(other, "rb") as right:
        while piece := left.read(PIECE):
            if piece != right.read(PIECE):
                return False
    return True


def places(root: bytes, path: bytes = b"", before: Places | None = None) -> Places:
    """Everything below ``root``; contents are read where they may not be those of ``before``."""
    found: Places = {}
    start = path and path + b"/"
    for entry in os.scandir(os.path.join(root, path)):
        inner = start + entry.name
        status = entry.stat(follow_symlinks=False)
        known = (before or {}).get(inner)
        place = (status.st_ino, status.st_ctime_ns, status.st_mode)
        found[inner] = known if known and known[:3] == place else (*place, content(entry.path, status))
        if entry.is_dir(follow_symlinks=False):
            found |= places(root, inner, before)
    return found


def content(path: bytes, status: os.stat_result) -> bytes:
    """The hash of a file, the text of a symlink."""
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(status.st_mode):
        return b""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.digest()


def changed_places(before: Places, now: bytes) -> Iterator[Change]:
    """What is another in ``now`` than it was; in the order of :func:`changed`."""
    after = places(now, before=before)
    gone: list[bytes] = []
    for path in sorted(before.keys() | after.keys(), key=lambda p: p.split(b"/")):
        old, new = before.get(path), after.get(path)
        if new is None:
            if not (gone and path.startswith(gone[-1] + b"/")):
                gone.append(path)
                yield Change(path, None)
            continue
        if old is not None and old[2:] == new[2:]:
            continue
        if old is not None and stat.S_IFMT(old[2]) != stat.S_IFMT(new[2]):
            gone.append(path)
            yield Change(path, None)
        yield Change(path, os.lstat(os.path.join(now, path)))


def write_changes(
    changes: Iterator[Change], now: bytes, watched: bytes, folder: Path, furnished: Collection[str]
) -> None:
    """Write what changed below ``watched``, and the names of what changed elsewhere but ``furnished``."""
    inside: list[dict[str, Any]] = []
    outside: list[str] = []
    names: dict[tuple[int, int], str] = {}
    with (folder / "contents").open("wb") as contents:
        for path, status in changes:
            name = os.fsdecode(path)
            if not path.startswith(watched + b"/"):
                if name not in furnished and not (watched + b"/").startswith(path + b"/"):
                    outside.append(name)
                continue
            if status is None:
                inside.append({"path": name, "kind": None})
                continue
            kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
            described: dict[str, Any] = {"path": name, "kind": kind, "mode": mode}
            if stat.S_ISLNK(status.st_mode):
                described["target"] = os.fsdecode(os.readlink(os.path.join(now, path)))
            elif stat.S_ISREG(status.st_mode):
                first = names.setdefault((status.st_dev, status.st_ino), name)
                if first != name:
                    described["first"] = first
                else:
                    described["offset"] = contents.tell()
                    described["size"] = copied(os.path.join(now, path), contents)
            inside.append(described)
    written = json.dumps({"inside": inside, "outside": outside})
    (folder / "changes.json").write_text(written, "utf-8")


def copied(path: bytes, out: BinaryIO) -> int:
    """Append the file at ``path``; gives its size."""
    size = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            out.write(piece)
            size += len(piece)
    return size
