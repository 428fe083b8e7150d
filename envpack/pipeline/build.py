"""``envpack build``: lock -> recipe -> engine -> image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from envpack import atomic, lockfile
from envpack.cache import Cache
from envpack.config import Config
from envpack.engines import Image
from envpack.errors import LockError, UsageError
from envpack.image import Digest
from envpack.ledger import Ledger
from envpack.lockfile import BuildPins, Lockfile
from envpack.pipeline.project import find_lock, image_path, recipe_folder
from envpack.platforms import get as get_platform
from envpack.progress import Progress, Quiet
from envpack.recipe import Recipe

_LEVELS = {"zstd": 3, "gzip": 6}


@dataclass(frozen=True, slots=True)
class Built:
    """What :func:`build` made."""

    name: str
    platform: str
    image: Image
    recipes: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``; sizes in bytes."""
        return {
            "name": self.name,
            "platform": self.platform,
            "image": str(self.image.path),
            "size": self.image.size,
            "sha256": self.image.sha256,
            "files": self.image.files,
            "directories": self.image.directories,
            "content": self.image.content,
            "recipes": [str(path) for path in self.recipes],
        }


def build(
    name: str | None = None,
    *,
    directory: Path,
    config: Config,
    platform: str | None = None,
    compression: Literal["zstd", "gzip"] = "zstd",
    level: int | None = None,
    output: Path | None = None,
    epoch: int | None = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
) -> Built:
    """Build the image of a lock with the native engine, and write its recipes.

    ``name`` is an environment's name or a lock's path; ``epoch`` (seconds since 1970) replaces the lock's
    date in the image. Raises :class:`LockError` when the lock is absent or not of ``envpack lock``,
    :class:`NetworkError`, :class:`IntegrityError`, :class:`OutputError` and :class:`BaseImageError` as the
    names say.
    """
    from envpack.bases.registry import Registry
    from envpack.download import Downloader
    from envpack.engines.native import NativeEngine
    from envpack.formats.squashfs.options import Options

    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    path = find_lock(directory, name)
    lock = lockfile.read(path)
    recipe = recipe_of(lock, path, platform, epoch)
    several = recipe.platform.subdir if len(lock.platforms) > 1 else None
    output = output or image_path(directory, recipe.name, several)
    options = Options(compression, _LEVELS[compression] if level is None else level)
    cache = Cache(config.cache)
    with Downloader(config, progress) as downloader:
        registry = Registry(config, downloader, cache)
        engine = NativeEngine(cache, downloader, registry, progress, options)
        image = engine.build(lock, recipe, output, ledger)
    folder = recipe_folder(directory, recipe.name)
    return Built(recipe.name, recipe.platform.subdir, image, _write_recipes(folder, image.recipe, lock))


def recipe_of(lock: Lockfile, path: Path, subdir: str | None, epoch: int | None) -> Recipe:
    """The recipe of the image of one platform of the lock at ``path``; raises :class:`LockError`."""
    from envpack.recipes.labels import labels

    pins = lock.pins
    if pins is None:
        raise LockError(
            f"{path} does not say what to build it on",
            why="it was written by another tool: base image, prefix and date are not recorded in it",
            hint="Run `envpack lock` on the environment file it was made from.",
        )
    subdir = _platform(lock, path, subdir)
    versions = {f"{p.manager}:{p.name}": p.version for p in lock.for_platform(subdir)}
    recipe = Recipe(
        name=pins.name,
        platform=get_platform(subdir),
        base=pins.platforms[subdir].base,
        prefix=pins.prefix,
        epoch=pins.epoch if epoch is None else epoch,
        variables=pins.variables,
        packages=_requested(pins, subdir, versions),
    )
    digest = Digest(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    return replace(recipe, labels=labels(recipe, digest))


def _requested(pins: BuildPins, subdir: str, versions: dict[str, str]) -> tuple[tuple[str, str], ...]:
    tokens = (token for token in pins.platforms[subdir].requested if token in versions)
    return tuple((token.partition(":")[2], versions[token]) for token in tokens)


def _platform(lock: Lockfile, path: Path, subdir: str | None) -> str:
    """The platform to build: the one asked for, the only one, or this machine's."""
    if subdir is not None and subdir not in lock.platforms:
        raise UsageError(
            f"{path} has no packages for {subdir}",
            why=f"it was made for {', '.join(lock.platforms)}",
            hint=f"Lock again with --platform {subdir}.",
        )
    if subdir is None and len(lock.platforms) > 1:
        subdir = next((p for p in lock.platforms if get_platform(p).is_host), None)
        if subdir is None:
            raise UsageError(
                f"{path} has several platforms and none is this machine's",
                hint=f"Say which one: --platform {lock.platforms[0]}.",
            )
    return subdir or lock.platforms[0]


def _write_recipes(folder: Path, recipe: Recipe, lock: Lockfile) -> tuple[Path, ...]:
    from envpack.recipes import apptainer_def, dockerfile

    texts = {
        "Apptainer.def": apptainer_def.render(recipe, lock.for_platform(recipe.platform.subdir)),
        "Dockerfile": dockerfile.render(recipe),
    }
    for filename, text in texts.items():
        atomic.write(folder / filename, text.encode())
    return tuple(folder / filename for filename in texts)
