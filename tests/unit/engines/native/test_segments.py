"""Cached segments are compared with their checksums whenever they are used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from envpack.cache import Cache
from envpack.engines.native.segments import Segments
from envpack.entry import Entry, file
from envpack.errors import IntegrityError
from envpack.formats.squashfs.options import DEFAULT
from envpack.formats.squashfs.segment_file import verify


@pytest.fixture
def made() -> list[int]:
    """How often the content was made: once for each item."""
    return []


@pytest.fixture
def segments(tmp_path: Path) -> Iterator[Segments]:
    cache = Cache(tmp_path / "cache")
    with ThreadPoolExecutor(1) as pool, cache.temporary() as folder:
        yield Segments(cache, folder, DEFAULT, pool)


def get(segments: Segments, made: list[int]) -> Path:
    def entries() -> list[Entry]:
        made.append(1)
        return [file("a", bytes(range(256)) * 100), file("b", b"b")]

    return segments.get(["a package"], entries)


def test_a_segment_is_made_once(segments: Segments, made: list[int]) -> None:
    assert get(segments, made) == get(segments, made)
    assert len(made) == 1


@pytest.mark.parametrize("place", [-1, -120])
def test_a_flipped_bit_in_the_index_has_it_made_again(
    segments: Segments, made: list[int], place: int
) -> None:
    path, before = flipped(get(segments, made), place)
    assert get(segments, made) == path
    assert path.read_bytes() == before
    assert len(made) == 2
    segments.settle()


@pytest.mark.parametrize("place", [0, 40])
def test_a_flipped_bit_in_the_data_is_found_before_it_is_used(
    segments: Segments, made: list[int], place: int
) -> None:
    path, before = flipped(get(segments, made), place)
    assert get(segments, made) == path
    with pytest.raises(IntegrityError, match="the checksum of its data is wrong"):
        segments.settle()
    assert segments.discard_damaged() == [path]
    assert get(segments, made) == path
    assert path.read_bytes() == before
    assert len(made) == 2


def test_what_another_command_made_anew_is_not_removed(segments: Segments, made: list[int]) -> None:
    path, before = flipped(get(segments, made), 0)
    get(segments, made)
    with pytest.raises(IntegrityError):
        segments.settle()
    new = path.with_suffix(".new")
    new.write_bytes(before)
    new.replace(path)
    assert segments.discard_damaged() == [path]
    assert path.read_bytes() == before


def flipped(path: Path, place: int) -> tuple[Path, bytes]:
    """The same path, where one bit is another now, and what was there before."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[place] ^= 1
    path.write_bytes(changed)
    return path, before


@pytest.mark.parametrize("left", [0, 30, 5000])
def test_what_a_power_cut_left_has_it_made_again(segments: Segments, made: list[int], left: int) -> None:
    """Segments get their names before they are on the disk."""
    path = get(segments, made)
    path.write_bytes(path.read_bytes()[:left] + bytes(100))
    get(segments, made)
    verify(path)
    assert len(made) == 2


def test_a_build_that_stops_leaves_no_segment(segments: Segments, tmp_path: Path) -> None:
    def entries() -> Iterator[Entry]:
        yield file("a", b"a")
        segments.stop()
        yield file("b", b"b")

    with pytest.raises(CancelledError):
        segments.get(["a package"], entries)
    assert not (tmp_path / "cache" / "segments").exists()
