"""The native engine: archives are linked in memory and written as one file.

It needs no daemon, no root and no container runtime, and starts no program but the environment's own python
to compile bytecode. Per package it keeps one archive and one segment (:mod:`envpack.formats.squashfs`) in the
cache; all formats of images are made from the segments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from envpack.bases.manifest import Manifest
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.content import carried_wheels, project_files, rootfs
from envpack.download import Download, Downloader
from envpack.engines import Image
from envpack.engines.native.activated import evaluated
from envpack.engines.native.imports import requested_modules, top_level_modules
from envpack.engines.native.link_scripts import LinkScript, LinkScripts, Made
from envpack.engines.native.linked import Base, ImageWriter, Linked, Part, Workspace
from envpack.engines.native.linking import Linker
from envpack.engines.native.order import link_order
from envpack.engines.native.segments import Segments
from envpack.entry import decode_path
from envpack.errors import BaseImageError, EngineError, Problem
from envpack.formats.oci.configuration import base_variables
from envpack.ledger import Action, Ledger
from envpack.lockfile import LockedPackage, Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def


class NativeEngine:
    """An :class:`~envpack.engines.Engine` that writes images itself; ``writer`` is for their format.

    ``project`` is the folder of the files that are copied into the image. ``link_scripts`` says what is done
    with packages that have some. ``workers`` is how many threads compress and how many processes compile; it
    does not change the image.
    """

    def __init__(
        self,
        cache: Cache,
        downloader: Downloader,
        registry: Registry,
        progress: Progress,
        writer: ImageWriter,
        *,
        project: Path = Path(),
        link_scripts: Literal["refuse", "skip", "run"] = "refuse",
        workers: int | None = None,
    ) -> None:
        self._project = project
        self._link_scripts = link_scripts
        self._cache = cache
        self._downloader = downloader
        self._registry = registry
        self._progress = progress
        self._writer = writer
        self._workers = workers or len(os.sched_getaffinity(0))

    def build(self, lock: Lockfile, recipe: Recipe, output: Path | None, ledger: Ledger) -> Image:
        """See :class:`~envpack.engines.Engine`; ``output`` is a must. Raises the errors of its parts."""
        assert output is not None
        refuse_commands(recipe)
        packages = link_order(lock.for_platform(recipe.platform.subdir))
        pulled = self._pull(recipe) if self._writer.on_base else None
        archives = self._download(packages)
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="compress") as pool,
            self._cache.temporary() as folder,
        ):
            segments = Segments(self._cache, folder, self._writer.options, pool)
            base = None if pulled is None else self._base(segments, *pulled)
            with Linker(segments, folder, packages, archives, recipe, self._workers) as linker:
                parts, scripts = self._link(linker, packages, ledger)
            made = self._run(scripts, recipe, base, parts, archives, segments, folder, ledger)
            if made is not None:
                recipe = replace(recipe, labels={**recipe.labels, **made.labels})
            modules = _imports(lock, recipe, parts, linker.site_packages)
            variables = _variables(recipe, base)
            paths = chain(*(part.paths for part in parts), made.paths if made else ())
            below = [] if base is None else [base.segment]
            above = [] if made is None else [made.segment]
            laid = [*below, *(part.segment for part in parts), *above]
            activated = evaluated(recipe, paths, laid, variables)
            recipe = replace(recipe, imports=modules, activated=activated.variables)
            linked = Linked(
                recipe,
                apptainer_def.render(recipe, packages),
                base,
                parts,
                self._files(segments, recipe),
                variables,
                activated,
                made.segment if made else None,
            )
            workspace = Workspace(self._cache, folder, pool, segments, self._progress)
            return self._writer.write(linked, workspace, output, ledger)

    def _pull(self, recipe: Recipe) -> tuple[Manifest, tuple[Path, ...]]:
        """The base image and its layers."""
        pinned = replace(recipe.base.reference, digest=recipe.base.digest)
        manifest = self._registry.resolve(pinned, recipe.platform)
        if manifest.digest != recipe.base.digest:
            raise BaseImageError(
                f"{pinned} leads to the manifest {manifest.digest}",
                hint="Run `envpack lock` again to record the manifest of this platform.",
            )
        return manifest, self._registry.pull(manifest)

    def _download(self, packages: Sequence[LockedPackage]) -> dict[LockedPackage, Path]:
        archives = {p: self._cache.archive(p.sha256, p.filename) for p in packages}
        self._cache.use(*archives.values())
        carried_wheels.take(self._project, archives, archives.values())
        wanted = [Download(p.url, path, p.sha256) for p, path in archives.items() if p.path is None]
        self._downloader.fetch_all(wanted, title=f"Downloading {len(wanted)} packages")
        return archives

    def _base(self, segments: Segments, manifest: Manifest, layers: tuple[Path, ...]) -> Base:
        """The base image with its file system as one segment."""
        with self._progress.step(f"Base image {manifest.reference.short}"):
            path, _ = segments.get(("base", str(manifest.digest)), lambda: rootfs.entries(layers))
        return Base(manifest, layers, path)

    def _link(
        self, linker: Linker, packages: Sequence[LockedPackage], ledger: Ledger
    ) -> tuple[tuple[Part, ...], list[LinkScript]]:
        """Every package as one segment, in the order in which they are linked; their scripts to be run."""
        parts: list[Part] = []
        scripts: list[LinkScript] = []
        with self._progress.step("Linking packages", len(packages)) as task:
            for package in packages:
                path, index = linker.link(package)
                paths = tuple(decode_path(p) for p in index.paths)
                parts.append(Part(package, path, paths))
                scripts += [LinkScript(package, path) for path in linker.link_scripts(package, paths)]
                task.advance()
        if self._link_scripts != "run":
            self._not_run(scripts, ledger)
            scripts = []
        if linker.layout is not None and not linker.can_compile:
            ledger.add(
                Action.DROPPED,
                "bytecode",
                f"python for {linker.platform} does not run on this machine, so packages that ship no "
                "bytecode have none in the image: importing them is slower",
                remedy=f"Build on a machine of the platform {linker.platform}.",
            )
        return tuple(parts), scripts

    def _run(
        self,
        scripts: Sequence[LinkScript],
        recipe: Recipe,
        base: Base | None,
        parts: Sequence[Part],
        archives: Mapping[LockedPackage, Path],
        segments: Segments,
        folder: Path,
        ledger: Ledger,
    ) -> Made | None:
        """What link scripts make, if there are any; they need a base to run on, whatever the image has."""
        if not scripts:
            return None
        ground = base or self._base(segments, *self._pull(recipe))
        conda = [part.segment for part in parts if part.package.manager == "conda"]
        running = LinkScripts(
            scripts, [ground.segment, *conda], archives, recipe, segments,
            self._writer.options, folder, self._progress,
        )  # fmt: skip
        return running.made(ledger)

    def _files(self, segments: Segments, recipe: Recipe) -> tuple[Path, ...]:
        """What the project adds, each as one segment."""
        found = []
        for copied in recipe.settings.files:
            key = ("project", copied.destination, str(copied.digest))
            entries = partial(project_files.entries, self._project, copied)
            found.append(segments.get(key, entries)[0])
        return tuple(found)

    def _not_run(self, scripts: Sequence[LinkScript], ledger: Ledger) -> None:
        """Packages' link scripts (owner, path): refused, or reported."""
        if scripts and self._link_scripts == "refuse":
            raise EngineError(
                "packages have link scripts, and the native engine runs no package's scripts unasked",
                problems=[Problem(f"{script.owner}: {script.path}") for script in scripts],
                hint="Build with --link-scripts: they run in a namespace of their own, without a network. "
                "Or with --engine docker or --engine apptainer, which run them, or with --skip-link-scripts: "
                "what they would have made is then missing from the image.",
            )
        for script in scripts:
            ledger.add(
                Action.DROPPED,
                script.owner,
                f"its link script {script.path} was not run, as asked for with --skip-link-scripts",
                remedy="See what it does; what it would have made is missing from the image.",
            )


def refuse_commands(recipe: Recipe) -> None:
    """Raise :class:`EngineError` for what only programs in the image can do, and these are not run here."""
    problems = []
    if recipe.settings.apt:
        problems.append(Problem(f"apt packages: {' '.join(recipe.settings.apt)}"))
    if recipe.settings.post:
        problems.append(Problem(f"post commands: {len(recipe.settings.post)}"))
    if recipe.system_python is not None:
        problems.append(Problem(f"python {recipe.system_python} of the distribution, which apt installs"))
    if problems:
        raise EngineError(
            "the native engine runs no program of the image, and this image needs that",
            problems=problems,
            hint="Build with --engine docker or --engine apptainer.",
        )


def _variables(recipe: Recipe, base: Base | None) -> dict[str, str]:
    """What every program in a container sees, without what packages' scripts set."""
    known = {} if base is None else base_variables(base.manifest.config)
    path = f"{recipe.prefix}/bin:{known.get('PATH') or activation.DEFAULT_PATH}"
    return {**known, "PATH": path, **activation.variables(recipe)}


def _imports(
    lock: Lockfile, recipe: Recipe, parts: Sequence[Part], site_packages: str | None
) -> tuple[str, ...]:
    """The modules that the image's test imports."""
    if lock.pins is None or site_packages is None:
        return ()
    tokens = {f"{part.package.manager}:{part.package.name}": part for part in parts}
    packages = {token: part.package for token, part in tokens.items()}
    modules = {token: top_level_modules(part.paths, site_packages) for token, part in tokens.items()}
    return requested_modules(lock.pins.platforms[recipe.platform.subdir].requested, packages, modules)
