"""Everything an image is made of, downloaded and linked: what has arrived is linked while the rest comes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

from envpack.bases.manifest import Manifest
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.content import carried_wheels
from envpack.download import Download, Downloader
from envpack.engines.native import heap
from envpack.engines.native.arrivals import Arrivals
from envpack.engines.native.linked import Base, Part
from envpack.engines.native.linking import Linker
from envpack.engines.native.segments import Segments
from envpack.entry import Entry
from envpack.errors import BaseImageError
from envpack.formats.squashfs.index import Segment
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
        compiling: Sequence[LockedPackage],
        recipe: Recipe,
        segments: Segments,
        folder: Path,
        *,
        on_base: bool,
    ) -> Gathered:
        """Every package, and the base image if wanted, as segments. Raises the errors of all parts.

        ``compiling`` are the packages of the python that compiles (:func:`.linking.compiling_python`).
        """
        manifest = self._manifest(recipe) if on_base else None
        layers = () if manifest is None else self.registry.downloads(manifest)
        archives = {p: self.cache.archive(p.sha256, p.filename) for p in (*packages, *compiling)}
        self.cache.use(*archives.values())
        carried_wheels.take(self.project, archives, archives.values())
        linkers = min(self.workers, _MOST_LINKERS)
        with (
            self.progress.step("Linking packages", len(packages)) as task,
            Linker(segments, folder, packages, compiling, archives, recipe, self.workers) as linker,
            Arrivals(linkers, segments.stop) as arrivals,
        ):

            def link(package: LockedPackage) -> Path:
                path = linker.link(package)
                task.advance()
                return path

            base = None
            paths = tuple(layer.path for layer in layers)
            if manifest is not None:
                base = arrivals.when(paths, partial(self._base, segments, manifest, paths))
            needed = linker.interpreter
            links = [
                arrivals.when({archives[package], *needed}, partial(link, package)) for package in packages
            ]
            wanted = {d.path: d for d in layers}
            for package, path in _in_order(archives, needed):
                if package.path is None:
                    wanted[path] = Download(package.url, path, package.sha256)
                else:
                    arrivals.arrived(path)
            title = f"Downloading {len(archives)} packages"
            self.downloader.fetch_all(list(wanted.values()), title=title, on_file=arrivals.arrived)
            linked = [link.result() for link in links]
            ground = None if base is None else base.result()
        # Indexes take memory that linking needs: they are read when that is done.
        if segments.made:
            heap.trim()
        parts = (Part(p, Segment.open(path)) for p, path in zip(packages, linked, strict=True))
        below = None
        if manifest is not None and ground is not None:
            below = Base(manifest, paths, Segment.open(ground))
        return Gathered(below, tuple(parts), archives, linker)

    def base(self, recipe: Recipe, segments: Segments) -> Base:
        """The base image alone."""
        manifest = self._manifest(recipe)
        layers = self.registry.pull(manifest)
        return Base(manifest, layers, Segment.open(self._base(segments, manifest, layers)))

    def _base(self, segments: Segments, manifest: Manifest, layers: Sequence[Path]) -> Path:
        """The base image's file system as one segment."""

        def entries() -> Iterable[Entry]:
            from envpack.content import rootfs

            return rootfs.entries(layers)

        with self.progress.step(f"Base image {manifest.reference.short}"):
            return segments.get(("base", str(manifest.digest)), entries)

    def _manifest(self, recipe: Recipe) -> Manifest:
        pinned = replace(recipe.base.reference, digest=recipe.base.digest)
        manifest = self.registry.resolve(pinned, recipe.platform)
        if manifest.digest != recipe.base.digest:
            raise BaseImageError(
                f"{pinned} leads to the manifest {manifest.digest}",
                hint="Run `envpack lock` again to record the manifest of this platform.",
            )
        return manifest


def _in_order(
    archives: Mapping[LockedPackage, Path], needed: Collection[Path]
) -> Iterator[tuple[LockedPackage, Path]]:
    """Python first, as all wait for it; then from large to small, so that none is left alone at the end.

    Packages for all platforms take turns with the others: the former have sources to be compiled by other
    processes, the latter mostly libraries to be compressed by this one.
    """
    yield from (item for item in archives.items() if item[1] in needed)
    rest = [item for item in archives.items() if item[1] not in needed]
    rest.sort(key=lambda item: -item[1].stat().st_size if item[1].exists() else 0)
    portable = [item for item in rest if _is_portable(item[0])]
    others = [item for item in rest if not _is_portable(item[0])]
    for pair in zip_longest(others, portable):
        yield from (item for item in pair if item is not None)


def _is_portable(package: LockedPackage) -> bool:
    return package.manager == "pip" or "/noarch/" in package.url
