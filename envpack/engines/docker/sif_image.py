"""The image that Docker built, as a file for Apptainer and Singularity.

The layers become one file system, with the metadata of the native engine's SIF files on top: the environment
is activated as there, and Docker's entry point is not used.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from envpack.cache import Cache
from envpack.content import rootfs
from envpack.engines import Contents, Image, sif_file
from envpack.engines.docker.imports import modules
from envpack.engines.docker.saved import Saved
from envpack.engines.native.order import link_order
from envpack.engines.native.segments import Segments
from envpack.formats.oci.configuration import base_variables
from envpack.formats.squashfs import image as squashfs
from envpack.formats.squashfs.options import Options
from envpack.ledger import Action, Ledger
from envpack.lockfile import Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, singularity_d


def write(
    image: Saved,
    lock: Lockfile,
    recipe: Recipe,
    output: Path,
    options: Options,
    *,
    cache: Cache,
    folder: Path,
    pool: Executor,
    progress: Progress,
    ledger: Ledger,
) -> Image:
    """Write ``image`` to ``output``, whole or not at all.

    ``folder`` is for parts on their way, ``pool`` compresses.
    Raises :class:`OutputError`, and :class:`IntegrityError` for layers that no image can hold.
    """
    variables = _variables(image, recipe)
    segments = Segments(cache, folder, options, pool)
    with progress.step(f"Writing {output.name}"):
        root = segments.write("root", rootfs.entries(image.layers))
        recipe = replace(recipe, imports=modules(lock, recipe, root))
        deffile = apptainer_def.render(recipe, link_order(lock.for_platform(recipe.platform.subdir)))
        order = [
            segments.write("mount-points", singularity_d.mount_points()),
            root,
            segments.write("metadata", singularity_d.entries(recipe, deffile, variables)),
        ]
        partition = squashfs.Image(order, options, recipe.epoch)
        written = sif_file.write(output, recipe, deffile, variables, partition, segments.settle)
    made = partition.assembled
    for name in made.unsupported_xattrs:
        ledger.add(Action.DROPPED, f"attribute {name}", "squashfs has no place for it")
    contents = Contents(made.files, made.directories, made.content_size)
    return Image(recipe, output, written.size, written.sha256, contents)


def _variables(image: Saved, recipe: Recipe) -> dict[str, str]:
    """The base's variables: those of the image without what activation sets there anyway."""
    own = activation.variables(recipe)
    found = {name: value for name, value in base_variables(image.config).items() if name not in own}
    if "PATH" in found:
        found["PATH"] = found["PATH"].removeprefix(f"{recipe.prefix}/bin:")
    return found
