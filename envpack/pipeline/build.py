"""``envpack build``: lock -> recipe -> engine -> image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envpack import atomic, lockfile
from envpack.cache import Cache
from envpack.config import Config
from envpack.engines import Image
from envpack.ledger import Ledger
from envpack.pipeline.image_format import SUFFIXES, Compression, Format, writer
from envpack.pipeline.project import find_lock, image_path, recipe_folder
from envpack.pipeline.recipe import recipe_of, write_files
from envpack.progress import Progress, Quiet


@dataclass(frozen=True, slots=True)
class Built:
    """What :func:`build` made."""

    name: str
    platform: str
    image: Image
    recipes: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``; sizes in bytes."""
        contents = self.image.contents
        return {
            "name": self.name,
            "platform": self.platform,
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
    format: Format = "sif",
    tag: str | None = None,
    compression: Compression | None = None,
    level: int | None = None,
    output: Path | None = None,
    epoch: int | None = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
) -> Built:
    """Build the image of a lock with the native engine, and write its recipes.

    ``name`` is an environment's name or a lock's path; ``epoch`` (seconds since 1970) replaces the lock's
    date in the image; ``tag``, ``compression`` and ``level`` are explained at
    :func:`envpack.pipeline.image_format.writer`. Raises :class:`LockError` when the lock is absent or not of
    ``envpack lock``, :class:`NetworkError`, :class:`IntegrityError`, :class:`OutputError` and
    :class:`BaseImageError` as the names say.
    """
    from envpack.bases.registry import Registry
    from envpack.download import Downloader
    from envpack.engines.native import NativeEngine

    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    path = find_lock(directory, name)
    lock = lockfile.read(path)
    recipe = recipe_of(lock, path, platform, epoch, config)
    several = recipe.platform.subdir if len(lock.platforms) > 1 else None
    output = output or image_path(directory, recipe.name, several, SUFFIXES[format])
    image_writer = writer(format, compression, level, tag, recipe.name)
    atomic.check(output)
    atomic.check(recipe_folder(directory, recipe.name) / "Dockerfile")
    cache = Cache(config.cache)
    cache.prepare()
    with Downloader(config, progress) as downloader:
        registry = Registry(config, downloader, cache)
        engine = NativeEngine(cache, downloader, registry, progress, image_writer)
        image = engine.build(lock, recipe, output, ledger)
    files = write_files(recipe_folder(directory, recipe.name), image.recipe, lock)
    return Built(recipe.name, recipe.platform.subdir, image, files)
