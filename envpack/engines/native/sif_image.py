"""Writing SIF files: segments end to end as one squashfs partition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envpack.engines import Contents, Image, sif_file
from envpack.engines.native.linked import Linked, Workspace, report_overwritten
from envpack.formats.oci.configuration import base_variables
from envpack.formats.squashfs import image as squashfs
from envpack.formats.squashfs.options import Options
from envpack.ledger import Action, Ledger
from envpack.recipes import singularity_d


@dataclass(frozen=True, slots=True)
class SifImage:
    """An :class:`~envpack.engines.native.linked.ImageWriter` of files for Apptainer and Singularity."""

    options: Options

    @property
    def on_base(self) -> bool:
        """A SIF image is the base with the environment in it."""
        return True

    @property
    def compressor(self) -> Literal["zstd", "gzip"]:
        """The segments are the image."""
        return self.options.compression

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Segments and metadata become the image."""
        recipe, segments = linked.recipe, workspace.segments
        assert linked.base is not None
        variables = base_variables(linked.base.manifest.config)
        own = [*singularity_d.entries(recipe, linked.deffile, variables), *linked.own()]
        mount_points = segments.write("mount-points", singularity_d.mount_points())
        metadata = segments.write("metadata", own)
        order = [mount_points, *linked.segments, metadata]
        with workspace.progress.step(f"Writing {output.name}"):
            partition = squashfs.Image(order, self.options, recipe.epoch)
            written = sif_file.write(output, recipe, linked.deffile, variables, partition, segments.settle)
        made = partition.assembled
        owners = ["the mount points", *linked.owners, "envpack"]
        report_overwritten(made.overwritten, owners, recipe, ledger)
        for name in made.unsupported_xattrs:
            ledger.add(Action.DROPPED, f"attribute {name}", "squashfs has no place for it")
        contents = Contents(made.files, made.directories, made.content_size)
        return Image(recipe, output, written.size, written.sha256, contents)
