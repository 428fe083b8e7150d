"""The native engine: archives are linked in memory and written as one file.

It needs no daemon, no root and no container runtime, and starts no program but the environment's own python
to compile bytecode. Per package it keeps one archive and one segment (:mod:`envpack.formats.squashfs`) in the
cache; all formats of images are made from the segments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.content import project_files
from envpack.download import Downloader
from envpack.engines import Image
from envpack.engines.native.activated import evaluated, scripts_folder
from envpack.engines.native.gathering import Gathered, Gathering
from envpack.engines.native.imports import requested_modules, top_level_modules
from envpack.engines.native.linked import Base, ImageWriter, Linked, Part, Workspace
from envpack.engines.native.linking import LinkScript, compiling_python
from envpack.engines.native.order import link_order
from envpack.engines.native.segments import Segments
from envpack.errors import EngineError, IntegrityError, Problem
from envpack.formats.oci.configuration import base_variables
from envpack.formats.squashfs.index import Segment
from envpack.ledger import Action, Ledger
from envpack.lockfile import Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def

if TYPE_CHECKING:
    from envpack.engines.native.link_scripts import Made


# How often an image is begun, where the cache turns out to be damaged.
_ATTEMPTS = 3


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
        self._progress = progress
        self._writer = writer
        self._workers = workers or len(os.sched_getaffinity(0))
        self._gathering = Gathering(cache, downloader, registry, progress, project, self._workers)

    def build(self, lock: Lockfile, recipe: Recipe, output: Path | None, ledger: Ledger) -> Image:
        """See :class:`~envpack.engines.Engine`; ``output`` is a must. Raises the errors of its parts."""
        assert output is not None
        refuse_commands(recipe)
        with (
            ThreadPoolExecutor(self._workers, thread_name_prefix="compress") as pool,
            self._cache.temporary() as folder,
        ):
            attempts = 0
            while True:
                attempts += 1
                segments = Segments(self._cache, folder, self._writer.options, pool)
                workspace = Workspace(self._cache, folder, pool, segments, self._progress)
                found = Ledger()
                try:
                    image = self._build(lock, recipe, output, workspace, found)
                except IntegrityError:
                    damaged = segments.discard_damaged()
                    if not damaged or attempts == _ATTEMPTS:
                        raise
                    self._progress.note(f"{len(damaged)} damaged files of the cache are made again")
                else:
                    ledger.extend(found)
                    return image

    def _build(
        self, lock: Lockfile, recipe: Recipe, output: Path, workspace: Workspace, ledger: Ledger
    ) -> Image:
        """:meth:`build`, from segments as they are in the cache."""
        packages = link_order(lock.for_platform(recipe.platform.subdir))
        segments = workspace.segments
        gathered = self._gathering.gather(
            packages,
            compiling_python(lock, recipe.platform),
            recipe,
            segments,
            workspace.folder,
            on_base=self._writer.on_base,
        )
        base, parts, linker = gathered.base, gathered.parts, gathered.linker
        scripts = self._scripts(gathered, ledger)
        made = self._run(scripts, recipe, gathered, segments, workspace.folder, ledger)
        if made is not None:
            recipe = replace(recipe, labels={**recipe.labels, **made.labels})
        modules = _imports(lock, recipe, parts, linker.site_packages)
        variables = _variables(recipe, base)
        folder = scripts_folder(recipe)
        paths = chain(*(part.segment.below(folder) for part in parts), made.paths if made else ())
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
        return self._writer.write(linked, workspace, output, ledger)

    def _scripts(self, gathered: Gathered, ledger: Ledger) -> Sequence[LinkScript]:
        """The link scripts that are to be run; what is left out of the image is reported."""
        linker = gathered.linker
        scripts = [
            script for part in gathered.parts for script in linker.link_scripts(part.package, part.segment)
        ]
        if self._link_scripts != "run":
            self._not_run(scripts, ledger)
            scripts = []
        if linker.layout is not None and not linker.can_compile:
            ledger.add(
                Action.DROPPED,
                "bytecode",
                f"python for {linker.platform} does not run on this machine, and the lock has none of its "
                "version that does, so packages that ship no bytecode have none in the image: importing them "
                "is slower",
                remedy=f"Build on a machine of the platform {linker.platform}, or lock for this one too.",
            )
        return scripts

    def _run(
        self,
        scripts: Sequence[LinkScript],
        recipe: Recipe,
        gathered: Gathered,
        segments: Segments,
        folder: Path,
        ledger: Ledger,
    ) -> Made | None:
        """What link scripts make, if there are any; they need a base to run on, whatever the image has."""
        if not scripts:
            return None
        from envpack.engines.native.link_scripts import LinkScripts

        ground = gathered.base or self._gathering.base(recipe, segments)
        conda = [part.segment for part in gathered.parts if part.package.manager == "conda"]
        running = LinkScripts(
            scripts, [ground.segment, *conda], gathered.archives, recipe, segments,
            self._writer.options, folder, self._progress,
        )  # fmt: skip
        return running.made(ledger)

    def _files(self, segments: Segments, recipe: Recipe) -> tuple[Segment, ...]:
        """What the project adds, each as one segment."""
        found = []
        for copied in recipe.settings.files:
            key = ("project", copied.destination, str(copied.digest))
            entries = partial(project_files.entries, self._project, copied)
            found.append(Segment.open(segments.get(key, entries)))
        return tuple(found)

    def _not_run(self, scripts: Sequence[LinkScript], ledger: Ledger) -> None:
        """Link scripts that are not run: refused, or reported."""
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

    def modules(token: str) -> frozenset[str]:
        part = tokens.get(token)
        return top_level_modules(part.segment.below(site_packages) if part else (), site_packages)

    return requested_modules(lock.pins.platforms[recipe.platform.subdir].requested, packages, modules)
