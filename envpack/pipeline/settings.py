"""The project's own settings (``envpack.toml``), read and checked for an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envpack.errors import Location, LockError, Problem, SourceError
from envpack.image import parse_reference
from envpack.image_settings import ImageSettings
from envpack.ledger import Ledger
from envpack.lockfile import BuildPins
from envpack.recipe import Recipe

if TYPE_CHECKING:
    from envpack.sources.envpack_toml import ProjectSettings

AGAIN = "Run `envpack lock --keep` to record it; packages and base image stay as they are locked."


def read_settings(directory: Path, prefix: str, ledger: Ledger) -> ProjectSettings:
    """What the project in ``directory`` says about images with the environment in ``prefix``.

    Raises :class:`SourceError` with everything that no image can have.
    """
    from envpack.content import project_files
    from envpack.recipes.validation import settings_problems
    from envpack.sources import envpack_toml

    settings = envpack_toml.read(directory, project_files.digest, ledger)
    if problems := tuple(settings_problems(settings.image, prefix)):
        raise SourceError(
            f"{settings.file} says something that cannot be",
            where=Location(settings.file or ""),
            problems=problems,
            hint="Change these settings, then run the same command again.",
        )
    return settings


def differences(settings: ProjectSettings, locked: ImageSettings) -> list[Problem]:
    """What the project says of its image and the lock does not record."""
    where = Location(settings.file) if settings.file else None
    now = settings.image
    found = []
    for name in ImageSettings.__dataclass_fields__:
        if getattr(now, name) != getattr(locked, name):
            called = "environment" if name == "variables" else name
            found.append(Problem(f"{called} is not what the lock records", where))
    return found


def base_difference(settings: ProjectSettings, pins: BuildPins) -> list[Problem]:
    """Whether the lock has another base image than the project wants, which `--base` may have decided."""
    if settings.base is None:
        return []
    wanted = parse_reference(settings.base)
    if all(pin.base.reference == wanted for pin in pins.platforms.values()):
        return []
    return [Problem(f"base is {settings.base}, and the lock has another", Location(settings.file or ""))]


def check_settings(directory: Path, recipe: Recipe, ledger: Ledger) -> None:
    """Raise :class:`LockError` where the project says something else than the lock, which is what counts.

    A lock alone, without an ``envpack.toml``, is built as it is. Files that it names are compared.
    """
    from envpack.content import project_files

    settings = read_settings(directory, recipe.prefix, ledger)
    if settings.file is None:
        project_files.check(directory, recipe.settings.files)
    elif problems := differences(settings, recipe.settings):  # their files are among them
        raise LockError(
            f"{settings.file} has changed since the lock was written", problems=problems, hint=AGAIN
        )
