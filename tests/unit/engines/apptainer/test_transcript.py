"""Progress from what the program says."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

import pytest

from envpack.engines.apptainer.transcript import Transcript
from envpack.progress import Quiet, Task, Unit
from tests.unit.engines.apptainer.said import WHOLE


@dataclass
class Steps(Quiet):
    """Remembers: ``+`` begins a step, ``-`` ends one, ``!`` ends it in an exception."""

    said: list[str] = field(default_factory=list)

    def step(self, title: str, total: int | None = None, unit: Unit = "items") -> Task:
        self.said.append(f"+ {title}")
        return Step(self)

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Step:
    steps: Steps

    def advance(self, amount: int = 1) -> None: ...

    def __enter__(self) -> Step:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.steps.said.append("!" if kind else "-")


def test_steps_of_a_whole_build() -> None:
    steps = Steps()
    with Transcript(steps) as transcript:
        for line in WHOLE.splitlines():
            transcript.line(line)
    begun = [said.removeprefix("+ ") for said in steps.said if said.startswith("+")]
    assert begun[:5] == [
        "Fetching the base image",
        "Unpacking the base image",
        "Copying conda-linux-64.lock",
        "Running %post",
        "%post: command -v curl",
    ]
    assert begun[-6:] == [
        "%post: /opt/env/bin/python -I -S -m compileall -q -q -f -j 0 --invalida…",
        "Fetching the base image",
        "Unpacking the base image",
        "Copying /opt/env",
        "Running %test",
        "Writing the image",
    ]
    assert steps.said.count("-") == len(begun)
    assert any(said.startswith("Skipping mount") for said in steps.said)


def test_the_last_step_ends_with_the_error() -> None:
    steps = Steps()

    def interrupted() -> None:
        with Transcript(steps) as transcript:
            transcript.line("INFO:    Creating sandbox directory...")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps.said == ["+ Writing the sandbox", "!"]


def test_many_lines_of_one_step() -> None:
    """As of programs that copy blobs, a line for each."""
    steps = Steps()
    with Transcript(steps) as transcript:
        for line in ("Getting image source signatures", "Copying blob sha256:1", "Copying blob sha256:2"):
            transcript.line(line)
    assert steps.said == ["+ Fetching the base image", "-"]
