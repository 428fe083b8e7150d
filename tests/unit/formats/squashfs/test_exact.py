"""Trees at the edges of what squashfs and Linux hold, read back by every reader there is.

Needs root, squashfs-tools and squashfuse; a few minutes with the largest.
"""

from __future__ import annotations

import io
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.content import rootfs
from envpack.entry import Entry, Kind, directory, encode_path, file, symlink
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from tests.engines.test_base_layers import Stack
from tests.unit.formats.squashfs.readers import (
    by_pysquashfsimage,
    fuse_mounted,
    mounted,
    unpacked,
    walked,
    without_hard_links,
    without_xattrs,
)
from tests.unit.formats.squashfs.trees import BLOCK, GZIP, SMALL, image, pattern, trees, whole

pytestmark = pytest.mark.engines

MANY = 70_000
# cap_net_raw+ep, as the kernel stores it (struct vfs_cap_data, version 2).
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def _many_name(number: int) -> str:
    """Names of every length, in an order that is not that of their numbers."""
    name = f"{number * 7919 % 100_000:05}-{number}"
    return name + "x" * (255 - len(name)) if number % 50 == 0 else name


def many() -> list[Entry]:
    """One directory with more entries than 16 bits count, as many owners as an image may have."""
    return [
        directory("many"),
        *(
            replace(file(f"many/{_many_name(i)}", b"%d" % (i % 1000)), uid=i % 65_000, gid=100_000 + i % 500)
            for i in range(MANY)
        ),
        *(directory(f"folders/{i}") for i in range(3000)),
    ]


def odd() -> list[Entry]:
    """Names, modes, attributes, links and contents that are seldom met."""
    long = "n" * 255
    data = pattern(2 * BLOCK + 100, 3)
    return [
        file(long[1:] + "f", b"long"),
        file("\N{EURO SIGN}" * 85, b"85 characters, 255 bytes"),
        directory("/".join([long] * 14)),  # with a mount point in front, below PATH_MAX
        file("/".join([long] * 14) + "/file", b"deep"),
        symlink("longest link", "t" * 4095),
        directory("Case"),
        directory("case"),
        file("Case/README", b"1"),
        file("Case/readme", b"2"),
        file("case/README", b"3"),
        file("foo", b"4"),
        file("Foo", b"5"),
        directory("..."),
        file(".../...", b"6"),
        *(
            file(f"odd/{name}", name.encode())
            for name in (
                " ",
                "\n",
                "\\",
                "*",
                "-rf",
                "a\tb",
                "'\"",
                "\N{LATIN SMALL LETTER E WITH ACUTE}",
                "e\N{COMBINING ACUTE ACCENT}",
            )
        ),
        directory("empty directory"),
        file("empty file", b""),
        file("setuid", b"s", 0o4755),
        file("setgid", b"s", 0o2755),
        file("unreadable", b"u", 0),
        directory("sticky", 0o1777),
        directory("setgid directory", 0o2770),
        replace(file("ping", data, 0o755), xattrs=(("security.capability", CAPABILITY),)),
        replace(
            file("tagged", data),
            xattrs=(("trusted.overlay.opaque", b"y"), ("user.empty", b""), ("user.raw", bytes(range(256)))),
        ),
        replace(file("much tagged", b"m"), xattrs=tuple((f"user.{i:03}", b"%d" % i) for i in range(60))),
        replace(directory("tagged directory"), xattrs=(("user.d", b"1"),), mtime=1),
        file("copy", data),
        Entry("linked", Kind.HARDLINK, 0, target="ping"),
        Entry("sticky/linked", Kind.HARDLINK, 0, target="ping"),
        symlink("link", "nowhere"),
        Entry("link's other name", Kind.HARDLINK, 0, target="link"),
        Entry("null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
        Entry("null's other name", Kind.HARDLINK, 0, target="null"),
        Entry("largest device", Kind.BLOCK_DEVICE, 0o600, device=(0xFFF, 0xFFFFF)),
        Entry("pipe", Kind.FIFO, 0o600, uid=2**32 - 2, gid=2**31),
        Entry("pipe's other name", Kind.HARDLINK, 0, target="pipe"),
        Entry("socket", Kind.SOCKET, 0o700, mtime=2**31 + 5),
        replace(file("first date", b""), mtime=0),
        replace(file("last date", b""), mtime=2**32 - 1),
        file("hole", bytes(BLOCK) + b"x" + bytes(3 * BLOCK)),
        file("only a hole", bytes(4 * BLOCK)),
        file("a hole and a half", bytes(BLOCK + BLOCK // 2 + 1)),
    ]


def not_unicode() -> list[Entry]:
    names = [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\x80" * 255]
    texts = [name.decode("utf-8", "surrogateescape") for name in names]
    return [
        *(file(text, b"x") for text in texts),
        *(symlink(f"to {number}", text) for number, text in enumerate(texts)),
        directory("d" + texts[0]),
        file(f"d{texts[0]}/{texts[1]}", b"y"),
    ]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with all of the above but the names that are not Unicode."""
    path = tmp_path_factory.mktemp("image") / "image"
    path.write_bytes(image(odd(), many())[0])
    return path


def expected() -> dict[str, Entry]:
    """The tree of :func:`hard`, with the directories that are only implied."""
    return whole(with_parents([*odd(), *many()]))


def with_parents(entries: list[Entry]) -> list[Entry]:
    known = {entry.path for entry in entries}
    above: dict[str, Entry] = {}
    for entry in entries:
        path = entry.path
        while (path := path.rpartition("/")[0]) and path not in known:
            above[path] = directory(path)
    return [*above.values(), *entries]


def differences(found: dict[str, Entry], meant: dict[str, Entry]) -> dict[str, tuple[object, object]]:
    """Short enough to be shown."""
    paths = [path for path in {**found, **meant} if found.get(path) != meant.get(path)]
    return {path: (found.get(path), meant.get(path)) for path in paths[:5]}


def test_our_reader(hard: Path) -> None:
    with hard.open("rb") as opened:
        assert differences(whole(Squashfs(opened).entries()), expected()) == {}


def test_the_kernel(hard: Path) -> None:
    with mounted(hard) as point:
        # Each is looked up before anything is listed: the kernel goes by the directory's index.
        for i in range(0, MANY, 97):
            assert (point / "many" / _many_name(i)).read_bytes() == b"%d" % (i % 1000)
            assert not (point / "many" / (_many_name(i)[:-1] + "!")).exists()
        assert differences(walked(point), expected()) == {}


def test_squashfuse(hard: Path) -> None:
    """It takes trusted for security and security for trusted, lists empty attributes but does not give them
    (mksquashfs' neither), and has inode numbers of its own.
    """
    swapped = {"user": "user", "trusted": "security", "security": "trusted"}

    def seen(name: str) -> str:
        namespace, _, rest = name.partition(".")
        return f"{swapped[namespace]}.{rest}"

    meant = {
        path: replace(e, xattrs=tuple(sorted((seen(name), value) for name, value in e.xattrs if value)))
        for path, e in without_hard_links(expected()).items()
    }
    with fuse_mounted(hard) as point:
        assert differences(walked(point, hard_links=False), meant) == {}


def test_unsquashfs(hard: Path) -> None:
    with unpacked(hard) as folder:
        assert differences(walked(folder), expected()) == {}


def test_pysquashfsimage(hard: Path) -> None:
    assert differences(by_pysquashfsimage(hard), without_xattrs(expected())) == {}


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(image(not_unicode())[0])
    meant = whole(not_unicode())
    with mounted(path) as point:
        assert walked(point) == meant
    with fuse_mounted(path) as point:
        assert walked(point) == meant
    with unpacked(path) as point:
        assert walked(point) == meant


class Sparse:
    """The content of a file of more than 4 GiB: data in the middle and at the end, else zeros."""

    size: Final = (9 << 29) + 12_345
    spots: Final = {0: b"start", (1 << 32) - 3: b"across", size - 4: b"tail"}
    _piece = 1 << 22

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, self._piece):
            length = min(self._piece, self.size - start)
            piece = bytearray(length)
            for at, data in self.spots.items():
                for place, byte in enumerate(data, at - start):
                    if 0 <= place < length:
                        piece[place] = byte
            yield bytes(piece)


@pytest.mark.parametrize("options", [Options(), Options("gzip", 1, 1 << 17)], ids=Options.key)
def test_a_sparse_file_of_more_than_4_gib(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "image"
    entry = Entry("large", Kind.FILE, 0o644, Sparse.size, Sparse())
    data, assembled = image([entry, file("small", b"behind it")], options=options)
    path.write_bytes(data)
    assert assembled.content_size == Sparse.size + 9
    assert len(data) < 1 << 17

    def check(point: Path) -> None:
        assert (point / "small").read_bytes() == b"behind it"
        assert (point / "large").stat().st_size == Sparse.size
        with (point / "large").open("rb") as opened:
            for meant in Sparse():
                assert opened.read(len(meant)) == meant
            assert opened.read() == b""
            assert os.pread(opened.fileno(), 8, (1 << 32) - 4) == b"\0across\0"

    with mounted(path) as point:
        check(point)
        assert (point / "large").stat().st_blocks * 512 <= 4 * options.block_size
    with fuse_mounted(path) as point:
        check(point)
    with unpacked(path) as point:
        check(point)
        assert (point / "large").stat().st_blocks * 512 <= 4 * options.block_size


def test_the_largest_attribute(tmp_path: Path) -> None:
    """Few file systems take what squashfs and Linux's calls do, so nothing is unpacked here."""
    path = tmp_path / "image"
    entries = [
        replace(file("largest", b""), xattrs=(("user.a", pattern(65_536, 5)), ("user.b", b"1"))),
        replace(file("many", b""), xattrs=tuple((f"user.{i:05}", b"%d" % i) for i in range(5000))),
        replace(file("long name", b""), xattrs=(("user." + "n" * 250, b"1"),)),
    ]
    path.write_bytes(image(entries)[0])
    with mounted(path) as point:
        assert walked(point) == whole(entries)
    with path.open("rb") as opened:
        assert whole(Squashfs(opened).entries()) == whole(entries)


def test_the_most_owners_that_an_image_has(tmp_path: Path) -> None:
    path = tmp_path / "image"
    entries = [replace(file(f"f{i}", b""), uid=i * 65_537 % (2**32 - 2), gid=0) for i in range(65_535)]
    path.write_bytes(image(entries)[0])
    with mounted(path) as point:
        assert differences(walked(point), whole(entries)) == {}


def test_deeper_than_a_path_can_tell(tmp_path: Path) -> None:
    """Linux opens it step by step."""
    path = tmp_path / "image"
    name = "d" * 255
    path.write_bytes(image([file("/".join([name] * 40) + "/file", b"deep")], options=SMALL)[0])
    with mounted(path) as point:
        folder = os.open(point, os.O_RDONLY)
        for _ in range(40):
            below = os.open(encode_path(name), os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = below
        last = os.open("file", os.O_RDONLY, dir_fd=folder)
        assert os.read(last, 10) == b"deep"
        os.close(last)
        os.close(folder)


@settings(max_examples=60, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=4), st.sampled_from([SMALL, GZIP, Options("zstd", 1, 1 << 16)]))
def test_random_trees_over_each_other(groups: list[list[Entry]], options: Options) -> None:
    """What unsquashfs unpacks is what our reader says, which is the tree that was meant for a single one."""
    data, _ = image(*groups, options=options)
    meant = whole(Squashfs(io.BytesIO(data)).entries())
    if len(groups) == 1:
        assert meant == whole(groups[0])
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        path = Path(work, "image")
        path.write_bytes(data)
        # Few file systems take user's attributes of links and devices, or capabilities that are none.
        with unpacked(path, "-no-xattrs") as folder:
            assert differences(walked(folder), with_links_for_all(without_xattrs(meant))) == {}


def with_links_for_all(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Symlinks with the one mode that Linux gives them."""
    links = {path for path, entry in entries.items() if entry.kind is Kind.SYMLINK}
    return {
        path: replace(entry, mode=0o777)
        if path in links or (entry.kind is Kind.HARDLINK and entry.target in links)
        else entry
        for path, entry in entries.items()
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_random_layers_over_each_other(seed: int, count: int) -> None:
    """Of base layers, with whiteouts and opaque directories, nothing but the layers' own rules is left."""
    stack = Stack(random.Random(seed))
    layers = [stack.layer() for _ in range(count)]
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        paths = [Path(work, f"layer{number}") for number in range(count)]
        for path, layer in zip(paths, layers, strict=True):
            path.write_bytes(layer)
        meant = whole(rootfs.entries(paths))
        assert {path for path, e in meant.items() if e.kind is Kind.DIRECTORY} == stack.folders()
        assert meant.keys() == stack.paths()
        path = Path(work, "image")
        path.write_bytes(image(rootfs.entries(paths))[0])
        with unpacked(path) as folder:
            assert differences(walked(folder), meant) == {}
