"""What the program says while it builds: steps of progress now, and the words for an error later."""

from __future__ import annotations

import re
from collections import deque
from types import TracebackType

from envpack.http_errors import redact
from envpack.progress import Progress, Task

_KEPT = 100  # lines for an error
_WIDTH = 72
_MESSAGE = re.compile(r"(?P<level>INFO|WARNING|ERROR|FATAL):\s+(?P<text>.*)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
# The beginnings of its messages, and what they mean. Older programs copy blobs instead of fetching.
_STEPS = {
    "Fetching OCI image": "Fetching the base image",
    "Getting image source signatures": "Fetching the base image",
    "Copying blob": "Fetching the base image",
    "Extracting OCI image": "Unpacking the base image",
    "Running post scriptlet": "Running %post",
    "Running testscript": "Running %test",
    "Creating SIF file": "Writing the image",
    "Creating sandbox directory": "Writing the sandbox",
}


class Transcript:
    """Told every line; a context manager, whose end ends the last step.

    ``lines`` are the last ones, without secrets in URLs; ``traces`` the commands of ``%post`` as ``sh -x``
    printed them, and ``since`` the lines after the last of these; ``stage`` is the last step's title.
    """

    def __init__(self, progress: Progress) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT)
        self.since: deque[str] = deque(maxlen=_KEPT)
        self.traces: deque[str] = deque(maxlen=_KEPT)
        self.stage = ""
        self._progress = progress
        self._task: Task | None = None

    def line(self, text: str) -> None:
        """Take one line of output."""
        text = without_secrets(text)
        self.lines.append(text)
        self.since.append(text)
        message = _MESSAGE.match(text)
        if message is None:
            if text.startswith("+ "):
                self.traces.append(text[2:])
                self.since.clear()
                self._step(f"%post: {text[2:]}")
            elif text.startswith("Copying blob"):
                self._step(_STEPS["Copying blob"])
        elif message["level"] == "WARNING":
            self._progress.note(message["text"])
        elif message["level"] == "INFO":
            for beginning, title in _STEPS.items():
                if message["text"].startswith(beginning):
                    self._step(title)
            if match := re.match(r"Copying (\S+) to ", message["text"]):
                self._step(f"Copying {match[1]}")

    def _step(self, title: str) -> None:
        if len(title) > _WIDTH:
            title = title[: _WIDTH - 1] + "…"
        if title == self.stage:
            return
        self.__exit__(None, None, None)
        self.stage = title
        self._task = self._progress.step(title)
        self._task.__enter__()

    def __enter__(self) -> Transcript:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.__exit__(kind, error, trace)


def without_secrets(text: str) -> str:
    """``text`` with nothing in its URLs that may be a secret."""
    return _URL.sub(lambda match: redact(match[0]), text)
