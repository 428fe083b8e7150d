"""The wheels that a lock carries along: ``lockfiles/wheels/NAME/``, one folder a lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from envpack import atomic
from envpack.errors import IntegrityError, Problem
from envpack.ledger import Action, Ledger
from envpack.lockfile import CarriedWheel, LockedPackage, Lockfile
from envpack.pipeline.project import wheels_folder

if TYPE_CHECKING:
    from envpack.locking import BuiltWheel, Solution


def place(name: str) -> Path:
    """Where the wheels of the lock ``name`` are, relative to the project."""
    return wheels_folder(Path(), name)


def pins(directory: Path, name: str, solution: Solution) -> dict[str, tuple[CarriedWheel, ...]]:
    """What the lock ``name`` says of the wheels of ``solution``, by platform."""
    return {
        platform: tuple(
            CarriedWheel(
                wheel.name,
                wheel.version,
                (place(name) / wheel.file.name).as_posix(),
                wheel.sha256,
                wheel.requires_python,
                wheel.asked,
                _below(directory, wheel.source),
            )
            for wheel in sorted(wheels, key=lambda wheel: wheel.name)
        )
        for platform, wheels in solution.carried.items()
    }


def write(directory: Path, name: str, wheels: Mapping[str, Iterable[BuiltWheel]]) -> None:
    """Put ``wheels`` into the project, and take away those that the lock ``name`` had before.

    Raises :class:`OutputError`.
    """
    folder = wheels_folder(directory, name)
    files = {wheel.file.name: wheel.file for of_platform in wheels.values() for wheel in of_platform}
    for filename, file in files.items():
        atomic.write(folder / filename, file.read_bytes())
    try:
        if not folder.is_dir():
            return
        for path in sorted(folder.glob("*.whl")):
            if path.name not in files:
                path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        raise atomic.cannot_write(folder, error) from error


def unusable(path: Path, name: str) -> str | None:
    """Why the wheel at ``path``, of the package ``name``, cannot get into an image; ``None`` if it can."""
    from envpack.content import wheel

    try:
        wheel.open(path, LockedPackage(name, "", "pip", "", "", "", path=path.name))
    except IntegrityError as error:
        return error.why
    return None


def problems(directory: Path, lock: Lockfile, *, sources: bool = True) -> list[Problem]:
    """What of the wheels that ``lock`` carries, and with ``sources`` of their source, is not as it was."""
    from envpack.content import carried_wheels

    found = carried_wheels.problems(directory, lock.packages)
    if sources and not found and lock.pins is not None:
        wheels = {wheel for pin in lock.pins.platforms.values() for wheel in pin.wheels}
        found = carried_wheels.outdated(directory, sorted(wheels, key=lambda wheel: wheel.path))
    return found


def say_outdated(directory: Path, lock: Lockfile, ledger: Ledger) -> None:
    """Say in ``ledger`` what was changed since its wheel was built: images get the wheel."""
    if not problems(directory, lock, sources=False):
        for problem in problems(directory, lock):
            remedy = "Run `envpack lock` to build it anew."
            ledger.add(Action.NEEDS_YOU, "a wheel is older than its source", problem.what, remedy=remedy)


def _below(directory: Path, source: Path | None) -> str | None:
    """``source`` relative to the project's folder; ``None`` where it is not below that."""
    if source is None:
        return None
    try:
        return source.resolve().relative_to(directory.resolve()).as_posix()
    except ValueError:
        return None
