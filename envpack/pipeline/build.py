"""``envpack build``: lock -> recipe -> engine -> image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envpack import atomic, lockfile
from envpack.cache import Cache
from envpack.config import Config
from envpack.engines import Engine, Image
from envpack.errors import UsageError
from envpack.ledger import Ledger
from envpack.lockfile import Lockfile
from envpack.pipeline import carried, tools
from envpack.pipeline.project import find_lock, recipe_folder
from envpack.pipeline.recipe import recipe_of, write_files
from envpack.pipeline.settings import check_settings
from envpack.pipeline.target import Compression, EngineName, Format, Target, target
from envpack.progress import Progress, Quiet
from envpack.recipe import Recipe

if TYPE_CHECKING:
    from envpack.engines.native.oci_image import OciIndex

LinkScripts = Literal["refuse", "skip", "run"]


@dataclass(frozen=True, slots=True)
class Built:
    """What :func:`build` made."""

    name: str
    platform: str
    format: Format
    image: Image
    recipes: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``; sizes in bytes."""
        contents = self.image.contents
        return {
            "name": self.name,
            "platform": self.platform,
            "format": self.format,
            "image": _text(self.image.path),
            "size": self.image.size,
            "sha256": self.image.sha256,
            "files": contents.files if contents else None,
            "directories": contents.directories if contents else None,
            "content": contents.size if contents else None,
            "tag": _text(self.image.reference),
            "manifest": _text(self.image.manifest),
            "daemon_id": _text(self.image.daemon_id),
            "recipes": [str(path) for path in self.recipes],
        }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def build(
    name: str | None = None,
    *,
    directory: Path,
    config: Config,
    platform: str | None = None,
    engine: EngineName = "native",
    format: Format | None = None,
    tag: str | None = None,
    push: bool = False,
    compression: Compression | None = None,
    level: int | None = None,
    output: Path | None = None,
    labels: Mapping[str, str] | None = None,
    link_scripts: bool = False,
    skip_link_scripts: bool = False,
    epoch: int | None = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    into: OciIndex | None = None,
) -> Built:
    """Build the image of a lock, and write its recipes, which are what Docker and Apptainer build from.

    ``name`` is an environment's name or a lock's path; ``epoch`` (seconds since 1970) replaces the lock's
    date in the image; ``labels`` are added to those of the project. ``engine``, ``format``, ``tag``,
    ``compression``, ``level`` and ``output`` are explained at :func:`envpack.pipeline.target.target`;
    ``push`` sends Docker's image to its registry. Packages' link scripts, which the native engine refuses
    else, are run in a namespace of their own with ``link_scripts`` and left out with ``skip_link_scripts``.
    ``into`` collects OCI images of several platforms, see :func:`envpack.pipeline.build_platforms`.

    Raises :class:`LockError` when the lock is absent, not of ``envpack lock``, or not what the project says
    by now; :class:`EngineError` for what the engine cannot do, or did not; :class:`NetworkError`,
    :class:`IntegrityError`, :class:`OutputError`, :class:`BaseImageError` and :class:`UsageError` as the
    names say.
    """
    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    if link_scripts and skip_link_scripts:
        raise UsageError("link scripts are either run or skipped", hint="Leave one of the options out.")
    scripts: LinkScripts = "run" if link_scripts else "skip" if skip_link_scripts else "refuse"
    path = find_lock(directory, name)
    lock = lockfile.read(path)
    recipe = recipe_of(lock, path, platform, epoch, config, labels)
    if format == "sqfs" and labels:
        raise UsageError("a squashfs file has no labels", hint="Leave --label out, or build another format.")
    several = recipe.platform.subdir if len(lock.platforms) > 1 and into is None else None
    wanted = target(
        recipe.name, several, directory=directory, engine=engine, format=format, tag=tag, push=push,
        compression=compression, level=level, output=output,
    )  # fmt: skip
    folder = recipe_folder(directory, recipe.name)
    if wanted.format != "sandbox" and wanted.output is not None:
        atomic.check(wanted.output)
    atomic.check(folder / "Dockerfile")
    check_settings(directory, recipe, ledger)
    carried.say_outdated(directory, lock, ledger)
    if engine == "native":
        image = _native(wanted, lock, recipe, directory, config, scripts, progress, ledger, into)
        files = write_files(folder, image.recipe, lock, directory)
    else:
        files = write_files(folder, recipe, lock, directory)
        image = _from_recipe(wanted, folder, config, progress).build(lock, recipe, wanted.output, ledger)
    return Built(recipe.name, recipe.platform.subdir, wanted.format, image, files)


def _native(
    wanted: Target,
    lock: Lockfile,
    recipe: Recipe,
    directory: Path,
    config: Config,
    link_scripts: LinkScripts,
    progress: Progress,
    ledger: Ledger,
    into: OciIndex | None,
) -> Image:
    from envpack.bases.registry import Registry
    from envpack.download import Downloader
    from envpack.engines.native import NativeEngine

    writer = wanted.writer() if into is None else into
    if lock.pins is not None:
        tools.check(lock.pins.tools, writer.compressor, ledger)
    cache = Cache(config.cache)
    cache.prepare()
    # The folder says from now on that the cache is in use.
    with cache.temporary(), Downloader(config, progress) as downloader:
        registry = Registry(config, downloader, cache)
        engine = NativeEngine(
            cache, downloader, registry, progress, writer,
            project=directory, link_scripts=link_scripts,
        )  # fmt: skip
        if wanted.format != "sandbox" or wanted.output is None:
            return engine.build(lock, recipe, wanted.output, ledger)
        from envpack.engines import apptainer

        apptainer.check_sandbox(wanted.output)
        made = wanted.output.with_name(f"{wanted.output.name.removesuffix('.sandbox')}.sif")
        image = engine.build(lock, recipe, made, ledger)
        return apptainer.unpack(made, image.recipe, wanted.output, progress)


def _from_recipe(wanted: Target, folder: Path, config: Config, progress: Progress) -> Engine:
    """An engine that builds from the recipe in ``folder``."""
    if wanted.engine == "apptainer":
        from envpack.engines.apptainer import ApptainerEngine

        return ApptainerEngine(folder, progress, sandbox=wanted.format == "sandbox")
    from envpack.engines.docker import DockerEngine

    assert wanted.reference is not None
    assert wanted.format != "sandbox"
    assert wanted.format != "sqfs"
    cache = Cache(config.cache)
    cache.prepare()
    return DockerEngine(
        folder, progress, format=wanted.format, reference=wanted.reference, push=wanted.push,
        network=config.docker_network, cache=cache,
    )  # fmt: skip
