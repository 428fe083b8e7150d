"""TOML 1.0 (https://toml.io/en/v1.0.0): its values, and the lines on which they are written."""

from __future__ import annotations

import re
import sys
from typing import Any

from envpack.errors import Location, SourceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_DEPTH = 20
_MAX_DOTS = 500
_HEADER = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$")
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def parsed(text: str, shown: str) -> dict[str, Any]:
    """The values of ``text``, which errors call ``shown``. Raises :class:`SourceError` with the line."""
    # The parser takes minutes for the longest of keys.
    words = re.split(r"[^\w.-]+", re.sub("[ \t\"']+", "", text))
    if any(word.count(".") > _MAX_DOTS for word in words):
        raise _too_deep(shown)
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        raise SourceError(
            f"{shown} is not valid TOML",
            where=Location(shown, *(int(n) for n in place.groups()) if place else ()),
            why=str(error),
            hint='Settings look like name = "value", with quotes around texts.',
        ) from error
    level: list[object] = [found]
    for _ in range(MAX_DEPTH):
        level = [child for table in level if isinstance(table, dict) for child in table.values()]
    if level:
        raise _too_deep(shown)
    return found


def _too_deep(shown: str) -> SourceError:
    return SourceError(
        f"{shown} has tables in tables, more than {MAX_DEPTH}", hint="Name another file as the source."
    )


class Lines:
    """Where the keys of ``text`` are written, as files are usually laid out: ``[a.b]`` and then ``c = …``."""

    def __init__(self, text: str) -> None:
        self._first: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.split("\n"), 1):
            header = _HEADER.match(line)
            if header:
                table = path = _parts(header[1])
            else:
                path = (*table, *_parts(line.partition("=")[0])) if "=" in line else ()
            for length in range(1, len(path) + 1):  # [a.b.c] is where b of a begins, too
                self._first.setdefault(path[:length], number)

    def of(self, key: tuple[str, ...]) -> int | None:
        """The line of ``key``; of one that is written otherwise, that of its longest part that is found."""
        parts = (key[:length] for length in range(len(key), 0, -1))
        return next((self._first[part] for part in parts if part in self._first), None)


def _parts(dotted: str) -> tuple[str, ...]:
    """The parts of a TOML key."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)', dotted)
    return tuple(a or b or c for a, b, c in found[:MAX_DEPTH])
