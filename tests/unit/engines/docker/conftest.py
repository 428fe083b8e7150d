"""A progress display that remembers, and a Dockerfile whose builds were recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envpack.engines.docker.tasks import Tasks

# Built with Docker 20.10 by both builders; their words are in the tests.
DOCKERFILE = """\
# The environment demo: 2 packages.

FROM 127.0.0.1:5000/library/ubuntu:20.04 AS build

ADD http://127.0.0.1:8000/miniforge.sh /opt/build/miniforge.sh
# The installer is run only if its bytes are the expected ones.
RUN sha256sum -c /opt/build/miniforge.sh.sha256 \\
    # and then
 && bash /opt/build/miniforge.sh -b -p /opt/conda

FROM 127.0.0.1:5000/library/ubuntu:20.04
COPY --from=build /opt/env /opt/env
ENV PATH=/opt/env/bin:$PATH \\
    CONDA_PREFIX="/opt/env"
CMD ["/opt/env/bin/python"]
"""


@dataclass
class Step:
    title: str
    total: int | None
    unit: str
    done: int = 0
    ended: str = ""

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def __enter__(self) -> Step:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.ended = "stopped" if kind else "done"


@dataclass
class Recorded:
    """Steps in the order in which they began, and notes."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step(self, title: str, total: int | None = None, unit: str = "items") -> Step:
        self.steps.append(Step(title, total, unit))
        return self.steps[-1]

    def note(self, text: str) -> None:
        self.notes.append(text)

    def titles(self) -> list[str]:
        return [step.title for step in self.steps]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def tasks(recorded: Recorded) -> Tasks:
    return Tasks(recorded)


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE)
    return path
