"""Which layer a package is in depends on that package alone, and there are never too many layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from envpack.engines.native.grouping import MOST_LAYERS, Group, grouped
from envpack.engines.native.linked import Part
from envpack.errors import BaseImageError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.index import Index, Segment
from envpack.formats.squashfs.sections import Packed, Paths
from envpack.lockfile import LockedPackage
from envpack.lockfile.model import Manager

MIB = 1 << 20
NONE = Packed(layout.U32, b"")
EMPTY = Segment(Path("segment"), Index(b"", b"", 0, 1 << 20, 6, Paths(b""), NONE, NONE, NONE, b"", (), ()))


def part(name: str, version: str = "1.0", manager: Manager = "conda", needs: Sequence[str] = ()) -> Part:
    url = f"https://conda.example.org/linux-64/{name}-{version}-0.conda"
    package = LockedPackage(
        name, version, manager, "linux-64", url, "0" * 64, dependencies=dict.fromkeys(needs, "*")
    )
    return Part(package, EMPTY)


PARTS = [
    part("openssl"),
    part("zlib"),
    part("python", needs=["openssl", "zlib"]),
    part("numpy", needs=["python"]),
    part("six"),
    part("pytz"),
    part("humanize", manager="pip"),
    part("torch", manager="pip"),
]
SIZES = [8 * MIB, MIB, 60 * MIB, 40 * MIB, 10, 20, 5, 900 * MIB]


def names(groups: Sequence[Group], parts: Sequence[Part] = PARTS) -> list[set[str]]:
    """The packages of each layer."""
    return [
        {parts[place - 1].package.name for place in group.segments if place <= len(parts)} for group in groups
    ]


def test_large_ones_are_alone_and_python_is_lowest() -> None:
    found = names(grouped(PARTS, SIZES, 1))
    assert found[:3] == [{"python"}, {"openssl"}, {"numpy"}]
    assert set().union(*found[3:-3]) == {"zlib", "six", "pytz"}
    assert found[-3:] == [{"torch"}, {"humanize"}, set()]


def test_every_segment_above_the_base_is_in_one_layer() -> None:
    for count in (0, 5, 40, 300):
        parts = [part(f"package-{n}", manager="pip" if n % 7 == 0 else "conda") for n in range(count)]
        groups = grouped(parts, [n * MIB // 3 for n in range(count)], 3, files=2)
        assert sorted(p for g in groups for p in g.segments) == list(range(1, count + 4))
        assert len(groups) + 3 <= MOST_LAYERS


def test_what_comes_last() -> None:
    groups = grouped(PARTS, SIZES, 1, files=2)
    assert [list(group.segments) for group in groups[-2:]] == [[9, 10], [11]]
    assert [group.title for group in groups[-2:]] == [
        "envpack: files of the project", "envpack: entry point and history of the environment",
    ]  # fmt: skip
    assert groups[0].title == "envpack: python 1.0"


def test_no_other_package_moves_one() -> None:
    parts = [part(f"package-{n}") for n in range(200)]
    before = names(grouped(parts, [100] * 200, 1), parts)
    more = [part("another"), *parts[::-1], part("wheel", manager="pip")]
    after = names(grouped(more, [100] * 202, 1), more)
    assert [found - {"another"} for found in after if found not in ({"wheel"}, set())] == [
        found for found in before if found
    ]
    changed = [part(f"package-{n}", "2.0") for n in range(200)]
    assert names(grouped(changed, [101] * 200, 1), changed) == before


def test_names_are_spread() -> None:
    parts = [part(f"package-{n}") for n in range(160)]
    shared = names(grouped(parts, [1] * 160, 1), parts)[:-1]
    assert len(shared) == 16
    assert max(map(len, shared)) <= 25


@pytest.mark.parametrize("below", [1, 60, 100, 120, 124])
def test_never_too_many_whatever_the_base(below: int) -> None:
    parts = [part(f"p{n}", manager="pip" if n % 3 == 0 else "conda") for n in range(500)]
    groups = grouped(parts, [(n + 4) * MIB for n in range(500)], below)
    assert len(groups) + below <= MOST_LAYERS
    assert sum(len(group.segments) for group in groups) == 501


def test_where_large_ones_are_many_the_largest_are_alone() -> None:
    parts = [part(f"p{n}") for n in range(200)]
    groups = names(grouped(parts, [5 * MIB] * 190 + [500 * MIB] * 10, 1), parts)
    alone = [found for found in groups if len(found) == 1]
    assert {f"p{n}" for n in range(190, 200)} <= set().union(*alone)
    assert len(groups) == 10 + 16 + 1


def test_a_base_that_leaves_no_room() -> None:
    with pytest.raises(BaseImageError, match="has 125 layers"):
        grouped(PARTS, SIZES, 125)
    assert len(grouped([part("a")], [1], 125)) == 2
