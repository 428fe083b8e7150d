"""Where in a definition file something stands that the program spoke of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# Words as sh -x prints them: without quotes and backslashes.
_WORD = re.compile(r"[^\s'\"\\]+")
# What may stand before a command; sh does not print it.
_BEFORE = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", "("}
_ENOUGH = 0.5  # of the printed words: variables and patterns are printed with their values


def command_line(text: str, traces: Sequence[str]) -> int | None:
    """The line, from 1, of the command in a ``%post`` that ``sh -x`` printed last.

    ``traces`` are printed commands, in their order. The last that is found counts: what is no command but
    a program's output, or not found, is passed over.
    """
    commands = list(_commands(text))
    for trace in reversed(traces):
        printed = _WORD.findall(trace)
        if not printed:
            continue
        likeness, line = max(
            ((_likeness(printed, words), -line) for line, words in commands), default=(0.0, 0)
        )
        if likeness >= _ENOUGH:
            return -line
    return None


def section_line(text: str, name: str) -> int | None:
    """The line of the last section ``%name``."""
    found = [i for i, line in enumerate(text.splitlines(), 1) if line.split()[:1] == [f"%{name}"]]
    return found[-1] if found else None


def image_line(text: str, said: str) -> int | None:
    """The line of the ``From:`` whose image ``said`` names, by its digest or its registry."""
    headers = [
        (i, line.partition(":")[2].strip())
        for i, line in enumerate(text.splitlines(), 1)
        if line.startswith("From:")
    ]
    by_digest = [number for number, image in headers if image.rpartition("@")[2] in said]
    by_registry = [number for number, image in headers if image.partition("/")[0] in said]
    return next(iter(by_digest + by_registry), None)


def copied_line(text: str, source: str) -> int | None:
    """The line of a ``%files`` section that copies ``source``."""
    for number, section, line in _lines(text):
        if section == "%files" and line.split()[:1] == [source]:
            return number
    return None


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Number, section and text of every line in a section."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        first = line.split()[:1]
        if first and first[0].startswith("%"):
            section = first[0]
        elif line.startswith("Bootstrap:"):
            section = ""
        elif section:
            yield number, section, line


def _commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """The first line of every command in ``%post`` sections, and its words; continued lines are one."""
    start, continued = 0, False
    words: list[str] = []
    for number, section, line in _lines(text):
        if section != "%post" or (line.lstrip().startswith("#") and not continued):
            continue
        if not continued:
            start, words = number, []
        words += _WORD.findall(line)
        continued = line.rstrip().endswith("\\")
        if not continued and words:
            yield start, words


def _likeness(printed: Sequence[str], words: Sequence[str]) -> float:
    """How many of the printed words stand in a command that begins alike."""
    command = list(words)
    while command and command[0] in _BEFORE:
        command = command[1:]
    if not command or command[0].rstrip(";") != printed[0]:
        return 0.0
    known = {word.rstrip(";") for word in command}
    return sum(word in known for word in printed) / len(printed)
