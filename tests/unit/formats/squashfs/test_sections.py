"""Sections of an index, as they were read."""

import pytest

from envpack.formats.squashfs.sections import Paths


@pytest.mark.parametrize("path", [b"a", b"a/b", b"b/a"])
def test_paths_that_are_there(path: bytes) -> None:
    assert path in Paths(b"a\0a/b\0b/a\0")


@pytest.mark.parametrize("path", [b"", b"b", b"/b", b"a/", b"a/b/c", b"a\0a/b\0b"])
def test_parts_of_paths_are_not(path: bytes) -> None:
    assert path not in Paths(b"a\0a/b\0b/a\0")


def test_nothing_is_in_no_paths() -> None:
    assert b"a" not in Paths(b"")
