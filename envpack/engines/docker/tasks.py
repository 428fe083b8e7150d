"""Progress of what a daemon tells in messages: steps that begin, move and end when a message says so."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from envpack.progress import Progress, Task, Unit

# What Docker's API calls a layer on its way, and what it is called here.
_VERBS = {"Downloading": "Pulling", "Extracting": "Unpacking", "Pushing": "Pushing"}

_WORTH_A_STEP = 1_000_000  # bytes


class Tasks:
    """The steps under way, by any key. A context manager: leaving it ends them all."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[str, Task] = {}
        self._reached: dict[str, int] = {}

    def begin(self, key: str, title: str, total: int | None = None, unit: Unit = "items") -> None:
        """Begin a step, unless it is under way."""
        if key not in self._open:
            self._open[key] = self._progress.step(title, total, unit)
            self._open[key].__enter__()
            self._reached[key] = 0

    def reach(self, key: str, amount: int) -> None:
        """So much of a step is done; less than before is not heard."""
        if key in self._open and amount > self._reached[key]:
            self._open[key].advance(amount - self._reached[key])
            self._reached[key] = amount

    def end(self, key: str, error: BaseException | None = None) -> None:
        """End a step, if it is under way; ``error`` is why it failed."""
        if task := self._open.pop(key, None):
            task.__exit__(type(error) if error else None, error, None)

    def layer(self, message: Mapping[str, Any]) -> None:
        """A message of Docker's API about a layer: ``{"status", "id", "progressDetail"}``."""
        name, status = str(message.get("id", "")), message.get("status")
        detail = message.get("progressDetail") or {}
        verb = _VERBS.get(str(status))
        for other in _VERBS.values():
            if other != verb:
                self.end(f"{other} {name}")
        if verb and isinstance(detail.get("current"), int):
            self.moved(verb, name, detail["current"], detail.get("total") or None)

    def moved(self, verb: str, name: str, amount: int, total: int | None) -> None:
        """So many bytes of a layer; small ones, and manifests, are not worth a step."""
        if total is None or total >= _WORTH_A_STEP:
            self.begin(f"{verb} {name}", f"{verb} layer {name}", total, "bytes")
            # A layer's size is an estimate that its tar may exceed.
            self.reach(f"{verb} {name}", min(amount, total) if total else amount)

    def __enter__(self) -> Tasks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in list(self._open):
            self.end(key, error)
