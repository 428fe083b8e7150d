"""BuildKit, through the ``docker`` command line: docker-py does not speak its protocol.

With ``--progress plain`` the command line prints, for steps that run side by side:

    #7 [build 3/7] RUN …          a step: its stage, its place there, its instruction
    #7 0.187 text                 a line of its output, after so many seconds
    #4 sha256:44abb0e2af83… 5.24MB / 20.41MB 0.2s
                                  a layer that is pulled
    #7 DONE 1.3s, #7 CACHED, #7 ERROR: message
    ------                        then what failed, once more, and the message
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from envpack import process
from envpack.engines.docker import failures
from envpack.engines.docker.daemon import Daemon
from envpack.engines.docker.dockerfile import Instruction, in_stage, read
from envpack.engines.docker.redaction import plain
from envpack.engines.docker.tasks import Tasks
from envpack.errors import EngineError
from envpack.progress import Progress

_VERSION = re.compile(r"Docker version (\d+)\.")
_BUILT_IN_BEFORE = 23  # from then on it is the plug-in buildx
_LINE = re.compile(r"#(\d+) (.*)")
_STEP = re.compile(r"\[(?P<names>[^\]]* )?(?P<place>\d+)/\d+\] ")
# What comes before a step has no place of its own: the manifest of its image, what ADD downloads.
_FOR_A_STEP = re.compile(r"(?:\[internal\] load metadata for )?(\S+[/:]\S+)\Z")
_OUTPUT = re.compile(r"\d+\.\d+ (.*)")
_LAYER = re.compile(r"sha256:([0-9a-f]{12})[0-9a-f]* ([0-9.]+)([kMGT]?B) / ([0-9.]+)([kMGT]?B)\b")
_ENDED = re.compile(r"(DONE|CACHED|CANCELED)\b|ERROR: (.*)")
_EXPORT = "exporting to image"
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}


class Lines:
    """Follows the output of a build whose Dockerfile has the instructions ``found``."""

    def __init__(self, found: Sequence[Instruction], dockerfile: Path, tasks: Tasks) -> None:
        self._found, self._dockerfile, self._tasks = found, dockerfile, tasks
        self._steps: dict[str, Instruction | None] = {}
        self._names: dict[str, str] = {}
        self._output: dict[str, deque[str]] = {}
        self._failed: tuple[str, str] | None = None  # its number and message
        self._last = ""  # the number of the last line that had one
        self._rest: deque[str] = deque(maxlen=failures.TAIL)

    def add(self, line: str) -> None:
        """One line."""
        numbered = _LINE.match(line)
        if numbered is None:
            self._unnumbered(plain(line))
            return
        number, said = numbered[1], numbered[2]
        self._last = number
        if number not in self._names:
            self._begin(number, said)
        elif ended := _ENDED.match(said):
            if ended[2] is not None and self._failed is None:
                self._failed = (number, ended[2])
            self._tasks.end(number, EngineError(ended[2]) if ended[2] is not None else None)
        elif output := _OUTPUT.match(said):
            self._output[number].append(plain(output[1]))
        elif layer := _LAYER.match(said):
            self._layer(*layer.groups())

    def _unnumbered(self, line: str) -> None:
        """What came after a carriage return, or the end of it all."""
        if line.startswith("---"):
            self._last = ""
        elif line.strip():
            self._rest.append(line)
            if self._last:
                self._output[self._last].append(line)

    def _begin(self, number: str, said: str) -> None:
        self._names[number] = said
        self._output[number] = deque(maxlen=failures.TAIL)
        self._steps[number] = found = self._instruction(said)
        if found and _STEP.match(said):
            self._tasks.begin(number, found.title)
        elif said.startswith(_EXPORT):
            self._tasks.begin(number, "Storing the image")

    def _instruction(self, said: str) -> Instruction | None:
        if step := _STEP.match(said):
            stage = (step["names"] or "").split(" ")[-2:-1]
            return in_stage(self._found, "".join(stage), int(step["place"]))
        named = _FOR_A_STEP.match(said)
        return next((i for i in self._found if named and named[1] in i.text), None)

    def _layer(self, name: str, done: str, unit: str, total: str, total_unit: str) -> None:
        size = round(float(total) * _UNITS[total_unit])
        self._tasks.moved("Pulling", name, round(float(done) * _UNITS[unit]), size)
        if (done, unit) == (total, total_unit):
            self._tasks.end(f"Pulling {name}")

    def failure(self) -> EngineError:
        """The error for a build that failed."""
        rest = list(self._rest)
        if self._failed is None:
            return failures.step_failed(None, self._dockerfile, "".join(rest[-1:]), rest[:-1])
        number, message = self._failed
        # The last words may say more than the step's own.
        said = next((line for line in reversed(rest) if message in line), message)
        return failures.step_failed(self._steps[number], self._dockerfile, said, self._output[number])


def command(daemon: Daemon) -> list[str | Path] | None:
    """The beginning of the command that builds with BuildKit; ``None`` where there is no BuildKit, or no
    command line that speaks to it.
    """
    program = process.find("docker")
    if program is None or not daemon.has_buildkit:
        return None
    version = _VERSION.match(process.run([program, "--version"]).stdout.decode("utf-8", "replace"))
    if version is None:  # podman's, by that name
        return None
    if process.run([program, "buildx", "version"]).returncode == 0:
        return [program, "buildx", "build", "--builder", daemon.builder, "--load"]
    return [program, "build"] if int(version[1]) < _BUILT_IN_BEFORE else None


def build(
    command: Sequence[str | Path],
    daemon: Daemon,
    folder: Path,
    tag: str,
    progress: Progress,
    *,
    epoch: int,
    platform: str | None,
    network: str | None,
) -> None:
    """Build the Dockerfile in ``folder`` as the image ``tag`` with :func:`command`.

    ``epoch`` (seconds) is the image's date where BuildKit is new enough (0.11). Raises
    :class:`EngineError`. Ending early ends the build.
    """
    dockerfile = folder / "Dockerfile"
    options = ["--progress", "plain", "--tag", tag, "--file", str(dockerfile)]
    options += ["--network", network] if network else []
    options += ["--platform", platform] if platform else []
    environment = {
        **daemon.environment(os.environ),
        "DOCKER_BUILDKIT": "1",
        "SOURCE_DATE_EPOCH": str(epoch),  # buildx hands it on
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",  # they would make an index of the image
    }
    with Tasks(progress) as tasks:
        lines = Lines(read(dockerfile), dockerfile, tasks)
        if process.follow([*command, *options, folder], lines.add, env=environment):
            raise lines.failure()
