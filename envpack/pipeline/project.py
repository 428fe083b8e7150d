"""Where a project keeps what envpack writes.

environment.yml
lockfiles/NAME.conda-lock.yml
lockfiles/wheels/NAME/           wheels that no index has
recipes/NAME/                    Apptainer.def, Dockerfile, and what these two read
images/NAME.sif                  or NAME.oci.tar, for Docker and others
"""

from __future__ import annotations

from pathlib import Path

from envpack.errors import LockError, Problem

_SUFFIX = ".conda-lock.yml"


def lock_path(directory: Path, name: str) -> Path:
    """The lock of the environment ``name``."""
    return directory / "lockfiles" / f"{name}{_SUFFIX}"


def wheels_folder(directory: Path, name: str) -> Path:
    """The folder of the wheels that the lock ``name`` carries along."""
    return directory / "lockfiles" / "wheels" / name


def recipe_folder(directory: Path, name: str) -> Path:
    """The folder of the recipes of ``name``."""
    return directory / "recipes" / name


def image_path(directory: Path, name: str, platform: str | None = None, suffix: str = ".sif") -> Path:
    """The image of ``name``; ``platform`` is part of its name where a lock has several."""
    return directory / "images" / (f"{name}-{platform}{suffix}" if platform else f"{name}{suffix}")


def find_lock(directory: Path, name: str | None) -> Path:
    """The lock that ``name`` (an environment's name or a path) means; the only one there is for ``None``.

    Raises :class:`LockError` when there is none or more than one.
    """
    found = sorted((directory / "lockfiles").glob(f"*{_SUFFIX}"))
    if name is not None:
        if name.endswith((".yml", ".yaml")) or "/" in name:
            return directory / name
        path = lock_path(directory, name)
        if found and path not in found:
            raise LockError(
                f"there is no lock {path}",
                problems=[Problem(f"there is one of {_name(other)}") for other in found],
                hint="Name one of these, or run `envpack lock`.",
            )
        return path
    if not found:
        raise LockError(
            f"there is no lock in {directory / 'lockfiles'}", hint="Run `envpack lock` in this folder first."
        )
    if len(found) > 1:
        raise LockError(
            f"{directory / 'lockfiles'} holds {len(found)} locks",
            problems=[Problem(_name(path)) for path in found],
            hint="Say which one: envpack build NAME.",
        )
    return found[0]


def _name(path: Path) -> str:
    return path.name.removesuffix(_SUFFIX)
