"""Folders for what another program writes: gone in the end, whatever happens; those of killed runs too.

Beside an image ``NAME`` there is ``.NAME.partial.d``, in which the image grows until it is renamed. Its link
``tmp`` leads to the folder for temporary files, which is elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envpack import atomic, process
from envpack.errors import ProgramError

_PREFIX = "envpack-build-"
_TEMPORARY = "tmp"
# As root of a namespace with all ids of the user; util-linux >= 2.38.
REMOVE = ("unshare", "--map-auto", "--map-root-user", "rm", "-rf", "--")


@contextmanager
def folders(output: Path, temporary: Path, note: Callable[[str], None]) -> Iterator[tuple[Path, Path]]:
    """A new folder beside ``output``, and one in ``temporary``; both are removed when left.

    ``note`` is told what cannot be removed. Raises :class:`OutputError` where they cannot be made.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        beside, descriptor = _beside(output, note)
    except OSError as error:
        raise atomic.cannot_write(output, error) from error
    away = None
    try:
        try:
            away = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary)).absolute()
            (beside / _TEMPORARY).symlink_to(away)
        except OSError as error:
            raise atomic.cannot_write(temporary, error) from error
        yield beside, away
    finally:
        if away is not None:
            _remove_or_say(away, note)
        _remove_or_say(beside, note)
        os.close(descriptor)


def _beside(output: Path, note: Callable[[str], None]) -> tuple[Path, int]:
    """A new folder, locked, under a fixed name if that is free, as of :mod:`envpack.atomic`."""
    fixed = output.with_name(f".{output.name[:200]}.partial.d")
    with suppress(OSError):  # none there, or somebody else's
        leftover = _open(fixed)
        try:
            if atomic.lock(leftover) and atomic.is_at(leftover, fixed):
                _remove_all(fixed, note)
        finally:
            os.close(leftover)
    name = fixed
    while True:
        with suppress(FileExistsError):
            name.mkdir()
            descriptor = _open(name)
            # Between these lines another process may have taken the folder for a leftover.
            if atomic.lock(descriptor) is not False and atomic.is_at(descriptor, name):
                return name, descriptor
            os.close(descriptor)
        name = fixed.with_name(f".{output.name[:200]}.{secrets.token_hex(4)}.partial.d")


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _remove_all(leftover: Path, note: Callable[[str], None]) -> None:
    """Remove what a killed run left; its temporary files first, for it is here that they are known."""
    with suppress(OSError):
        away = (leftover / _TEMPORARY).readlink()
        # Whoever may write beside the image could have made that link.
        if away.name.startswith(_PREFIX) and away.lstat().st_uid == os.geteuid():
            _remove_or_say(away, note)
    _remove_or_say(leftover, note)


def _remove_or_say(folder: Path, note: Callable[[str], None]) -> None:
    if not remove(folder):
        parent, name = folder.absolute().parent, folder.name
        note(
            f"{folder} cannot be removed: files in it belong to your ids of /etc/subuid. This removes it: "
            f"apptainer exec --fakeroot --bind {shlex.quote(str(parent))}:/mnt IMAGE.sif rm -rf "
            f"{shlex.quote(f'/mnt/{name}')}"
        )


def remove(folder: Path) -> bool:
    """Remove a folder tree, also one in which containers made files; ``False`` where it cannot be."""
    for top, names, _ in os.walk(folder):
        for path in (os.path.join(top, name) for name in names):  # noqa: PTH118 may be undecodable
            if not os.path.islink(path):  # noqa: PTH114 likewise
                with suppress(OSError):
                    os.chmod(path, 0o700)  # noqa: PTH101 likewise
    shutil.rmtree(folder, onerror=_remove_empty)
    if os.path.lexists(folder):
        with suppress(ProgramError):
            process.run([*REMOVE, folder.absolute()])
    return not os.path.lexists(folder)


def _remove_empty(_function: Callable[..., object], path: str, _error: object) -> None:
    """An empty folder of somebody else's cannot be looked into, but removed. What else fails stays."""
    with suppress(OSError):
        os.rmdir(path)  # noqa: PTH106 may be undecodable
