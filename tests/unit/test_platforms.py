"""The table of platforms."""

from __future__ import annotations

import platform

import pytest

from envpack import platforms
from envpack.errors import UsageError


def test_the_usual_one() -> None:
    found = platforms.get("linux-64")
    assert (found.oci_architecture, found.sif_architecture, found.machine) == ("amd64", "02", "x86_64")
    assert platforms.DEFAULT_PLATFORM in platforms.PLATFORMS


@pytest.mark.parametrize("field", ["subdir", "oci_architecture", "sif_architecture", "machine"])
def test_every_name_is_of_one_platform(field: str) -> None:
    names = [getattr(p, field) for p in platforms.PLATFORMS.values()]
    assert len(set(names)) == len(names)


def test_this_machine() -> None:
    assert [p.machine for p in platforms.PLATFORMS.values() if p.is_host] == [platform.machine()]


@pytest.mark.parametrize("name", ["osx-arm64", "amd64", "", "linux-64\n"])
def test_others_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        platforms.get(name)
    assert caught.value.hint == "Use one of: linux-64, linux-aarch64, linux-ppc64le."
