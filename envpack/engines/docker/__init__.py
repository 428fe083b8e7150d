"""Docker builds the recipe: an image in its daemon, and from there a file or a registry's.

Apt packages, link scripts and commands run in containers, which is what the native engine does without.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from envpack import atomic
from envpack.cache import Cache
from envpack.engines import Image
from envpack.engines.docker import activated, buildkit, classic, daemon, exports, oci_image, sif_image
from envpack.engines.docker.daemon import Daemon
from envpack.formats.oci.compression import Compression
from envpack.formats.squashfs.options import DEFAULT, Options
from envpack.image import Digest, Reference
from envpack.ledger import Ledger
from envpack.lockfile import Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe

Format = Literal["docker", "oci", "sif"]


class DockerEngine:
    """An :class:`~envpack.engines.Engine` that has a Docker daemon build ``folder``, the written recipe.

    The image is called ``reference`` (with a tag) in the daemon, whatever else ``format`` makes of it.
    ``push`` sends it to the registry of that name too. ``network`` is that of the build's containers.
    ``layers`` is how an OCI archive is compressed, ``options`` how a SIF file is. ``workers`` is how many
    threads compress.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        *,
        format: Format,
        reference: Reference,
        cache: Cache,
        push: bool = False,
        network: str | None = None,
        layers: Compression | None = None,
        options: Options = DEFAULT,
        workers: int | None = None,
    ) -> None:
        self._folder, self._progress, self._format, self._reference = folder, progress, format, reference
        self._cache, self._push, self._network = cache, push, network
        self._layers, self._options = layers or Compression(), options
        self._workers = workers or len(os.sched_getaffinity(0))

    def build(self, lock: Lockfile, recipe: Recipe, output: Path | None, ledger: Ledger) -> Image:
        """See :class:`~envpack.engines.Engine`; ``output`` is a must but for the format ``docker``.

        Raises :class:`EngineError` for what Docker cannot do, :class:`OutputError` and
        :class:`IntegrityError` for its image as a file.
        """
        assert output is not None or self._format == "docker"
        if output is not None:
            atomic.check(output)
        found = daemon.connect(os.environ)
        self._build(found, recipe)
        activated.keep(found, self._reference, self._progress)
        with found.talking("looking at the image"):
            about = found.client.inspect_image(self._reference.familiar)
        image = Image(recipe, None, about["Size"])
        if output is not None:
            image = self._write(found, lock, recipe, output, ledger)
        image = replace(image, reference=self._reference, daemon_id=Digest(about["Id"]))
        if self._push:
            pushed = exports.push(found, self._reference, self._progress)
            image = replace(image, manifest=pushed or image.manifest)
        return image

    def _build(self, found: Daemon, recipe: Recipe) -> None:
        tag, epoch, network = self._reference.familiar, recipe.epoch, self._network
        # Said only where it must be: old Dockers take it for an experimental feature.
        foreign = recipe.platform.oci_architecture != found.architecture
        platform = f"linux/{recipe.platform.oci_architecture}" if foreign else None
        command = buildkit.command(found)
        if command is None:
            self._progress.note("Docker's classic builder is used: there is no command line with BuildKit")
            classic.build(
                found, self._folder, tag, self._progress, epoch=epoch, platform=platform, network=network
            )
        else:
            buildkit.build(
                command, found, self._folder, tag, self._progress,
                epoch=epoch, platform=platform, network=network,
            )  # fmt: skip

    def _write(self, found: Daemon, lock: Lockfile, recipe: Recipe, output: Path, ledger: Ledger) -> Image:
        if self._format == "docker":
            size, digest = exports.save(found, self._reference, output, self._progress)
            return Image(recipe, output, size, digest)
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="compress") as pool,
            exports.unpacked(found, self._reference, self._cache, self._progress) as (saved, folder),
        ):
            if self._format == "oci":
                written = oci_image.write(
                    saved, recipe, self._reference, output, self._layers,
                    cache=self._cache, folder=folder, pool=pool, progress=self._progress,
                )  # fmt: skip
                return Image(recipe, output, written.size, written.sha256, manifest=written.manifests[0])
            return sif_image.write(
                saved, lock, recipe, output, self._options,
                cache=self._cache, folder=folder, pool=pool, progress=self._progress, ledger=ledger,
            )  # fmt: skip
