"""Trees of entries for tests: random and hand-made ones, images made of them, and how to compare."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from envpack.entry import Entry, Kind
from envpack.formats.squashfs.image import Assembled, assemble
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.segment import write_segment

EPOCH = 1_700_000_000
# The smallest blocks: sizes around their boundaries stay cheap.
BLOCK = 4096
SMALL = Options("zstd", 3, BLOCK)
GZIP = Options("gzip", 6, BLOCK)


def segment(entries: Iterable[Entry], options: Options = SMALL, threads: int = 2) -> bytes:
    """A segment file."""
    out = io.BytesIO()
    with ThreadPoolExecutor(threads) as pool:
        write_segment(entries, out, options, pool)
    return out.getvalue()


def image(
    *groups: Iterable[Entry], options: Options = SMALL, offset: int = 0, threads: int = 2, root: str = ""
) -> tuple[bytes, Assembled]:
    """The file with an image of these groups of entries, one segment each, from ``offset`` on."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, group in enumerate(groups):
            paths.append(Path(folder, str(number)))
            paths[-1].write_bytes(segment(group, options, threads))
        assembled = assemble(out, offset, list(map(Segment.open, paths)), options, EPOCH, root=root)
    return out.getvalue(), assembled


def whole(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Entries by path, contents in memory and dates filled in, so that equal trees are equal.

    Hard links name the first path of their inode in byte order, which is a file of its own there.
    """
    found: dict[str, Entry] = {}
    first: dict[str, str] = {}
    for entry in entries:
        data = b"".join(entry.chunks)
        mtime = EPOCH if entry.mtime is None else entry.mtime
        found[entry.path] = replace(entry, chunks=(data,) if data else (), mtime=mtime)
        first[entry.path] = first[entry.target] if entry.kind is Kind.HARDLINK else entry.path
    names: dict[str, list[str]] = {}
    for path, owner in first.items():
        names.setdefault(owner, []).append(path)
    result = dict(found)
    for owner, paths in names.items():
        leader, *others = sorted(paths, key=_walked)
        result[leader] = replace(found[owner], path=leader)
        for path in others:
            result[path] = replace(
                found[owner], path=path, kind=Kind.HARDLINK, target=leader, size=0, chunks=()
            )
    return result


def _walked(path: str) -> list[bytes]:
    """The order in which a walk meets paths."""
    return [part.encode("utf-8", "surrogateescape") for part in path.split("/")]


SIZES = [0, 1, 100, BLOCK // 2, BLOCK // 2 + 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 7]


def pattern(size: int, seed: int) -> bytes:
    """Bytes that do compress, but not to nothing."""
    return b"".join(b"%d:%d " % (seed, i) for i in range(size // 3 + 1))[:size]


@st.composite
def _content(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from(SIZES))
    if draw(st.booleans()):
        return pattern(size, draw(st.integers(0, 5)))
    # Holes at the start, in the middle, at the end.
    parts = draw(st.lists(st.sampled_from([bytes(BLOCK), pattern(BLOCK, 1), bytes(10)]), max_size=4))
    return b"".join(parts)


def _names(utf8: bool) -> st.SearchStrategy[str]:
    alphabet = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    texts = st.text(alphabet, min_size=1, max_size=8)
    if not utf8:
        raw = st.binary(min_size=1, max_size=8).filter(lambda b: b"/" not in b and b"\0" not in b)
        texts = texts | raw.map(lambda b: b.decode("utf-8", "surrogateescape"))
    return texts.filter(lambda name: name not in (".", ".."))


_XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.comment", "trusted.t", "security.capability"]),
    st.binary(max_size=40) | st.just(b"v" * 3000),
    max_size=3,
).map(lambda found: tuple(sorted(found.items())))


@st.composite
def trees(draw: st.DrawFn, utf8: bool = False) -> list[Entry]:
    """Entries of one tree, parents first: all kinds, hard links, owners, odd modes and dates."""
    entries: list[Entry] = []
    folders = [""]
    linkable: list[int] = []
    used: set[str] = set()
    for _ in range(draw(st.integers(0, 12))):
        path = draw(st.sampled_from(folders)) + draw(_names(utf8))
        if path in used:
            continue
        used.add(path)
        kind = draw(st.sampled_from([*Kind, Kind.FILE, Kind.FILE, Kind.DIRECTORY]))
        if kind is Kind.HARDLINK and not linkable:
            kind = Kind.FILE
        owner = st.sampled_from([0, 1, 1000, 65534, 2**31, 2**32 - 2])
        entry = Entry(
            path,
            kind,
            draw(st.sampled_from([0o644, 0o755, 0o4755, 0o2711, 0o1777, 0, 0o7777])),
            mtime=draw(st.sampled_from([None, 0, 1, 2**31, 2**32 - 1])),
            uid=draw(owner),
            gid=draw(owner),
            xattrs=draw(_XATTRS) if draw(st.booleans()) else (),
        )
        if kind is Kind.FILE:
            data = draw(_content())
            cut = draw(st.integers(0, len(data)))
            entry = replace(entry, size=len(data), chunks=tuple(c for c in (data[:cut], data[cut:]) if c))
        elif kind is Kind.SYMLINK:
            entry = replace(entry, target=draw(_names(utf8)))
        elif kind is Kind.HARDLINK:
            original = draw(st.sampled_from(linkable))
            # Tar readers take the attributes of the last name.
            entry = replace(entries[original], path=path, kind=kind, target=entries[original].path)
            entry = replace(entry, size=0, chunks=(), device=(0, 0))
        elif kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
            entry = replace(
                entry, device=(draw(st.integers(0, 0xFFF)), draw(st.sampled_from([0, 255, 256, 0xFFFFF])))
            )
        if kind is Kind.DIRECTORY:
            folders.append(path + "/")
        else:
            linkable.append(len(entries))
        entries.append(entry)
    return entries


def everything() -> list[Entry]:
    """One tree with all that is hard about squashfs, of names that every tool can show."""
    many = [
        Entry(f"many/{i:04}-{'n' * 40}", Kind.FILE, 0o644, 4, (b"%04d" % i,)) for i in range(2000)
    ]  # several metadata blocks of listing, more than 65535 bytes, more than 256 entries a run
    data = pattern(5 * BLOCK + 7, 1)
    sparse = bytes(2 * BLOCK) + pattern(BLOCK, 2) + bytes(BLOCK)
    return [
        Entry("many", Kind.DIRECTORY, 0o755),
        *many,
        Entry("empty", Kind.FILE, 0o600, uid=1000, gid=1001, mtime=5),
        Entry(
            "data", Kind.FILE, 0o4755, len(data), (data,), xattrs=(("user.a", b"1"), ("user.b", b"2" * 900))
        ),
        Entry("same", Kind.FILE, 0o644, len(data), (data,)),
        Entry("sparse", Kind.FILE, 0o644, len(sparse), (sparse,)),
        Entry("linked", Kind.HARDLINK, 0, target="data"),
        Entry("folder", Kind.DIRECTORY, 0o1777, uid=7, xattrs=(("trusted.overlay.opaque", b"y"),)),
        Entry("folder/link", Kind.SYMLINK, 0o777, target="../data"),
        Entry("folder/linked", Kind.HARDLINK, 0, target="folder/link"),
        Entry("null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
        Entry("disk", Kind.BLOCK_DEVICE, 0o660, device=(259, 0x12345), xattrs=(("trusted.d", b""),)),
        Entry("pipe", Kind.FIFO, 0o644),
        Entry("socket", Kind.SOCKET, 0o755),
        *(Entry("/".join(["deep"] * depth), Kind.DIRECTORY, 0o755) for depth in range(1, 60)),
    ]
