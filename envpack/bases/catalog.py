"""The base images that envpack knows facts about: ``catalog.toml``, read once and checked."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

from envpack.image import Reference, parse_reference
from envpack.platforms import PLATFORMS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class KnownImage:
    """One image of the catalogue. ``platforms`` are conda subdirs, the dates last days of support."""

    reference: Reference
    family: str
    glibc: str
    platforms: tuple[str, ...]
    supported_until: date
    extended_until: date | None = None
    extended_by: str | None = None

    def __str__(self) -> str:
        """``ubuntu:20.04 (glibc 2.31)``"""
        return f"{self.reference.familiar} (glibc {self.glibc})"

    def support(self, today: date) -> str | None:
        """The sentence about the end of its support, once that has come by ``today``."""
        if today <= self.supported_until:
            return None
        ended = f"security updates for {self.reference.familiar} ended on {self.supported_until}"
        if self.extended_until is None or today > self.extended_until:
            return ended
        return f"{ended}; {self.extended_by} goes on until {self.extended_until}"


@cache
def load() -> tuple[KnownImage, ...]:
    """The catalogue, in order of preference."""
    text = resources.files("envpack.bases").joinpath("catalog.toml").read_text("utf-8")
    return tuple(_known(item) for item in tomllib.loads(text)["image"])


def find(reference: Reference) -> KnownImage | None:
    """The facts about the image that ``reference`` names by its tag, if it is in the catalogue."""
    name = (reference.registry, reference.repository, reference.tag)
    for image in load():
        known = image.reference
        if name == (known.registry, known.repository, known.tag) and reference.digest is None:
            return image
    return None


def version(glibc: str) -> tuple[int, ...]:
    """A glibc version in a form that compares; raises ``ValueError`` for anything but numbers and dots."""
    return tuple(int(part) for part in glibc.split("."))


def _known(item: dict[str, Any]) -> KnownImage:
    image = KnownImage(parse_reference(item.pop("reference")), platforms=tuple(item.pop("platforms")), **item)
    assert set(image.platforms) <= set(PLATFORMS)
    assert version(image.glibc)
    return image
