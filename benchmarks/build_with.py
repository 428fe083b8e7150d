"""Builds a SIF image with options that no command line has: ``PROJECT OUTPUT NAME LEVEL BLOCK``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, cast

from envpack import config, lockfile
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.download import Downloader
from envpack.engines.native import NativeEngine
from envpack.engines.native.sif_image import SifImage
from envpack.formats.squashfs.options import Options
from envpack.ledger import Ledger
from envpack.pipeline.project import find_lock
from envpack.pipeline.recipe import recipe_of
from envpack.progress import Quiet


def main(project: str, output: str, name: str, level: str, block: str) -> None:
    options = Options(cast(Literal["zstd", "gzip"], name), int(level), int(block))
    settings, directory = config.load(), Path(project)
    path = find_lock(directory, None)
    lock = lockfile.read(path)
    recipe = recipe_of(lock, path, None, None, settings, None)
    cache = Cache(settings.cache)
    cache.prepare()
    with Downloader(settings, Quiet()) as downloader:
        registry = Registry(settings, downloader, cache)
        engine = NativeEngine(cache, downloader, registry, Quiet(), SifImage(options), project=directory)
        engine.build(lock, recipe, Path(output), Ledger())


if __name__ == "__main__":
    main(*sys.argv[1:])
