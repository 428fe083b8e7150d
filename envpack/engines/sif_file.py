"""Writing a SIF file around segments, for engines that have the image's content as such."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from envpack import atomic
from envpack.formats import sif
from envpack.formats.squashfs import image as squashfs
from envpack.recipe import Recipe
from envpack.recipes import singularity_d


@dataclass(frozen=True, slots=True)
class Written:
    """A file: its bytes, and their sha256 (hexadecimal)."""

    size: int
    sha256: str


def write(
    output: Path,
    recipe: Recipe,
    deffile: str,
    variables: Mapping[str, str],
    partition: squashfs.Image,
    settle: Callable[[], None],
) -> Written:
    """Write ``output`` with that ``partition``, whole or not at all.

    ``deffile`` is the definition file's text, ``variables`` are those of the base image; both are for
    ``apptainer inspect``. ``settle`` is as for :func:`write_image`. Raises :class:`OutputError`, and what
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
        return write_image(out, partition, settle, sif.partition_offset(objects), head)


def write_image(
    out: BinaryIO,
    image: squashfs.Image,
    settle: Callable[[], None],
    offset: int = 0,
    head: Callable[[], bytes] = bytes,
) -> Written:
    """Write the ``offset`` bytes of ``head`` and the image behind them into an empty file.

    The data are on their way while tables are made and everything is hashed. ``settle`` is called when it is
    there, and raises what would make it wrong.
    """

    def write_data() -> None:
        image.write_data(out, offset)
        out.flush()
        os.fsync(out.fileno())

    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        written = pool.submit(write_data)
        start = head()
        digest = hashlib.sha256(start)
        for piece in image.pieces():
            digest.update(piece)
        written.result()
    settle()
    out.seek(0)
    out.write(start)
    image.write_tables(out, offset)
    return Written(out.tell(), digest.hexdigest())
