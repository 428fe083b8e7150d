"""The catalogue holds facts, and its dates are read as such."""

from __future__ import annotations

from datetime import date

import pytest

from envpack.bases import catalog
from envpack.image import Digest, Reference, parse_reference


def test_the_images_that_users_know() -> None:
    names = {image.reference.familiar: image.glibc for image in catalog.load()}
    assert names["ubuntu:20.04"] == "2.31"
    assert names["ubuntu:22.04"] == "2.35"
    assert names["ubuntu:24.04"] == "2.39"
    assert names["debian:12-slim"] == "2.36"
    assert names["rockylinux:9"] == "2.34"
    assert "condaforge/miniforge3:latest" in names
    assert next(iter(names)) == "ubuntu:20.04", "the first in order of preference"


def test_every_entry_makes_sense() -> None:
    images = catalog.load()
    assert len({image.reference for image in images}) == len(images)
    for image in images:
        assert image.family in ("debian", "rhel")
        assert "linux-64" in image.platforms
        assert image.extended_until is None or image.extended_until > image.supported_until
        assert (image.extended_until is None) == (image.extended_by is None)


@pytest.mark.parametrize("name", ["ubuntu:20.04", "docker.io/ubuntu:20.04", "docker.io/library/ubuntu:20.04"])
def test_found_under_all_its_names(name: str) -> None:
    found = catalog.find(parse_reference(name))
    assert found is not None
    assert found.glibc == "2.31"


def test_not_found() -> None:
    assert catalog.find(parse_reference("ubuntu:18.04")) is None
    assert catalog.find(parse_reference("quay.io/library/ubuntu:20.04")) is None
    digest = Digest("sha256:" + "0" * 64)
    assert catalog.find(Reference("docker.io", "library/ubuntu", "20.04", digest)) is None, "any bytes at all"


def test_untagged_miniforge_is_the_known_one() -> None:
    assert catalog.find(parse_reference("condaforge/miniforge3")) is not None


def test_end_of_support() -> None:
    image = catalog.find(parse_reference("ubuntu:20.04"))
    assert image is not None
    assert image.support(date(2025, 5, 29)) is None
    ended = "security updates for ubuntu:20.04 ended on 2025-05-29"
    assert image.support(date(2025, 5, 30)) == f"{ended}; Ubuntu Pro goes on until 2030-04-23"
    assert image.support(date(2030, 4, 24)) == ended


def test_versions_compare_as_numbers() -> None:
    assert catalog.version("2.9") < catalog.version("2.31") < catalog.version("2.31.1")
    with pytest.raises(ValueError, match="invalid literal"):
        catalog.version("2.x")
