"""How progress looks: bars on a terminal, plain lines in a log, nothing with ``--quiet``."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from envpack.progress import Progress, Quiet, Task, Unit

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_LINE_EVERY = 10.0  # seconds between two lines of one step in a log


def reporter(*, quiet: bool, stream: TextIO = sys.stderr) -> AbstractContextManager[Progress]:
    """The progress display that suits ``stream``; a context manager that takes it down again."""
    if quiet:
        return nullcontext(Quiet())
    if stream.isatty():
        return _Terminal(stream)
    return nullcontext(Lines(stream))


def amount(value: float, unit: Unit) -> str:
    """A number for people: ``1,204`` items, ``3.4 MB`` (decimal units, as disks are sold)."""
    if unit == "items":
        return f"{int(value):,}"
    for name in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {name}" if name == "B" else f"{value:.1f} {name}"
        value /= 1000
    return f"{value:.2f} GB"


class Lines:
    """Progress for logs: a line when a step begins to take long, a line when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def step(self, title: str, total: int | None = None, unit: Unit = "items") -> Task:
        """A step that ends in one line with its amount and duration."""
        return _LineTask(self, title, total, unit)

    def note(self, text: str) -> None:
        """One line."""
        with self._lock, suppress(OSError):  # a log that cannot be written does not stop the work
            self._stream.write(text + "\n")
            self._stream.flush()


class _LineTask:
    """One step of a log."""

    def __init__(self, lines: Lines, title: str, total: int | None, unit: Unit) -> None:
        self._lines, self._title, self._total, self._unit = lines, title, total, unit
        self._done = 0
        self._begun = self._said = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, amount_: int = 1) -> None:
        """Count; say so every ten seconds."""
        with self._lock:
            self._done += amount_
            now = time.monotonic()
            if now - self._said < _LINE_EVERY:
                return
            self._said = now
        self._lines.note(f"{self._title}: {self._amount()}")

    def _amount(self) -> str:
        done = amount(self._done, self._unit)
        return f"{done} of {amount(self._total, self._unit)}" if self._total else done

    def __enter__(self) -> _LineTask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._begun
        ending = "stopped" if kind else f"{seconds:.1f} s"
        count = f"{self._amount()}, " if self._done else ""
        self._lines.note(f"{self._title}: {count}{ending}")


class _Terminal:
    """Progress for people: one rich bar a step, with amounts, rates and time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._bars = Bars(
            # A long title is cut before the bar is squeezed.
            TextColumn("{task.description}", table_column=Column(max_width=46, no_wrap=True)),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream),
            transient=False,
        )

    def __enter__(self) -> _Terminal:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, title: str, total: int | None = None, unit: Unit = "items") -> Task:
        """A bar; it pulses where the total is not known."""
        from rich.markup import escape

        return _Bar(self._bars, self._bars.add_task(escape(title), total=total, amount=""), total, unit)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)


class _Bar:
    """One bar of the terminal's display."""

    def __init__(self, bars: Bars, identifier: TaskID, total: int | None, unit: Unit) -> None:
        self._bars, self._identifier, self._total, self._unit = bars, identifier, total, unit
        self._done = 0
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, amount_: int = 1) -> None:
        """Count and redraw; bytes show their rate."""
        with self._lock:
            self._done += amount_
            text = amount(self._done, self._unit)
            if self._total:
                text += f" of {amount(self._total, self._unit)}"
            seconds = time.monotonic() - self._begun
            if self._unit == "bytes" and seconds > 0.5:
                text += f", {amount(self._done / seconds, self._unit)}/s"
            self._bars.update(self._identifier, completed=self._done, amount=text)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            finished = max(self._done, 1)
            self._bars.update(self._identifier, total=finished, completed=finished)
        self._bars.stop_task(self._identifier)
