"""Sections of an index, as they were read."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envpack.formats.squashfs.sections import Paths


@pytest.mark.parametrize("path", [b"a", b"a/b", b"b/a"])
def test_paths_that_are_there(path: bytes) -> None:
    assert path in Paths(b"a\0a/b\0b/a\0")


@pytest.mark.parametrize("path", [b"", b"b", b"/b", b"a/", b"a/b/c", b"a\0a/b\0b"])
def test_parts_of_paths_are_not(path: bytes) -> None:
    assert path not in Paths(b"a\0a/b\0b/a\0")


def test_nothing_is_in_no_paths() -> None:
    assert b"a" not in Paths(b"")


@given(
    st.lists(st.text("ab/", min_size=1, max_size=6).map(str.encode), max_size=8),
    st.text("ab", min_size=1, max_size=2),
)
@example([b"a", b"a/b", b"ab/c", b"b/a/b", b"a/c"], "a")
def test_paths_below_a_folder(paths: list[bytes], folder: str) -> None:
    packed = Paths(b"".join(path + b"\0" for path in paths))
    start = f"{folder}/".encode()
    assert list(packed.below(folder.encode())) == [path for path in paths if path.startswith(start)]
