"""The image that Docker built, as an OCI archive that every container engine loads."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

from envpack import atomic
from envpack.cache import Cache, cannot_write
from envpack.engines.docker import saved
from envpack.engines.docker.saved import Saved
from envpack.formats.oci import archive
from envpack.formats.oci.archive import Written
from envpack.formats.oci.compression import Compression, Compressor
from envpack.formats.oci.layer import Layer
from envpack.image import Descriptor, Digest, Reference
from envpack.progress import Progress
from envpack.recipe import Recipe


def write(
    image: Saved,
    recipe: Recipe,
    reference: Reference,
    output: Path,
    compression: Compression,
    *,
    cache: Cache,
    folder: Path,
    pool: Executor,
    progress: Progress,
) -> Written:
    """Write ``image`` to ``output``, whole or not at all: its configuration as it is, its layers compressed.

    ``folder`` is for layers on their way, ``pool`` compresses. Raises :class:`OutputError`.
    """
    layers = []
    with progress.step("Compressing layers", len(image.layers)) as task:
        for number, (path, diff_id) in enumerate(zip(image.layers, image.diff_ids, strict=True)):
            packed = folder / f"layer-{number}"
            try:
                with packed.open("wb") as out:
                    descriptor = _compress(path, out, compression, pool)
            except OSError as error:
                raise cannot_write(cache.root, error) from error
            layers.append(Layer(descriptor, diff_id, packed, "Docker"))
            task.advance()
    with progress.step(f"Writing {output.name}"), atomic.replacing(output) as out:
        made = archive.Image(image.raw, layers, recipe.platform, recipe.labels)
        return archive.write(out, [made], reference=reference, epoch=recipe.epoch)


def _compress(path: Path, out: BinaryIO, compression: Compression, pool: Executor) -> Descriptor:
    digest, size = hashlib.sha256(), 0

    def sink(packed: bytes) -> None:
        nonlocal size
        digest.update(packed)
        size += out.write(packed)

    compressor = Compressor(compression, pool, sink)
    try:
        for piece in saved.content(path):
            compressor.write(piece)
        compressor.finish()
    finally:
        compressor.abandon()
    return Descriptor(compression.media_type, Digest(f"sha256:{digest.hexdigest()}"), size)
