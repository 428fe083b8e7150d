"""Following the classic builder: messages as Docker 20.10 sent them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envpack.engines.docker.classic import Messages
from envpack.engines.docker.dockerfile import read
from envpack.engines.docker.tasks import Tasks
from envpack.errors import EngineError
from tests.unit.engines.docker.conftest import Recorded

LAYER = "44abb0e2af83"
PULL: list[dict[str, Any]] = [
    {"status": "Pulling from library/ubuntu", "id": "127.0.0.1:5000/library/ubuntu:20.04"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": LAYER},
    {"status": "Downloading", "progressDetail": {"current": 204800, "total": 20409430}, "id": LAYER},
    {"status": "Downloading", "progressDetail": {"current": 20409430, "total": 20409430}, "id": LAYER},
    {"status": "Verifying Checksum", "progressDetail": {}, "id": LAYER},
    {"status": "Download complete", "progressDetail": {}, "id": LAYER},
    {"status": "Extracting", "progressDetail": {"current": 229376, "total": 20409430}, "id": LAYER},
    {"status": "Extracting", "progressDetail": {"current": 20409430, "total": 20409430}, "id": LAYER},
    {"status": "Pull complete", "progressDetail": {}, "id": LAYER},
    {"status": "Digest: sha256:48cc3111a5b80d0ad0329ef41e8a673bdabb032c777c1ac2ad74b3436342a81e"},
    {"stream": " ---> 5eaa5c26d891\n"},
]


def step(number: int, text: str) -> list[dict[str, Any]]:
    return [{"stream": f"Step {number}/7 : {text}"}, {"stream": "\n"}]


STARTED: list[dict[str, Any]] = [
    *step(1, "FROM 127.0.0.1:5000/library/ubuntu:20.04 AS build"),
    *PULL,
    *step(2, "ADD http://127.0.0.1:8000/miniforge.sh /opt/build/miniforge.sh"),
    {"stream": "\n"},
    {"stream": " ---> 5c72346477d8\n"},
    *step(3, "RUN sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt/build/miniforge.sh"),
    {"stream": " ---> Running in 48d8753678c0\n"},
]


def fed(messages: list[dict[str, Any]], dockerfile: Path, tasks: Tasks) -> None:
    follower = Messages(read(dockerfile), dockerfile, tasks)
    with tasks:
        for message in messages:
            follower.add(message)


def test_steps_and_layers(dockerfile: Path, tasks: Tasks, recorded: Recorded) -> None:
    fed([*STARTED, {"aux": {"ID": "sha256:77"}}, *step(4, "FROM x"), *step(5, "COPY x")], dockerfile, tasks)
    assert [(s.title.partition(" ")[0], s.total, s.done, s.unit, s.ended) for s in recorded.steps] == [
        ("Step", None, 0, "items", "done"),
        ("Pulling", 20409430, 20409430, "bytes", "done"),
        ("Unpacking", 20409430, 20409430, "bytes", "done"),
        *[("Step", None, 0, "items", "done")] * 4,
    ]
    assert recorded.titles()[1] == f"Pulling layer {LAYER}"
    assert recorded.titles()[-1] == "Step 5/7: COPY --from=build /opt/env /opt/env"


def test_a_failure_is_told_with_its_step_its_place_and_its_last_lines(
    dockerfile: Path, tasks: Tasks, recorded: Recorded
) -> None:
    lines = "".join(f"line {n}\n" for n in range(30))
    messages: list[dict[str, Any]] = [
        *STARTED,
        {"stream": lines},
        {"stream": "Step 1/2 : of something else\n"},
        {"stream": "\u001b[91m  % Total\n   Dload \u001b[0m"},
        {"stream": "\u001b[91mSpeed\n\r  0 \u001b[0m"},
        {"stream": "\u001b[91m    0    0\u001b[0m"},
        {"stream": "\u001b[91mcurl: (6) Could not resolve host: nohost.invalid\n\u001b[0m"},
        {"stream": "Removing intermediate container 48d8753678c0\n"},
        {
            "errorDetail": {"code": 6},
            "error": "The command '/bin/sh -c sha256sum -c …' returned a non-zero code: 6",
        },
    ]
    with pytest.raises(EngineError) as caught:
        fed(messages, dockerfile, tasks)
    error = caught.value
    assert error.what.startswith("Docker failed in step 3 of 7 of the recipe: RUN sha256sum -c")
    assert str(error.where) == f"{dockerfile}:7"
    assert error.why is not None
    assert error.why.splitlines()[-5:] == [
        "Step 1/2 : of something else",
        "  % Total",
        "   Dload Speed",
        "  0     0    0curl: (6) Could not resolve host: nohost.invalid",
        "exit code 6",
    ]
    assert "line 29" in error.why
    assert "line 5\n" not in error.why
    assert error.hint is not None
    assert "network" in error.hint
    assert recorded.steps[-1].ended == "stopped"


def test_what_was_not_ended_by_a_line_break_is_told_too(dockerfile: Path, tasks: Tasks) -> None:
    messages: list[dict[str, Any]] = [
        *STARTED,
        {"stream": "no line break"},
        {"error": "it returned a non-zero code: 1"},
    ]
    with pytest.raises(EngineError) as caught:
        fed(messages, dockerfile, tasks)
    assert caught.value.why == "no line break\nexit code 1"


def test_a_failure_before_the_first_step(dockerfile: Path, tasks: Tasks) -> None:
    with pytest.raises(EngineError, match="Docker cannot build the recipe") as caught:
        fed([{"error": "dockerfile parse error on line 1: unknown instruction: FORM"}], dockerfile, tasks)
    assert caught.value.hint == f"See all of it with: docker build {dockerfile.parent}"


def test_podman_counts_in_each_stage(dockerfile: Path, tasks: Tasks, recorded: Recorded) -> None:
    said = [
        "[1/2] STEP 1/3: FROM 127.0.0.1:5000/library/ubuntu:20.04 AS build\n",
        "[1/2] STEP 2/3: ADD http://127.0.0.1:8000/miniforge.sh /opt/build/miniforge.sh\n",
        "--> 1d2c3b4a5f6\n",
        "[1/2] STEP 3/3: RUN sha256sum -c\n",
        "[2/2] STEP 1/4: FROM 127.0.0.1:5000/library/ubuntu:20.04\n",
        "[2/2] STEP 2/4: COPY --from=build /opt/env /opt/env\n",
        "cp: no such file\n",
    ]
    messages = [{"stream": text} for text in said]
    error = 'building at STEP "COPY": while running runtime: exit status 1'
    with pytest.raises(EngineError, match="step 5 of 7") as caught:
        fed([*messages, {"error": error}], dockerfile, tasks)
    assert caught.value.why == "cp: no such file\nexit code 1"
    assert len(recorded.steps) == 5
