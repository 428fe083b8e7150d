"""Entries as a folder: the slow way into a file system, where nothing can mount it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from envpack.entry import Entry, Kind, encode_path, is_safe_path
from envpack.errors import IntegrityError, OutputError


def write_entries(entries: Iterable[Entry], folder: Path) -> Iterator[int]:
    """Write ``entries`` below the new ``folder``, giving the number of bytes after each piece.

    Nothing is ever written through a symlink, every parent is a folder that was made here; nor is a file of
    the host linked to, a hard link's target was written here.
    """
    made = {""}
    files: set[str] = set()
    try:
        folder.mkdir()
        for entry in entries:
            if not is_safe_path(entry.path) or entry.path.rpartition("/")[0] not in made:
                raise _leads_elsewhere(entry.path)
            target = os.path.join(os.fsencode(folder), encode_path(entry.path))  # noqa: PTH118 bytes
            if entry.kind is Kind.DIRECTORY:
                os.mkdir(target)  # noqa: PTH102 bytes
                os.chmod(target, entry.mode & 0o777 | 0o700)  # noqa: PTH101 bytes
                made.add(entry.path)
            elif entry.kind is Kind.SYMLINK:
                os.symlink(encode_path(entry.target), target)  # noqa: PTH211 bytes
            elif entry.kind is Kind.HARDLINK:
                if entry.target not in files:
                    raise _leads_elsewhere(entry.target)
                source = os.path.join(os.fsencode(folder), encode_path(entry.target))  # noqa: PTH118 bytes
                os.link(source, target, follow_symlinks=False)
            elif entry.kind is Kind.FILE:
                files.add(entry.path)
                yield from _write_file(entry, target)
    except FileExistsError as error:
        raise IntegrityError("the image holds a path twice", why=str(error)) from error
    except OSError as error:
        raise OutputError(
            f"cannot unpack into {folder}", why=str(error), hint="Set TMPDIR to another folder."
        ) from error


def _leads_elsewhere(path: str) -> IntegrityError:
    return IntegrityError(f"the image holds the path {path!r}, which leads elsewhere")


def _write_file(entry: Entry, target: bytes) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        for chunk in entry.chunks:
            out.write(chunk)
            yield len(chunk)
        os.fchmod(descriptor, entry.mode & 0o777)
