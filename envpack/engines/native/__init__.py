"""The native engine: archives are linked in memory and written as one SIF file.

It needs no daemon, no root and no container runtime, and starts no program but the environment's own python
to compile bytecode. Per package it keeps one archive and one segment in the cache; an image is segments end
to end, see :mod:`envpack.formats.squashfs`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from envpack import atomic
from envpack.bases.manifest import Manifest
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.content import prefix_record, rootfs
from envpack.download import Download, Downloader
from envpack.engines import Image
from envpack.engines.native.imports import requested_modules, top_level_modules
from envpack.engines.native.linking import Linker
from envpack.engines.native.order import link_order
from envpack.engines.native.segments import Segments
from envpack.entry import decode_path
from envpack.errors import BaseImageError
from envpack.formats import sif
from envpack.formats.squashfs.image import Assembled, assemble
from envpack.formats.squashfs.options import Options
from envpack.ledger import Action, Ledger
from envpack.lockfile import LockedPackage, Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import apptainer_def, singularity_d

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Part:
    """One package's segment and the paths it holds; ``owner`` is for messages."""

    owner: str
    segment: Path
    paths: tuple[str, ...]


class NativeEngine:
    """An :class:`~envpack.engines.Engine` that writes SIF files itself.

    ``workers`` is how many threads compress and how many processes compile; it does not change the image.
    """

    def __init__(
        self,
        cache: Cache,
        downloader: Downloader,
        registry: Registry,
        progress: Progress,
        options: Options,
        workers: int | None = None,
    ) -> None:
        self._cache = cache
        self._downloader = downloader
        self._registry = registry
        self._progress = progress
        self._options = options
        self._workers = workers or len(os.sched_getaffinity(0))

    def build(self, lock: Lockfile, recipe: Recipe, output: Path, ledger: Ledger) -> Image:
        """See :class:`~envpack.engines.Engine`; raises the errors of its parts."""
        packages = link_order(lock.for_platform(recipe.platform.subdir))
        manifest = self._registry.resolve(recipe.base.pinned, recipe.platform)
        if manifest.digest != recipe.base.digest:
            raise BaseImageError(
                f"{recipe.base.pinned} leads to the manifest {manifest.digest}",
                hint="Run `envpack lock` again to record the manifest of this platform.",
            )
        layers = self._registry.pull(manifest)
        archives = self._download(packages)
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="compress") as pool,
            self._cache.temporary() as folder,
        ):
            segments = Segments(self._cache, folder, self._options, pool)
            base = self._base(segments, manifest, layers)
            with Linker(segments, folder, packages, archives, recipe, self._workers) as linker:
                parts = self._link(linker, packages, ledger)
            modules = self._imports(lock, recipe, parts, linker.site_packages)
            recipe = replace(recipe, imports=modules)
            deffile = apptainer_def.render(recipe, lock.for_platform(recipe.platform.subdir))
            return self._write(segments, base, parts, recipe, deffile, manifest, output, ledger)

    def _download(self, packages: Sequence[LockedPackage]) -> dict[LockedPackage, Path]:
        archives = {p: self._cache.archive(p.sha256, p.filename) for p in packages}
        wanted = [Download(p.url, path, p.sha256) for p, path in archives.items()]
        self._downloader.fetch_all(wanted, title=f"Downloading {len(wanted)} packages")
        return archives

    def _base(self, segments: Segments, manifest: Manifest, layers: Sequence[Path]) -> Path:
        """The base image's file system as one segment."""
        with self._progress.step(f"Base image {manifest.reference.familiar}"):
            path, _ = segments.get(("base", str(manifest.digest)), lambda: rootfs.entries(layers))
        return path

    def _link(
        self, linker: Linker, packages: Sequence[LockedPackage], ledger: Ledger
    ) -> dict[LockedPackage, _Part]:
        """Every package as one segment, in the order in which they are linked."""
        parts = {}
        with self._progress.step("Linking packages", len(packages)) as task:
            for package in packages:
                path, index = linker.link(package)
                paths = tuple(decode_path(p) for p in index.paths)
                parts[package] = _Part(f"{package.name} {package.version}", path, paths)
                for script in linker.link_scripts(package, paths):
                    ledger.add(
                        Action.DROPPED,
                        f"{package.name} {package.version}",
                        f"its link script {script} was not run: the native engine runs no package's scripts",
                        remedy="See what it does; what it would have made is missing from the image.",
                    )
                task.advance()
        if linker.layout is not None and not linker.can_compile:
            ledger.add(
                Action.DROPPED,
                "bytecode",
                f"python for {linker.platform} does not run on this machine, so packages that ship no "
                "bytecode have none in the image: importing them is slower",
                remedy=f"Build on a machine of the platform {linker.platform}.",
            )
        return parts

    def _imports(
        self, lock: Lockfile, recipe: Recipe, parts: dict[LockedPackage, _Part], site_packages: str | None
    ) -> tuple[str, ...]:
        """The modules that the image's test imports."""
        if lock.pins is None or site_packages is None:
            return ()
        packages = {f"{p.manager}:{p.name}": p for p in parts}
        modules = {
            token: top_level_modules(parts[package].paths, site_packages)
            for token, package in packages.items()
        }
        return requested_modules(lock.pins.platforms[recipe.platform.subdir].requested, packages, modules)

    def _write(
        self,
        segments: Segments,
        base: Path,
        parts: dict[LockedPackage, _Part],
        recipe: Recipe,
        deffile: str,
        manifest: Manifest,
        output: Path,
        ledger: Ledger,
    ) -> Image:
        """Segments and metadata become the image."""
        variables = _variables(manifest)
        specs = [name for name, _ in recipe.packages]
        own = [
            *singularity_d.entries(recipe, deffile, variables),
            prefix_record.history(recipe.prefix.strip("/"), parts, specs, recipe.epoch),
        ]
        mount_points = segments.write("mount-points", singularity_d.mount_points())
        metadata = segments.write("metadata", own)
        order = [mount_points, base, *(part.segment for part in parts.values()), metadata]
        objects = [
            sif.DataObject(sif.DataType.DEFINITION_FILE, deffile.encode()),
            sif.DataObject(
                sif.DataType.GENERIC_JSON,
                singularity_d.inspect_metadata(recipe, deffile, variables),
                "inspect-metadata.json",
            ),
        ]
        start = sif.partition_offset(objects)
        with self._progress.step(f"Writing {output.name}"), atomic.replacing(output, 0o755) as out:
            made = assemble(out, start, order, self._options, recipe.epoch)
            sif.finish(
                out,
                objects,
                partition_size=made.size,
                architecture=recipe.platform.sif_architecture,
                content=made.digest,
                epoch=recipe.epoch,
            )
            size, digest = _hash(out)
        owners = ["the mount points", "the base image", *(p.owner for p in parts.values()), "envpack"]
        _report(made, owners, recipe, ledger)
        return Image(recipe, output, size, digest, made.files, made.directories, made.content_size)


def _variables(manifest: Manifest) -> dict[str, str]:
    """``config.Env`` of the base image (OCI image specification, config.md)."""
    listed = manifest.config.get("config", {}).get("Env") or []
    return dict(item.split("=", 1) for item in listed if isinstance(item, str) and "=" in item)


def _hash(out: BinaryIO) -> tuple[int, str]:
    """Size and sha256 of the file written so far."""
    out.flush()
    out.seek(0)
    digest = hashlib.sha256()
    while piece := out.read(_PIECE):
        digest.update(piece)
    return out.tell(), digest.hexdigest()


def _report(made: Assembled, owners: Sequence[str], recipe: Recipe, ledger: Ledger) -> None:
    """Findings about the environment's own files; what replaces the base's is on purpose."""
    root = recipe.prefix.strip("/") + "/"
    for path, loser, winner in made.overwritten:
        if path.startswith(root):
            ledger.add(
                Action.REPLACED,
                f"/{path}",
                f"{owners[loser]} and {owners[winner]} both have it; the latter's is in the image",
            )
    for name in made.unsupported_xattrs:
        ledger.add(Action.DROPPED, f"attribute {name}", "squashfs has no place for it")
