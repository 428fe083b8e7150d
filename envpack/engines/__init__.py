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
class Contents:
    """What is in an image: how many files and folders, and the bytes of all files."""

    files: int
    directories: int
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image.

    ``path`` is its file or, of a sandbox, its folder; ``None`` when only a daemon holds it. ``size`` in bytes
    is the file's, or what the daemon says; ``None`` for a folder. ``sha256`` (hexadecimal) is that of the
    file. ``contents`` is known of what envpack wrote itself.

    ``recipe`` is the one it was built from, completed with the imports of its test. Of an image of Docker or
    the OCI, ``reference`` is its name, ``manifest`` the digest by which registries know it, and ``daemon_id``
    the one by which the daemon does.
    """

    recipe: Recipe
    path: Path | None
    size: int | None
    sha256: str | None = None
    contents: Contents | None = None
    reference: Reference | None = None
    manifest: Digest | None = None
    daemon_id: Digest | None = None


class Engine(Protocol):
    """Something that builds images."""

    def build(self, lock: Lockfile, recipe: Recipe, output: Path | None, ledger: Ledger) -> Image:
        """Build the image of ``recipe`` with the packages that ``lock`` has for its platform.

        ``output`` appears whole or not at all; ``None`` where the image shall be in a daemon alone.
        Deviations go into ``ledger``. Raises an
        :class:`~envpack.errors.EnvpackError` of the kind that fits what went wrong.
        """
