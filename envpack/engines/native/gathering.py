"""Everything an image is made of, downloaded and linked: what has arrived is linked while the rest comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from envpack.bases.manifest import Manifest
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.content import carried_wheels, rootfs
from envpack.download import Download, Downloader
from envpack.engines.native.arrivals import Arrivals
from envpack.engines.native.linked import Base, Part
from envpack.engines.native.linking import Linker
from envpack.engines.native.segments import Segments
from envpack.entry import decode_path
from envpack.errors import BaseImageError
from envpack.lockfile import LockedPackage
from envpack.progress import Progress
from envpack.recipe import Recipe

# Packages that are linked at once: each holds some 20 MB, and Python runs one thread at a time anyway.
_MOST_LINKERS = 4


@dataclass(frozen=True, slots=True)
class Gathered:
    """``parts`` are in the order of the packages; ``archives`` are their files; ``linker`` has ended."""

    base: Base | None
    parts: tuple[Part, ...]
    archives: dict[LockedPackage, Path]
    linker: Linker


@dataclass(frozen=True, slots=True)
class Gathering:
    """Where things come from. ``project`` is the folder of carried wheels; ``workers`` of cores."""

    cache: Cache
    downloader: Downloader
    registry: Registry
    progress: Progress
    project: Path
    workers: int

    def gather(
        self,
        packages: Sequence[LockedPackage],
        recipe: Recipe,
        segments: Segments,
        folder: Path,
        *,
        on_base: bool,
    ) -> Gathered:
        """Every package, and the base image if wanted, as segments. Raises the errors of all parts."""
        manifest = self._manifest(recipe) if on_base else None
        layers = () if manifest is None else self.registry.downloads(manifest)
        archives = {p: self.cache.archive(p.sha256, p.filename) for p in packages}
        self.cache.use(*archives.values())
        carried_wheels.take(self.project, archives, archives.values())
        linkers = min(self.workers, _MOST_LINKERS)
        with (
            self.progress.step("Linking packages", len(packages)) as task,
            Linker(segments, folder, packages, archives, recipe, self.workers) as linker,
            Arrivals(linkers, segments.stop) as arrivals,
        ):

            def link(package: LockedPackage) -> Part:
                path, index = linker.link(package)
                task.advance()
                return Part(package, path, tuple(decode_path(p) for p in index.paths))

            base = None
            if manifest is not None:
                paths = [layer.path for layer in layers]
                base = arrivals.when(paths, partial(self._base, segments, manifest, paths))
            needed = linker.interpreter
            links = [
                arrivals.when({path, *needed}, partial(link, package)) for package, path in archives.items()
            ]
            wanted = {d.path: d for d in layers}
            for package, path in sorted(archives.items(), key=lambda item: _urgency(item[1], needed)):
                if package.path is None:
                    wanted[path] = Download(package.url, path, package.sha256)
                else:
                    arrivals.arrived(path)
            title = f"Downloading {len(archives)} packages"
            self.downloader.fetch_all(list(wanted.values()), title=title, on_file=arrivals.arrived)
            return Gathered(
                None if base is None else base.result(),
                tuple(part.result() for part in links),
                archives,
                linker,
            )

    def base(self, recipe: Recipe, segments: Segments) -> Base:
        """The base image alone."""
        manifest = self._manifest(recipe)
        return self._base(segments, manifest, self.registry.pull(manifest))

    def _base(self, segments: Segments, manifest: Manifest, layers: Sequence[Path]) -> Base:
        """The base image with its file system as one segment."""
        with self.progress.step(f"Base image {manifest.reference.short}"):
            path, _ = segments.get(("base", str(manifest.digest)), lambda: rootfs.entries(layers))
        return Base(manifest, tuple(layers), path)

    def _manifest(self, recipe: Recipe) -> Manifest:
        pinned = replace(recipe.base.reference, digest=recipe.base.digest)
        manifest = self.registry.resolve(pinned, recipe.platform)
        if manifest.digest != recipe.base.digest:
            raise BaseImageError(
                f"{pinned} leads to the manifest {manifest.digest}",
                hint="Run `envpack lock` again to record the manifest of this platform.",
            )
        return manifest


def _urgency(path: Path, needed: Sequence[Path]) -> tuple[bool, int]:
    """Python comes first, as all wait for it; then large archives, so that none is left alone at the end."""
    return path not in needed, -path.stat().st_size if path.exists() else 0
