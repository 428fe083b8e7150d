"""Progress as events: code that works for long reports here, the command line decides how it looks."""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Protocol

Unit = Literal["bytes", "items"]


class Task(Protocol):
    """One step under way. A context manager: leaving it ends the step."""

    def advance(self, amount: int = 1) -> None:
        """Count ``amount`` more (bytes or items, the step's unit). May be called from any thread."""

    def __enter__(self) -> Task: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where steps are announced."""

    def step(self, title: str, total: int | None = None, unit: Unit = "items") -> Task:
        """Begin a step of ``total`` units; ``None`` where the total is not known."""

    def note(self, text: str) -> None:
        """Say one thing worth a line (a choice made, a retry)."""


class _Silence:
    """A task that nobody watches."""

    def advance(self, amount: int = 1) -> None:
        """Count nothing."""

    def __enter__(self) -> _Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Quiet:
    """The :class:`Progress` that says nothing; the default of the Python API."""

    def step(self, title: str, total: int | None = None, unit: Unit = "items") -> Task:  # noqa: ARG002 protocol
        """A task that is not shown."""
        return _Silence()

    def note(self, text: str) -> None:
        """Drop the note."""
