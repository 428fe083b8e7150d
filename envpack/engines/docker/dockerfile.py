"""The instructions of a Dockerfile and their lines, to say where a build is, or where it failed.

Docker's classic builder numbers all instructions; BuildKit those that make layers, in each stage anew. Only
what recipes use is read: comments, and lines continued by a backslash (Docker's "Dockerfile reference").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envpack.engines.docker.redaction import shown
from envpack.errors import EngineError

_SHOWN = 60  # characters of an instruction in messages
_IN_BUILDKIT = ("FROM", "ADD", "COPY", "RUN", "WORKDIR")
_STAGE_NAME = re.compile(r"\sAS\s+(\S+)\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: the line on which it begins, its text on one line, and its number among ``total``.

    ``stage`` is the name of its stage, or ``stage-1`` for the second if that has none; ``place`` is its
    number there as BuildKit counts, ``None`` where it does not.
    """

    line: int
    text: str
    number: int
    total: int
    stage: str
    place: int | None

    @property
    def short(self) -> str:
        """The beginning of the text, for messages."""
        return shown(self.text, _SHOWN)

    @property
    def title(self) -> str:
        """``Step 3/9: RUN …``"""
        return f"Step {self.number}/{self.total}: {self.short}"


def read(path: Path) -> tuple[Instruction, ...]:
    """The instructions of a file; raises :class:`EngineError` when it cannot be read."""
    try:
        return instructions(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot read the recipe {path}", why=str(error)) from error


def instructions(text: str) -> tuple[Instruction, ...]:
    """The instructions of a Dockerfile, in order."""
    found = _logical_lines(text)
    made = []
    stages, stage, place = 0, "", 0
    for number, (line, words) in enumerate(found, 1):
        keyword = words.split(" ", 1)[0].upper()
        if keyword == "FROM":
            name = _STAGE_NAME.search(words)
            stage, place = name[1].lower() if name else f"stage-{stages}", 0
            stages += 1
        counts = keyword in _IN_BUILDKIT
        place += counts
        made.append(Instruction(line, words, number, len(found), stage, place if counts else None))
    return tuple(made)


def in_stage(found: Sequence[Instruction], stage: str, place: int) -> Instruction | None:
    """The instruction that BuildKit calls ``[STAGE PLACE/N]``, or ``[PLACE/N]`` in the only stage."""
    return next((i for i in found if i.place == place and (not stage or i.stage == stage.lower())), None)


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Line and text of every instruction, with its parts joined by one space."""
    found: list[tuple[int, str]] = []
    parts: list[str] = []
    begun = 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        begun = begun if parts else number
        goes_on = line.endswith("\\")
        parts.append(line[:-1].strip() if goes_on else line)
        if not goes_on:
            found.append((begun, " ".join(part for part in parts if part)))
            parts = []
    if parts:
        found.append((begun, " ".join(part for part in parts if part)))
    return found
