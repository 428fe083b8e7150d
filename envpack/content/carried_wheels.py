"""Wheels that are files of the project: seen to be what was locked, and taken from there.

Nothing but the locked bytes gets anywhere: a file is hashed while it is read, and has its final name only
when the hash is right.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from envpack import atomic
from envpack.errors import LockError, Problem
from envpack.lockfile import LockedPackage

_HINT = "Restore the file, for instance from version control, or run `envpack lock` to build it anew."


def problems(root: Path, packages: Iterable[LockedPackage]) -> list[Problem]:
    """What is wrong with the files of those ``packages`` that are in the project's folder ``root``."""
    found = []
    for package in packages:
        if package.path is None:
            continue
        try:
            data = _read(root, package.path)
        except OSError as error:
            found.append(Problem(f"cannot read {package.path}", why=error.strerror or str(error)))
            continue
        if data is None:
            found.append(Problem(f"there is no {package.path}"))
        elif hashlib.sha256(data).hexdigest() != package.sha256:
            found.append(Problem(f"{package.path} was changed since it was locked"))
    return found


def take(root: Path, packages: Iterable[LockedPackage], files: Iterable[Path]) -> None:
    """Make each of ``files`` the wheel of the package that it belongs to, in this order.

    Raises :class:`LockError` naming every wheel that is not there as it was locked, and :class:`OutputError`.
    """
    pairs = [(package, path) for package, path in zip(packages, files, strict=True) if package.path]
    wrong = problems(root, [package for package, _ in pairs])
    for package, path in pairs if not wrong else ():
        assert package.path is not None
        data = _read(root, package.path) or b""
        if hashlib.sha256(data).hexdigest() != package.sha256:  # only now
            wrong.append(Problem(f"{package.path} was changed while it was read"))
        else:
            atomic.write(path, data)
    if wrong:
        raise LockError("the lock carries wheels that are not there as they were", problems=wrong, hint=_HINT)


def copy(root: Path, packages: Iterable[LockedPackage], folder: Path) -> bool:
    """Make ``folder`` hold the wheels of ``packages`` and nothing else; without any there is no such folder.

    Gives whether there is. Raises as :func:`take`.
    """
    carried = [package for package in packages if package.path is not None]
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
    except OSError as error:
        raise atomic.cannot_write(folder, error) from error
    files = [folder / package.filename for package in carried]
    take(root, carried, files)
    for path in files:
        path.chmod(0o644)  # whatever the umask: other users install them, too
    return bool(carried)


def _read(root: Path, path: str) -> bytes | None:
    """The file ``path`` below ``root``; ``None`` where there is none, or it is a link out of ``root``."""
    real = (root / path).resolve()
    if not real.is_relative_to(root.resolve()) or not real.is_file():
        return None
    return real.read_bytes()
