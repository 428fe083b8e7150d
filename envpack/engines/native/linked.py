"""What the native engine has before it writes an image, whatever the image's format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from envpack.bases.manifest import Manifest
from envpack.cache import Cache
from envpack.content import prefix_record
from envpack.engines import Image
from envpack.engines.native.activated import Activated
from envpack.engines.native.segments import Segments
from envpack.entry import Entry, file
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.tree import Overwritten
from envpack.ledger import Action, Ledger
from envpack.lockfile import LockedPackage
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import activation

OWNER = "packages' link scripts"


@dataclass(frozen=True, slots=True)
class Part:
    """One package's segment."""

    package: LockedPackage
    segment: Segment

    @property
    def owner(self) -> str:
        """The package's name and version, for messages."""
        return f"{self.package.name} {self.package.version}"


@dataclass(frozen=True, slots=True)
class Base:
    """A base image: its blobs as they were pulled, and their file system as a segment."""

    manifest: Manifest
    layers: tuple[Path, ...]
    segment: Segment


@dataclass(frozen=True, slots=True)
class Linked:
    """An image's content: the base and every package, in the order in which they are laid over each other.

    ``base`` is ``None`` where the writer asked for none; ``files`` are segments of what the project adds, in
    the order of ``recipe.settings.files``; ``deffile`` is the definition file's text; ``variables`` are those
    of a container image before packages' scripts, and ``activated`` is what is known of these. ``made`` is a
    segment of what link scripts made, where any were run.
    """

    recipe: Recipe
    deffile: str
    base: Base | None
    parts: tuple[Part, ...]
    files: tuple[Segment, ...]
    variables: Mapping[str, str]
    activated: Activated
    made: Segment | None = None

    @property
    def laid(self) -> list[tuple[Segment, str]]:
        """What lies on the base, the lowest first: segments, and what each comes from.

        Conda's packages, what their link scripts made, and pip's, which conda knows nothing of.
        """
        conda = [(p.segment, p.owner) for p in self.parts if p.package.manager == "conda"]
        pip = [(p.segment, p.owner) for p in self.parts if p.package.manager != "conda"]
        return [*conda, *([] if self.made is None else [(self.made, OWNER)]), *pip]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All of them, the lowest first."""
        base = () if self.base is None else (self.base.segment,)
        return (*base, *(segment for segment, _ in self.laid), *self.files)

    @property
    def owners(self) -> tuple[str, ...]:
        """What each of :attr:`segments` comes from, for messages."""
        files = (copied.source for copied in self.recipe.settings.files)
        base = () if self.base is None else ("the base image",)
        return (*base, *(owner for _, owner in self.laid), *files)

    @property
    def made_by_scripts(self) -> list[int]:
        """The place of :attr:`made` among :attr:`segments`, if there is one; there must be a base."""
        conda = [part for part in self.parts if part.package.manager == "conda"]
        return [] if self.made is None else [1 + len(conda)]

    def places(self, counted: Iterable[int]) -> list[int]:
        """Places among :attr:`segments`, from places counted as if :attr:`made` were not there."""
        made = self.made_by_scripts
        return [place + (place >= made[0]) if made else place for place in counted]

    def own(self) -> list[Entry]:
        """What envpack adds to the environment in every format."""
        runscript = activation.runscript(self.recipe)
        scripts = [] if runscript is None else [file(activation.RUNSCRIPT[1:], runscript.encode(), 0o755)]
        return [self.history(), *scripts]

    def history(self) -> Entry:
        """``conda-meta/history`` of the environment."""
        specs = [name for name, _ in self.recipe.packages]
        packages = [part.package for part in self.parts]
        return prefix_record.history(self.recipe.prefix.strip("/"), packages, specs, self.recipe.epoch)


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a running build works with: ``folder`` is its own and temporary, ``pool`` compresses (threads)."""

    cache: Cache
    folder: Path
    pool: Executor
    segments: Segments
    progress: Progress


class ImageWriter(Protocol):
    """Writes one format of image."""

    @property
    def on_base(self) -> bool:
        """Whether the image is laid over the base image; else none is pulled."""

    @property
    def options(self) -> Options:
        """How the segments it needs are compressed."""

    @property
    def compressor(self) -> Literal["zstd", "gzip"]:
        """What the image itself is compressed with."""

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Write the image; ``output`` appears whole or not at all."""


def report_overwritten(
    overwritten: Sequence[Overwritten], owners: Sequence[str], recipe: Recipe, ledger: Ledger
) -> None:
    """Findings about files that two of ``owners`` have.

    Only the environment's own: what replaces the base's is on purpose.
    """
    root = recipe.prefix.strip("/") + "/"
    for path, loser, winner in overwritten:
        if path.startswith(root):
            ledger.add(
                Action.REPLACED,
                f"/{path}",
                f"{owners[loser]} and {owners[winner]} both have it; the latter's is in the image",
            )
