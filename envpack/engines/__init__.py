"""Engines: a lock and a recipe become an image. Each back end is one :class:`Engine`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from envpack.image import Digest, Reference
from envpack.ledger import Ledger
from envpack.lockfile import Lockfile
from envpack.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image. ``size`` and ``content`` in bytes: the file itself, and all files inside it.

    ``recipe`` is the one it was built from, completed with the imports of its test. Of an OCI image,
    ``reference`` is its name and ``manifest`` the digest by which registries know it.
    """

    recipe: Recipe
    path: Path
    size: int
    sha256: str
    files: int
    directories: int
    content: int
    reference: Reference | None = None
    manifest: Digest | None = None


class Engine(Protocol):
    """Something that builds images."""

    def build(self, lock: Lockfile, recipe: Recipe, output: Path, ledger: Ledger) -> Image:
        """Build the image of ``recipe`` with the packages that ``lock`` has for its platform.

        ``output`` appears whole or not at all. Deviations go into ``ledger``. Raises an
        :class:`~envpack.errors.EnvpackError` of the kind that fits what went wrong.
        """
