"""Writing a SIF file around segments, for engines that have the image's content as such."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from envpack import atomic
from envpack.formats import sif
from envpack.formats.squashfs.image import Assembled, assemble
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.recipe import Recipe
from envpack.recipes import singularity_d

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """A SIF file: its bytes, their sha256 (hexadecimal), and what is in its partition."""

    size: int
    sha256: str
    partition: Assembled


def write(
    output: Path,
    recipe: Recipe,
    deffile: str,
    variables: Mapping[str, str],
    segments: Sequence[Segment],
    options: Options,
) -> Written:
    """Write ``segments``, the lowest first, as the partition of ``output``, whole or not at all.

    ``deffile`` is the definition file's text, ``variables`` are those of the base image; both are for
    ``apptainer inspect``. Raises :class:`OutputError`, and what :func:`assemble` raises.
    """
    metadata = singularity_d.inspect_metadata(recipe, deffile, variables)
    objects = [
        sif.DataObject(sif.DataType.DEFINITION_FILE, deffile.encode()),
        sif.DataObject(sif.DataType.GENERIC_JSON, metadata, "inspect-metadata.json"),
    ]
    with atomic.replacing(output, 0o755) as out:
        made = assemble(out, sif.partition_offset(objects), segments, options, recipe.epoch)
        sif.finish(
            out,
            objects,
            partition_size=made.size,
            architecture=recipe.platform.sif_architecture,
            content=made.digest,
            epoch=recipe.epoch,
        )
        size, digest = measured(out)
    return Written(size, digest, made)


def measured(out: BinaryIO) -> tuple[int, str]:
    """Size and sha256 of the file written so far, which is on its way to the disk meanwhile."""
    out.flush()
    with ThreadPoolExecutor(1, thread_name_prefix="sync") as pool:
        synced = pool.submit(os.fsync, out.fileno())
        out.seek(0)
        digest = hashlib.sha256()
        while piece := out.read(_PIECE):
            digest.update(piece)
        synced.result()
    return out.tell(), digest.hexdigest()
