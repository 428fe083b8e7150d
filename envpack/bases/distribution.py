"""Which python a base image's distribution has: ``distributions.toml``, by what the image says it is.

Its ``/etc/os-release`` says so (os-release(5): lines of shell assignments), not its name.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources

from envpack.errors import BaseImageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FAMILY = "debian"  # of the catalogue: whose images are one of these
OS_RELEASE = "etc/os-release"


@dataclass(frozen=True, slots=True)
class Distribution:
    """A release of a distribution and the version of its ``python3`` (``3.8.10``).

    ``id`` and ``version`` are ``ID`` and ``VERSION_ID`` of os-release(5).
    """

    id: str
    version: str
    python: str

    def __str__(self) -> str:
        """``ubuntu 20.04``"""
        return f"{self.id} {self.version}"


@cache
def load() -> tuple[Distribution, ...]:
    """The distributions whose python is known."""
    text = resources.files("envpack.bases").joinpath("distributions.toml").read_text("utf-8")
    return tuple(Distribution(**item) for item in tomllib.loads(text)["distribution"])


def identify(os_release: bytes | None, image: str) -> Distribution:
    """The distribution that the ``os-release`` of ``image`` names; ``None`` for an image without that file.

    Raises :class:`BaseImageError` for every other one, naming those that are known.
    """
    fields = _fields(os_release or b"")
    name, version = fields.get("ID", ""), fields.get("VERSION_ID", "")
    for known in load():
        if (known.id, known.version) == (name, version):
            return known
    said = f"it is {name} {version}".rstrip() if name else "it does not say which distribution it is"
    raise BaseImageError(
        f"which python {image} has is not known",
        why=f"{said}; known are {', '.join(map(str, load()))}",
        hint="Choose a base made from one of these (--base), or leave --python system out: python then "
        "comes from conda, for any base.",
    )


def _fields(os_release: bytes) -> dict[str, str]:
    """The assignments; lines that are none are left out."""
    found = {}
    for line in os_release.decode("utf-8", "replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:  # a quote that does not end
                continue
    return found
