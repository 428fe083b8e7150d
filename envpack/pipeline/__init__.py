"""The public Python API: one function a command.

    from envpack import config, pipeline

    locked = pipeline.lock("environment.yml", directory=Path("."), config=config.load())
    built = pipeline.build(locked.name, directory=Path("."), config=config.load())

The functions read clocks and settings, so that nothing below has to; they print nothing.
"""

from envpack.pipeline.build import Built, build
from envpack.pipeline.build_platforms import BuiltPlatforms, build_platforms
from envpack.pipeline.lock import Checked, Locked, LockedPlatform, RequestedPackage, check, lock
from envpack.pipeline.project import image_path, lock_path, recipe_folder
from envpack.pipeline.recipe import Written, recipe
from envpack.run import parse_bind, run

__all__ = [
    "Built",
    "BuiltPlatforms",
    "Checked",
    "Locked",
    "LockedPlatform",
    "RequestedPackage",
    "Written",
    "build",
    "build_platforms",
    "check",
    "image_path",
    "lock",
    "lock_path",
    "parse_bind",
    "recipe",
    "recipe_folder",
    "run",
]
