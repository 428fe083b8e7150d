"""Writing a SIF file around segments, for engines that have the image's content as such."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from envpack import atomic
from envpack.engines import writing
from envpack.engines.writing import Written
from envpack.formats import sif
from envpack.formats.squashfs.image import Image
from envpack.recipe import Recipe
from envpack.recipes import singularity_d


def write(
    output: Path,
    recipe: Recipe,
    deffile: str,
    variables: Mapping[str, str],
    partition: Image,
    settle: Callable[[], None],
) -> Written:
    """Write ``output`` with that ``partition``, whole or not at all.

    ``deffile`` is the definition file's text, ``variables`` are those of the base image; both are for
    ``apptainer inspect``. ``settle`` is as for :func:`.writing.write`. Raises :class:`OutputError`, and what
    ``partition`` and ``settle`` raise.
    """
    metadata = singularity_d.inspect_metadata(recipe, deffile, variables)
    objects = [
        sif.DataObject(sif.DataType.DEFINITION_FILE, deffile.encode()),
        sif.DataObject(sif.DataType.GENERIC_JSON, metadata, "inspect-metadata.json"),
    ]

    def head() -> bytes:
        return sif.head(
            objects,
            partition_size=partition.assembled.size,
            architecture=recipe.platform.sif_architecture,
            content=partition.assembled.digest,
            epoch=recipe.epoch,
        )

    with atomic.replacing(output, 0o755) as out:
        return writing.write(out, partition, settle, sif.partition_offset(objects), head)
