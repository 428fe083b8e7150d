"""Wheels that are files of the project: seen to be what was locked, and taken from there.

Nothing but the locked bytes gets anywhere: a file is hashed while it is read, and has its final name only
when the hash is right.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

from envpack import atomic
from envpack.content.damaged import reading
from envpack.errors import LockError, Problem
from envpack.lockfile import CarriedWheel, LockedPackage

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


def outdated(root: Path, wheels: Iterable[CarriedWheel]) -> list[Problem]:
    """Those ``wheels`` that are not what their source in the project would give any more, as far as that can
    be seen without building: by the files in them, and what ``pyproject.toml`` says they need.
    """
    found = []
    for wheel in wheels:
        if wheel.source is not None and (changed := _changed(root / wheel.source, root / wheel.path)):
            where = os.path.normpath(f"{wheel.source}/{changed}")
            found.append(Problem(f"{where} has changed since {wheel.path} was built"))
    return found


def _changed(source: Path, wheel: Path) -> str | None:
    """The first path below ``source`` that the ``wheel`` was not built from as it is now."""
    from email.parser import HeaderParser

    with reading(wheel), ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        content = {
            n: archive.read(n) for n in names if not n.partition("/")[0].endswith((".dist-info", ".data"))
        }
        about = next((n for n in names if n.endswith(".dist-info/METADATA")), None)
        metadata = HeaderParser().parsestr(archive.read(about).decode("utf-8", "replace") if about else "")
    tops = [top for top in ("src", "") if (source / top).is_dir()]
    try:
        for name, data in content.items():
            path = next(
                (f"{top}/{name}".lstrip("/") for top in tops if (source / top / name).is_file()), None
            )
            if path is not None and (source / path).read_bytes() != data:
                return path
        for folder in sorted({name.rpartition("/")[0] for name in content if name.endswith(".py")} - {""}):
            for top in tops:
                for new in sorted((source / top / folder).glob("*.py")):
                    if f"{folder}/{new.name}" not in content:
                        return new.relative_to(source).as_posix()
        says = source / "pyproject.toml"
        project = tomllib.loads(says.read_text("utf-8")).get("project", {}) if says.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return None  # what cannot be read now, the next `envpack lock` will name
    if not isinstance(project, dict) or not isinstance(project.get("dependencies", []), list):
        return None
    now = {_canonical(text) for text in project.get("dependencies", [])}
    then = {
        _canonical(text)
        for text in metadata.get_all("Requires-Dist") or []
        if "extra" not in text.partition(";")[2]
    }
    other = "name" in project and "dependencies" not in project.get("dynamic", []) and now != then
    own = _version(project.get("version"))
    return "pyproject.toml" if other or (own and own != _version(metadata["Version"])) else None


def _version(text: object) -> str | None:
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(str(text)))
    except InvalidVersion:
        return None


def _canonical(text: object) -> str:
    """A requirement in a form that can be compared."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return str(Requirement(str(text))).lower().replace("_", "-")
    except InvalidRequirement:
        return str(text)
