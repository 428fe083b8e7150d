"""Writing a bare squashfs file: the environment's folder alone, to be bound into any container.

The root of the file system is what the folder of the environment holds, linked for its path there:

    apptainer exec -B NAME.sqfs:/opt/env:image-src=/ BASE.sif /opt/env/bin/python script.py

It is made from the same segments as a SIF image, and from no base: which system it is bound into is not its
business, but for the glibc that its packages need. ``activate.sh`` in it does what ``%environment`` does in a
SIF image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envpack import atomic
from envpack.engines import Contents, Image, writing
from envpack.engines.native.linked import Linked, Workspace, report_overwritten
from envpack.entry import Entry, file
from envpack.formats.squashfs import image as squashfs
from envpack.formats.squashfs.options import Options
from envpack.ledger import Action, Ledger
from envpack.recipe import Recipe
from envpack.recipes import activation

ACTIVATE = "activate.sh"


@dataclass(frozen=True, slots=True)
class SqfsImage:
    """An :class:`~envpack.engines.native.linked.ImageWriter` of an environment as a file system."""

    options: Options

    @property
    def on_base(self) -> bool:
        """It is bound into one."""
        return False

    @property
    def compressor(self) -> Literal["zstd", "gzip"]:
        """The segments are the image."""
        return self.options.compression

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Segments become the file system, of which the environment's folder is the root."""
        recipe = linked.recipe
        root = recipe.prefix.strip("/")
        _report_left_out(recipe, ledger)
        own: list[Entry] = [
            linked.history(),
            file(f"{root}/{ACTIVATE}", activation.environment(recipe).encode()),
        ]
        segments = [*(segment for segment, _ in linked.laid), workspace.segments.write("metadata", own)]
        owners = [*(owner for _, owner in linked.laid), "envpack"]
        with workspace.progress.step(f"Writing {output.name}"), atomic.replacing(output) as out:
            image = squashfs.Image(segments, self.options, recipe.epoch, root=root)
            written = writing.write(out, image, workspace.segments.settle)
        made = image.assembled
        report_overwritten(made.overwritten, owners, recipe, ledger)
        for path in made.outside:
            ledger.add(
                Action.DROPPED,
                f"/{path}",
                f"it is not below {recipe.prefix}, and the image holds nothing else",
                remedy="Build another format, if it is needed.",
            )
        for name in made.unsupported_xattrs:
            ledger.add(Action.DROPPED, f"attribute {name}", "squashfs has no place for it")
        contents = Contents(made.files, made.directories, made.content_size)
        return Image(recipe, output, written.size, written.sha256, contents)


def _report_left_out(recipe: Recipe, ledger: Ledger) -> None:
    """Findings about what the project asks for and a file system alone does not have."""
    for copied in recipe.settings.files:
        ledger.add(
            Action.DROPPED,
            copied.source,
            f"{copied.destination} is not below {recipe.prefix}, and the image holds nothing else",
            remedy="Bind it into the container too.",
        )
    if recipe.settings.runscript is not None:
        ledger.add(
            Action.DROPPED, "runscript", "a file system is bound into a container, and that has its own"
        )
    for name in sorted(recipe.settings.labels):
        ledger.add(Action.DROPPED, f"label {name}", "a squashfs file has no labels")
