"""Bytes of a text file as users' editors leave them: UTF-8, a byte order mark, UTF-16, CRLF."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

from envpack.errors import Location, SourceError

MAX_BYTES = 16 * 1024 * 1024  # locks for many platforms have some megabytes
MAX_LIST_BYTES = 512 * 1024  # the longest environment files seen in the wild have some 50 KiB


def read_text(path: Path, shown: str, limit: int = MAX_BYTES) -> str:
    r"""The text of ``path`` with ``\n`` line ends; ``shown`` is what errors call it.

    Raises :class:`SourceError` when it is absent, unreadable, too long or in no known encoding.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise SourceError(
            f"there is no file {shown}",
            why=f"{shown} is a link to {path.readlink()}" if path.is_symlink() else None,
            hint=f"Check the name; the file is looked for in {path.parent.resolve()}.",
        ) from None
    except IsADirectoryError:
        raise SourceError(
            f"{shown} is a folder", hint="Name an environment.yml or a requirements file."
        ) from None
    except OSError as error:
        raise SourceError(
            f"cannot read {shown}",
            why=error.strerror,
            hint=f"See who may read it: ls -l {shlex.quote(shown)}",
        ) from error
    return decode(data, shown, limit)


def decode(data: bytes, shown: str, limit: int = MAX_BYTES) -> str:
    r"""``data`` as text with ``\n`` line ends.

    UTF-16 (which PowerShell's ``>`` writes) is recognised by its byte order mark, or by the zero bytes that
    ASCII letters have in it. Raises :class:`SourceError` naming ``shown`` and the line that is not UTF-8.
    """
    if len(data) > limit:
        raise SourceError(
            f"{shown} is longer than {limit // 1024} KiB",
            why="no environment file is as long",
            hint="Name an environment.yml or a requirements file.",
        )
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"not valid {encoding.removesuffix('-sig').upper()}",
            where=Location(shown, line),
            why=f"{error.reason} at byte {error.start}",
            hint="Save the file as UTF-8.",
        ) from None
    if "\0" in text:
        raise SourceError(
            "zero bytes: it is no text, or text in two encodings",
            where=Location(shown, text.count("\n", 0, text.index("\0")) + 1),
            why="PowerShell's >> adds UTF-16 to a file in UTF-8",
            hint="Write the file anew, in UTF-8.",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def too_long(shown: str, limit: int) -> SourceError:
    """What to say of a file with more than ``limit`` bytes."""
    return SourceError(
        f"{shown} is longer than {limit // 1024} KiB",
        why="no environment file is as long",
        hint="Name an environment.yml or a requirements file.",
    )


def _encoding(data: bytes) -> str:
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(data) >= 2 and data[:2].count(0) == 1:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8"
