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

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")


def parsed(text: str, shown: str) -> dict[str, Any]:
    """The values of ``text``, which errors call ``shown``. Raises :class:`SourceError` with the line."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        raise SourceError(
            f"{shown} is not valid TOML",
            where=Location(shown, *(int(n) for n in place.groups()) if place else ()),
            why=str(error),
            hint='Settings look like name = "value", with quotes around texts.',
        ) from error


def line_of(text: str, key: tuple[str, ...]) -> int | None:
    """The line on which ``key`` is written, as files are usually laid out: ``[a.b]`` and then ``c = …``.

    For one that is written otherwise (inline, dotted), the line of the longest part of it that is found.
    """
    best: tuple[int, int | None] = (0, None)
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = re.match(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$", line)
        if header:
            table = path = _parts(header[1])
        else:
            path = (*table, *_parts(line.partition("=")[0])) if "=" in line else ()
        same = min(len(path), len(key))  # [a.b.c] is where b of a begins, too
        if path[:same] == key[:same] and same > best[0]:
            best = (same, number)
    return best[1]


def _parts(dotted: str) -> tuple[str, ...]:
    """The parts of a TOML key."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)', dotted)
    return tuple(a or b or c for a, b, c in found)
