"""Writing SIF files: segments end to end as one squashfs partition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from envpack import atomic
from envpack.engines import Contents, Image
from envpack.engines.native.linked import Linked, Workspace, report_overwritten
from envpack.formats import sif
from envpack.formats.oci.configuration import base_variables
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.options import Options
from envpack.ledger import Action, Ledger
from envpack.recipes import singularity_d

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class SifImage:
    """An :class:`~envpack.engines.native.linked.ImageWriter` of files for Apptainer and Singularity."""

    options: Options

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Segments and metadata become the image."""
        recipe, segments = linked.recipe, workspace.segments
        variables = base_variables(linked.manifest.config)
        own = [*singularity_d.entries(recipe, linked.deffile, variables), *linked.own()]
        mount_points = segments.write("mount-points", singularity_d.mount_points())
        metadata = segments.write("metadata", own)
        order = [mount_points, *linked.segments, metadata]
        objects = [
            sif.DataObject(sif.DataType.DEFINITION_FILE, linked.deffile.encode()),
            sif.DataObject(
                sif.DataType.GENERIC_JSON,
                singularity_d.inspect_metadata(recipe, linked.deffile, variables),
                "inspect-metadata.json",
            ),
        ]
        start = sif.partition_offset(objects)
        with (
            workspace.progress.step(f"Writing {output.name}"),
            atomic.replacing(output, 0o755) as out,
        ):
            made = assemble(out, start, order, self.options, recipe.epoch)
            sif.finish(
                out,
                objects,
                partition_size=made.size,
                architecture=recipe.platform.sif_architecture,
                content=made.digest,
                epoch=recipe.epoch,
            )
            size, digest = _hash(out)
        owners = ["the mount points", *linked.owners, "envpack"]
        report_overwritten(made.overwritten, owners, recipe, ledger)
        for name in made.unsupported_xattrs:
            ledger.add(Action.DROPPED, f"attribute {name}", "squashfs has no place for it")
        contents = Contents(made.files, made.directories, made.content_size)
        return Image(recipe, output, size, digest, contents)


def _hash(out: BinaryIO) -> tuple[int, str]:
    """Size and sha256 of the file written so far."""
    out.flush()
    out.seek(0)
    digest = hashlib.sha256()
    while piece := out.read(_PIECE):
        digest.update(piece)
    return out.tell(), digest.hexdigest()
