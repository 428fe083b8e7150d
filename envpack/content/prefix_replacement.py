"""Replacing the placeholder of the build's prefix by the prefix in the image, as rattler does it.

Conda packages are built in a folder with a name as long as can be (255 characters). Where files contain
it, ``paths.json`` says so and how it is to be replaced:

``text``
    The placeholder is replaced and the file may change its length. A first line ``#!…`` that would be
    longer than the 127 bytes Linux allows, or have a space in the interpreter, becomes one that
    ``/bin/sh`` or ``/usr/bin/env`` resolves.

``binary``
    The length must stay. The rest of the C string moves to the front and NULs fill it up:

        "/long_placeholder/lib:/long_placeholder/etc" 0 next
        "/opt/env/lib:/opt/env/etc" 0 0 0 0 0 … 0 0 0 0 next

Placeholders are also found as UTF-16 and UTF-32, of both byte orders. Proposed as
https://github.com/conda/ceps/pull/179, done by conda and rattler.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAX_SHEBANG = 127
_SHEBANG = re.compile(r"#! *(/(?:\\ |[^ \n\r\t])*)(.*)\Z")
_PYTHON = re.compile(r"python(?:\d+(?:\.\d+)?)?\Z")
# name, size of one code unit in bytes
_ENCODINGS = (("utf-8", 1), ("utf-16-le", 2), ("utf-16-be", 2), ("utf-32-le", 4), ("utf-32-be", 4))


class PrefixTooLong(ValueError):
    """The new prefix does not fit into the space a binary has for it."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Placeholder and prefix in one encoding; ``unit`` is the size of its code units and terminator."""

    old: bytes
    new: bytes
    unit: int

    @property
    def freed(self) -> int:
        """Bytes that one replacement leaves over."""
        if len(self.new) > len(self.old):
            raise PrefixTooLong(
                f"the prefix has {len(self.new)} bytes and the package leaves room for {len(self.old)}"
            )
        return len(self.old) - len(self.new)


def _patterns(placeholder: str, prefix: str) -> list[_Pattern]:
    return [_Pattern(placeholder.encode(name), prefix.encode(name), unit) for name, unit in _ENCODINGS]


def replace_text(data: bytes, placeholder: str, prefix: str) -> bytes:
    """``data`` with every placeholder replaced and its ``#!`` line mended."""
    body = 0
    first_line = b""
    if data.startswith(b"#!"):
        body = data.find(b"\n") + 1 or len(data)
        line = data[:body].removesuffix(b"\n")
        first_line = shebang(line.decode("utf-8", "replace"), placeholder, prefix).encode()
        first_line += data[len(line) : body]
    # Occurrences are those of the whole file: one that begins in the first line hides those it overlaps.
    found = sorted(
        (at, p.old, p.new) for p in _patterns(placeholder, prefix) for at in _find_all(data, p.old)
    )
    pieces, end = [first_line], 0
    position = body
    for at, old, new in found:
        if at < end:
            continue
        end = at + len(old)
        if at >= body:
            pieces += (data[position:at], new)
            position = end
    pieces.append(data[position:])
    return b"".join(pieces)


def shebang(line: str, placeholder: str, prefix: str) -> str:
    """A ``#!`` line without its newline, with the placeholder replaced, and such that Linux runs it."""
    if " " in prefix:
        return _indirect(line).replace(placeholder, prefix) if placeholder in line else line
    line = line.replace(placeholder, prefix)
    return line if len(line.encode()) <= _MAX_SHEBANG else _indirect(line)


def interpreter_line(executable: str) -> str:
    """The ``#!`` line, or two, of a python script with the interpreter at the path ``executable``."""
    if " " in executable or len(executable.encode()) > _MAX_SHEBANG - len("#!"):
        return _through_shell(executable, "")
    return f"#!{executable}"


def _indirect(line: str) -> str:
    """Have the shell start pythons, and PATH find everything else."""
    match = _SHEBANG.match(line)
    if match is None:
        return line
    executable, options = match.groups()
    name = executable.rpartition("/")[2]
    return _through_shell(executable, options) if _PYTHON.match(name) else f"#!/usr/bin/env {name}{options}"


def _through_shell(executable: str, options: str) -> str:
    """Python reads the second line as a string, the shell as a command."""
    return f"#!/bin/sh\n'''exec' \"{executable}\"{options} \"$0\" \"$@\" #'''"


def replace_binary(chunks: Iterable[bytes], placeholder: str, prefix: str) -> Iterator[bytes]:
    """The same number of bytes, with the placeholder replaced inside C strings.

    Holds about one chunk in memory, unless the placeholder occurs in a wide encoding: then the rest of the
    file. Raises :class:`PrefixTooLong`.
    """
    narrow, *wide = _patterns(placeholder, prefix)
    overlap = max(len(p.old) for p in wide) - 1
    buffer, offset = b"", 0  # what was read and not yet given, and its place in the file
    owed: int | None = None  # bytes freed in the C string under way, given back before its terminator
    source = iter(chunks)
    ended = False
    while not ended:
        chunk = next(source, None)
        ended = chunk is None
        buffer += chunk or b""
        search = _Search(buffer)
        start = 0
        while True:
            at = search.find(narrow.old, start)
            if owed is None:
                first_wide = min(search.find(p.old, start) for p in wide)
                if first_wide < min(at, len(buffer)):
                    rest = buffer[first_wide:] + b"".join(source)
                    yield buffer[start:first_wide]
                    yield _replace_wide(rest, offset + first_wide, [narrow, *wide])
                    return
            elif (end := search.find(b"\0", start)) < min(at, len(buffer)):
                yield buffer[start:end] + bytes(owed)
                start, owed = end, None
                continue
            if at == len(buffer):
                break
            yield buffer[start:at] + narrow.new
            start, owed = at + len(narrow.old), (owed or 0) + narrow.freed
        keep = len(buffer) if ended else max(start, len(buffer) - overlap)
        yield buffer[start:keep]
        offset += keep
        buffer = buffer[keep:]
    if owed:
        yield bytes(owed)


class _Search:
    """``find`` in one buffer, never looking twice at the same bytes for the same pattern."""

    def __init__(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._last: dict[bytes, int] = {}

    def find(self, pattern: bytes, start: int) -> int:
        """The first place of ``pattern`` at or after ``start``, which never goes back; the end if none."""
        at = self._last.get(pattern, -1)
        if at < start:
            at = self._buffer.find(pattern, start)
            at = len(self._buffer) if at < 0 else at
            self._last[pattern] = at
        return at


def _replace_wide(data: bytes, offset: int, patterns: list[_Pattern]) -> bytes:
    """The replacement in all encodings at once, for the part of a file from ``offset`` on.

    The encodings of a text are shifted copies of each other, so that one string gives several candidates.
    Those in UTF-8 win, then those aligned to their code units, then those with a terminator, then the first.
    """
    candidates = []
    for order, pattern in enumerate(patterns):
        covered = [0] * pattern.unit
        for at in _find_all(data, pattern.old):
            alignment = (offset + at) % pattern.unit
            if at < covered[alignment]:
                continue
            after = at + len(pattern.old)
            end, terminated = _string_end(data, after, pattern.unit)
            places = [at, *(after + more for more in _find_all(data[after:end], pattern.old))]
            covered[alignment] = end
            rank = (pattern.unit > 1, alignment != 0, not terminated, at, order)
            candidates.append((rank, places, end, pattern))
    kept: list[tuple[list[int], int, _Pattern]] = []
    for _, places, end, pattern in sorted(candidates, key=lambda candidate: candidate[0]):
        place = bisect.bisect(kept, places[0], key=lambda k: k[0][0])
        free_before = place == 0 or kept[place - 1][1] <= places[0]
        free_after = place == len(kept) or kept[place][0][0] >= end
        if free_before and free_after:
            kept.insert(place, (places, end, pattern))
    pieces: list[bytes] = []
    position = 0
    for places, end, pattern in kept:
        for at in places:
            pieces += (data[position:at], pattern.new)
            position = at + len(pattern.old)
        pieces += (data[position:end], bytes(len(places) * pattern.freed))
        position = end
    return b"".join([*pieces, data[position:]])


def _string_end(data: bytes, start: int, unit: int) -> tuple[int, bool]:
    """Where the zero code unit that ends the string is, and whether there is one."""
    zero = bytes(unit)
    at = data.find(zero, start)
    while at >= 0 and (at - start) % unit:
        at = data.find(zero, at + 1)
    return (at, True) if at >= 0 else (len(data), False)


def _find_all(data: bytes, pattern: bytes) -> Iterator[int]:
    """The places of ``pattern``, from the left, not overlapping."""
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + len(pattern))
