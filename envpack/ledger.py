"""What envpack changed on the way from the user's file to the image, said line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from envpack.errors import Location


class Action(Enum):
    """What happened to one thing the user asked for."""

    KEPT = "kept"
    TRANSLATED = "translated"
    RELAXED = "relaxed"
    REPLACED = "replaced"
    DROPPED = "dropped"
    GUESSED = "guessed"
    NEEDS_YOU = "needs you"


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation: what it is about, what was done, why, and what the user can do about it."""

    action: Action
    subject: str
    reason: str
    where: Location | None = None
    remedy: str | None = None

    @property
    def is_deviation(self) -> bool:
        """Whether it is about anything but a line that is kept as it is."""
        return self.action is not Action.KEPT

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Read :meth:`as_dict` back; raises ``KeyError``, ``TypeError`` or ``ValueError`` for others."""
        texts = {key: values[key] for key in ("subject", "reason", "file", "remedy")}
        if not all(text is None or isinstance(text, str) for text in texts.values()):
            raise ValueError("a finding consists of texts")
        line = values["line"]
        where = (
            None if texts["file"] is None else Location(texts["file"], None if line is None else int(line))
        )
        return cls(Action(values["action"]), texts["subject"], texts["reason"], where, texts["remedy"])

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {
            "action": self.action.value,
            "subject": self.subject,
            "reason": self.reason,
            "file": self.where.file if self.where else None,
            "line": self.where.line if self.where else None,
            "remedy": self.remedy,
        }


class Ledger:
    """All findings of one command, in the order they were made. Only ever added to."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(
        self,
        action: Action,
        subject: str,
        reason: str,
        *,
        where: Location | None = None,
        remedy: str | None = None,
    ) -> None:
        """Record one finding."""
        self._findings.append(Finding(action, subject, reason, where, remedy))

    def extend(self, other: Ledger) -> None:
        """Record the findings of another one too."""
        self._findings += other._findings

    def __iter__(self) -> Iterator[Finding]:
        """The findings in the order they were made; what is kept at first and changed later is not kept."""
        changed = {finding.where for finding in self._findings if finding.is_deviation and finding.where}
        return iter([f for f in self._findings if f.is_deviation or f.where not in changed])

    def __len__(self) -> int:
        """How many findings there are."""
        return len(self._findings)
