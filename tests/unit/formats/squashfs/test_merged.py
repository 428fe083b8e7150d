"""Segments read back as entries: the same tree as the image's, in whole and in layers."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.content import rootfs
from envpack.entry import Entry, Kind, directory, file, symlink
from envpack.errors import IntegrityError
from envpack.formats import tar
from envpack.formats.squashfs.contents import Contents
from envpack.formats.squashfs.index import Segment, read_index
from envpack.formats.squashfs.merged import Merged
from envpack.formats.squashfs.reader import Squashfs
from tests.unit.formats.squashfs.trees import BLOCK, EPOCH, everything, image, pattern, segment, trees, whole


@contextmanager
def merged(*groups: Iterable[Entry]):  # type: ignore[no-untyped-def]  # an iterator of Merged
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(len(groups))]
        for path, group in zip(paths, groups, strict=True):
            path.write_bytes(segment(group))
        yield Merged(list(map(Segment.open, paths)))


def read(data: bytes) -> dict[str, Entry]:
    return whole(Squashfs(io.BytesIO(data)).entries())


@settings(max_examples=30, deadline=None)
@given(trees(), trees(), trees())
def test_all_segments_together_are_the_image(a: list[Entry], b: list[Entry], c: list[Entry]) -> None:
    data, assembled = image(a, b, c)
    with merged(a, b, c) as found:
        assert whole(found.part([0, 1, 2]).entries()) == read(data)
        counts = found.counts()
        assert found.overwritten == assembled.overwritten
    assert (counts.files, counts.directories, counts.size) == (
        assembled.files, assembled.directories, assembled.content_size,
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(trees(), trees())
def test_layers_on_top_of_each_other_are_the_image(a: list[Entry], b: list[Entry]) -> None:
    a, b = _for_layers(a), _for_layers(b)
    data, _ = image(a, b)
    with merged(a, b) as found, tempfile.TemporaryDirectory() as folder:
        layers = [Path(folder, "a"), Path(folder, "b")]
        layers[0].write_bytes(b"".join(tar.archive(a, EPOCH)))  # as a base: what loses is in it
        layers[1].write_bytes(b"".join(tar.archive(found.part([1]).entries(), EPOCH)))
        assert whole(rootfs.entries(layers)) == read(data)


def _for_layers(entries: list[Entry]) -> list[Entry]:
    """Without sockets, which no tar holds, and with hard links of files only, as base layers are read."""
    files = {e.path for e in entries if e.kind is Kind.FILE}
    linked: list[Entry] = []
    for entry in entries:
        if entry.kind is Kind.HARDLINK and entry.target in files:
            files.add(entry.path)
        elif entry.kind in (Kind.HARDLINK, Kind.SOCKET):
            continue
        linked.append(entry)
    return linked


@settings(max_examples=50, deadline=None)
@given(trees(), trees(), trees(), st.permutations([0, 1]))
def test_parts_in_any_order_are_the_tree(
    a: list[Entry], b: list[Entry], c: list[Entry], order: list[int]
) -> None:
    a, b, c = _for_layers(a), _for_layers(b), _for_layers(c)
    data, _ = image(a, b, c)
    with merged(a, b, c) as found, tempfile.TemporaryDirectory() as folder:
        parts = found.parts([{0, 2}, {1}])
        layers = [Path(folder, str(number)) for number in order]
        for number, path in zip(order, layers, strict=True):
            path.write_bytes(b"".join(tar.archive(parts[number].entries(), EPOCH)))
        assert whole(rootfs.entries(layers)) == read(data)


def test_everything_that_is_hard() -> None:
    data, _ = image(everything())
    with merged(everything()) as found:
        assert whole(found.part([0]).entries()) == read(data)


def test_a_part_has_the_directories_above_it_as_the_base_has_them() -> None:
    base = [replace(directory("opt", 0o711), uid=7, mtime=5), symlink("lib", "usr/lib"), directory("usr")]
    package = [directory("opt/env"), file("opt/env/a", b"a"), file("lib/b", b"b")]
    with merged([*base, file("opt/other", b"")], package) as found:
        entries = list(found.part([1]).entries())
    assert [e.path for e in entries] == ["opt", "opt/env", "usr", "usr/lib", "opt/env/a", "usr/lib/b"]
    assert (entries[0].mode, entries[0].uid, entries[0].mtime) == (0o711, 7, 5)


def test_what_another_segment_replaces_is_in_that_one_s_part() -> None:
    with merged([directory("d")], [file("d/x", b"1"), file("d/y", b"1")], [file("d/x", b"2")]) as found:
        assert [e.path for e in found.part([1]).entries()] == ["d", "d/y"]
        assert [e.path for e in found.part([2]).entries()] == ["d", "d/x"]


def test_a_directory_is_in_the_part_that_says_its_mode_last() -> None:
    with merged([directory("d", 0o755)], [directory("d", 0o700)]) as found:
        assert [(e.path, e.mode) for e in found.part([1]).entries()] == [("d", 0o700)]


def key(*groups: Iterable[Entry], part: int = 1) -> str:
    with merged(*groups) as found:
        made: str = found.part([part]).key()
    return made


BASE = [directory("d")]
PACKAGE = [file("d/a", b"a"), file("d/b", b"a")]


def test_the_key_is_that_of_the_same_part_beside_others() -> None:
    alone = key(BASE, PACKAGE)
    assert key(BASE, PACKAGE, [file("d/c", b"")]) == alone
    assert key(BASE, [file("z", b"")], PACKAGE, part=2) == alone


@pytest.mark.parametrize(
    ("base", "package"),
    [
        (BASE, [file("d/a", b"a")]),
        (BASE, [file("d/a", b"a"), file("d/b", b"b")]),
        (BASE, [file("d/a", b"a", 0o755), file("d/b", b"a")]),
        (BASE, [file("d/a", b"a"), replace(file("d/b", b"a"), mtime=1)]),
        (BASE, [file("d/a", b"a"), replace(file("d/b", b"a"), xattrs=(("user.a", b""),))]),
        (BASE, [file("d/a", b"a"), Entry("d/b", Kind.HARDLINK, 0o644, target="d/a")]),
        (BASE, [file("d/a", b"a"), symlink("d/b", "a")]),
        ([directory("d", 0o700)], PACKAGE),
        ([symlink("d", "e"), directory("e")], PACKAGE),
    ],
)
def test_the_key_tells_parts_apart(base: list[Entry], package: list[Entry]) -> None:
    assert key(base, package) != key(BASE, PACKAGE)


def test_what_is_at_a_path() -> None:
    entries = [
        *(directory(path) for path in ("d", "d/e")),
        *(symlink(path, target) for path, target in (("l", "d"), ("d/up", "../f"), ("d/e/root", "/d/.."))),
        *(
            symlink(path, target)
            for path, target in (("loop", "loop"), ("gone", "nowhere"), ("out", "../../f"))
        ),
        file("f", b"content"),
    ]
    with merged(entries, [file("late", b"2")]) as found:
        assert {
            path: found.kind(path) for path in ("d", "l", "l/e", "/l//e/.", "d/e/root", "d/..")
        } == dict.fromkeys(("d", "l", "l/e", "/l//e/.", "d/e/root", "d/.."), Kind.DIRECTORY)
        assert all(found.kind(path) is None for path in ("x", "x/y", "f/x", "loop", "gone", "l/x"))
        assert all(found.read(path, 7) == b"content" for path in ("f", "l/up", "out", "d/e/root/f"))
        assert found.read("late", 7) == b"2"
        assert all(found.read(path, 6) is None for path in ("f", "d", "x"))


def test_the_size_of_a_segment_is_its_own() -> None:
    with merged(
        [file("a", b"12345"), file("b", b"12345"), file("c", b"1")], [file("a", b"1234567")]
    ) as found:
        assert [found.size(0), found.size(1)] == [6, 7]


def test_a_damaged_block_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    raw = bytearray(segment([file("a", pattern(3 * BLOCK, 1))]))
    raw[0:40] = bytes(40)
    path.write_bytes(raw)
    with Contents(path, read_index(path)) as contents, pytest.raises(IntegrityError):
        b"".join(contents.chunks(0))
    with pytest.raises(IntegrityError, match="cannot read"):
        Contents(tmp_path / "absent", read_index(path))


def test_fragments_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    entries = [file(f"{i:03}", pattern(BLOCK // 3, i)) for i in range(100)]
    path.write_bytes(segment(entries))
    with Contents(path, read_index(path)) as contents:
        for number in [*range(0, 100, 7), *range(99, 0, -3), 5, 5]:
            assert b"".join(contents.chunks(number)) == pattern(BLOCK // 3, number)
            assert contents.size(number) == BLOCK // 3
