"""Docker's classic builder, through the API: every daemon has it, and podman's socket speaks like it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from envpack.engines.docker import context, failures
from envpack.engines.docker.daemon import Daemon
from envpack.engines.docker.dockerfile import Instruction, read
from envpack.engines.docker.redaction import plain
from envpack.engines.docker.tasks import Tasks
from envpack.progress import Progress

_STEP = re.compile(r"Step (\d+)/\d+ : ")
# podman's, which counts in each stage anew, and names the stages where there are several.
_PODMAN_STEP = re.compile(r"(?:\[(\d+)/\d+\] )?STEP (\d+)/\d+: ")
# The builder's own remarks between the output of steps.
_REMARK = re.compile(r" ---> |Removing intermediate container |Successfully (?:built|tagged) ")


class Messages:
    """Follows the messages of a build whose Dockerfile has the instructions ``found``."""

    def __init__(self, found: Sequence[Instruction], dockerfile: Path, tasks: Tasks) -> None:
        self._found, self._dockerfile, self._tasks = found, dockerfile, tasks
        self._step: Instruction | None = None
        self._lines: deque[str] = deque(maxlen=failures.TAIL)
        self._held = ""

    def add(self, message: Mapping[str, Any]) -> None:
        """One message; raises the :class:`EngineError` that it is."""
        if "error" in message:
            self._line(plain(self._held))
            error = failures.step_failed(self._step, self._dockerfile, str(message["error"]), self._lines)
            if self._step:
                self._tasks.end(self._step.title, error)
            raise error
        if "stream" in message:
            *lines, self._held = (self._held + str(message["stream"])).split("\n")
            for line in lines:
                self._line(plain(line))
        elif "id" in message:
            self._tasks.layer(message)

    def _line(self, line: str) -> None:
        begun = self._begun(line)
        if begun:
            if self._step:
                self._tasks.end(self._step.title)
            self._step = begun
            self._lines.clear()
            self._tasks.begin(self._step.title, self._step.title)
        elif not _REMARK.match(line):
            self._lines.append(line)

    def _begun(self, line: str) -> Instruction | None:
        """The step that the line begins; not what a program prints that looks the same."""
        number = 0
        if step := _STEP.match(line):
            number = int(step[1])
        elif step := _PODMAN_STEP.match(line):
            stages = [i.number for i in self._found if i.place == 1]
            stage = int(step[1] or 1)
            number = stages[stage - 1] + int(step[2]) - 1 if 0 < stage <= len(stages) else 0
        following = self._step.number + 1 if self._step else 1
        return self._found[number - 1] if number == following <= len(self._found) else None


def build(
    daemon: Daemon,
    folder: Path,
    tag: str,
    progress: Progress,
    *,
    epoch: int,
    platform: str | None,
    network: str | None,
) -> None:
    """Build the Dockerfile in ``folder`` as the image ``tag``.

    ``epoch`` (seconds) is the date of the files that the daemon gets. Raises :class:`EngineError`. Ending
    early ends the build: the daemon sees the connection close.
    """
    dockerfile = folder / "Dockerfile"
    with daemon.talking("building the image"), Tasks(progress) as tasks:
        messages = Messages(read(dockerfile), dockerfile, tasks)
        stream = daemon.client.build(
            fileobj=context.archive(folder, epoch),
            custom_context=True,
            dockerfile=dockerfile.name,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
            network_mode=network,
            platform=platform,
        )
        with closing(stream):
            for message in stream:
                messages.add(message)
