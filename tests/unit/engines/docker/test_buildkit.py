"""Following BuildKit's plain output, and which command line can use it.

The output is that of Docker 20.10's command line, shortened; where newer ones differ, it says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envpack.engines.docker import buildkit
from envpack.engines.docker.buildkit import Lines
from envpack.engines.docker.daemon import Daemon
from envpack.engines.docker.dockerfile import read
from envpack.engines.docker.place import Place
from envpack.engines.docker.tasks import Tasks
from envpack.errors import EngineError
from tests.unit.engines.docker.conftest import Recorded

BEGUN = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:7d63fe873fd1d262ee2b7949f588801b2a871a9e12b51948fd53ba9224307d31
#1 transferring dockerfile: 3.57kB done
#1 DONE 0.0s

#3 [internal] load metadata for 127.0.0.1:5000/library/ubuntu:20.04
#3 DONE 0.0s

#4 [build 1/3] FROM 127.0.0.1:5000/library/ubuntu:20.04
#4 sha256:4a63ed106ea02cb7222b91ad47a5e292c14008fd16ab10399254f2332d0fb5da
#4 sha256:44abb0e2af83aa 0B / 20.41MB 0.1s
#4 sha256:44abb0e2af83aa 5.24MB / 20.41MB 0.2s
#4 sha256:44abb0e2af83aa 20.41MB / 20.41MB 0.3s done
#4 extracting sha256:44abb0e2af83aa
#4 DONE 0.9s

#5 http://127.0.0.1:8000/miniforge.sh
#5 DONE 0.0s

#6 [build 2/3] ADD http://127.0.0.1:8000/miniforge.sh /opt/build/miniforge.sh
#6 CACHED

#7 [build 3/3] RUN sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt/build/miniforge.sh
#7 0.187 /opt/build/miniforge.sh: OK
"""
REST = """\
#7 DONE 1.3s

#8 [stage-1 2/2] COPY --from=build /opt/env /opt/env
#8 DONE 0.4s

#9 exporting to image
#9 exporting layers 0.4s done
#9 writing image sha256:bf45f9868f95caa4fd7d5df0b90b7fa711b85a9edd703c6a33c875540ce3052f done
#9 DONE 0.4s
"""
FAILED = """\
#7 1.946 ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
#7 1.950   0     0
    0   100
#7 ERROR: executor failed running [/bin/sh -c sha256sum]: exit code: 1
------
 > [build 3/3] RUN sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt/build/miniforge.sh:
------
executor failed running [/bin/sh -c sha256sum]: exit code: 1
"""
# As buildx ends since 0.10.
FAILED_NEWLY = """\
#7 1.946 sha256sum: WARNING: 1 computed checksum did NOT match
#7 ERROR: process "/bin/sh -c sha256sum" did not complete successfully: exit code: 1
------
 > [build 3/3] RUN sha256sum:
1.946 sha256sum: WARNING: 1 computed checksum did NOT match
------
Dockerfile:7
--------------------
   6 |     # The installer
   7 | >>> RUN sha256sum -c
--------------------
ERROR: failed to solve: process "/bin/sh -c sha256sum" did not complete successfully: exit code: 1
"""


def failure(text: str, dockerfile: Path, tasks: Tasks) -> EngineError:
    lines = Lines(read(dockerfile), dockerfile, tasks)
    with tasks:
        for line in text.splitlines():
            lines.add(line)
    return lines.failure()


def test_steps_and_layers(dockerfile: Path, tasks: Tasks, recorded: Recorded) -> None:
    failure(BEGUN + REST, dockerfile, tasks)
    assert recorded.titles() == [
        "Step 1/7: FROM 127.0.0.1:5000/library/ubuntu:20.04 AS build",
        "Pulling layer 44abb0e2af83",
        "Step 2/7: ADD http://127.0.0.1:8000/miniforge.sh /opt/build/miniforge. …",
        "Step 3/7: RUN sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt …",
        "Step 5/7: COPY --from=build /opt/env /opt/env",
        "Storing the image",
    ]
    assert [(s.total, s.done, s.unit) for s in recorded.steps if s.total] == [(20410000, 20410000, "bytes")]
    assert {s.ended for s in recorded.steps} == {"done"}


@pytest.mark.parametrize("output", [FAILED, FAILED_NEWLY], ids=["20.10", "buildx"])
def test_a_failed_step(output: str, dockerfile: Path, tasks: Tasks, recorded: Recorded) -> None:
    error = failure(BEGUN + output, dockerfile, tasks)
    assert error.what.startswith("Docker failed in step 3 of 7 of the recipe: RUN sha256sum -c")
    assert str(error.where) == f"{dockerfile}:7"
    said = str(error.why).splitlines()
    assert said[0] == "/opt/build/miniforge.sh: OK"
    assert said[-1] == "exit code 1"
    assert not any(line.startswith(("#", "---", " > ", "executor", "ERROR: failed")) for line in said)
    assert "not what the lock names" in str(error.hint)
    assert recorded.steps[-1].ended == "stopped"


def test_what_follows_a_carriage_return_belongs_to_the_step(dockerfile: Path, tasks: Tasks) -> None:
    assert "    0   100" in str(failure(BEGUN + FAILED, dockerfile, tasks).why).splitlines()


@pytest.mark.parametrize(
    ("output", "line", "hint"),
    [
        (
            "#3 [internal] load metadata for 127.0.0.1:5000/library/ubuntu:20.04\n"
            "#3 ERROR: 127.0.0.1:5000/library/ubuntu:20.04: not found\n"
            "------\n > [internal] load metadata for 127.0.0.1:5000/library/ubuntu:20.04:\n------\n"
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
            "127.0.0.1:5000/library/ubuntu:20.04: not found\n",
            3,
            "no such image",
        ),
        (
            "#6 http://127.0.0.1:8000/miniforge.sh\n"
            '#6 ERROR: Get "http://127.0.0.1:8000/miniforge.sh": dial tcp 127.0.0.1:8000: connect: '
            "connection refused\n------\n > http://127.0.0.1:8000/miniforge.sh:\n------\n"
            'failed to load cache key: Get "http://127.0.0.1:8000/miniforge.sh": dial tcp 127.0.0.1:8000: '
            "connect: connection refused\n",
            5,
            "does not reach",
        ),
        (
            "#8 [stage-1 2/2] COPY --from=build /opt/env /opt/env\n"
            '#8 ERROR: "/opt/env" not found: not found\n'
            "------\n > [stage-1 2/2] COPY --from=build /opt/env /opt/env:\n------\n"
            'failed to compute cache key: "/opt/env" not found: not found\n',
            12,
            "lacks a file",
        ),
        (
            "#9 exporting to image\n#9 ERROR: write /var/lib/docker/x: no space left on device\n------\n",
            None,
            "docker system prune",
        ),
        ("error during connect: cannot connect\nERROR: connection refused\n", None, "does not reach"),
    ],
)  # fmt: skip
def test_other_failures(output: str, line: int | None, hint: str, dockerfile: Path, tasks: Tasks) -> None:
    error = failure(output, dockerfile, tasks)
    assert error.where is not None
    assert error.where.line == line
    assert hint in str(error.hint)


def daemon(has_buildkit: bool = True, context: str | None = None) -> Daemon:
    return Daemon(Place("unix:///nowhere", "of the test", None, context), None, "amd64", has_buildkit)


@pytest.mark.parametrize(
    ("version", "buildx", "expected"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128", False, ["build"]),
        ("Docker version 19.03.15, build 99e3ed8919", False, ["build"]),
        ("Docker version 28.2.2, build e6534b4", False, None),
        ("Docker version 28.2.2, build e6534b4", True, ["buildx", "build", "--builder", "default", "--load"]),
        (
            "Docker version 20.10.24, build 297e128",
            True,
            ["buildx", "build", "--builder", "default", "--load"],
        ),
        ("podman version 4.3.1", True, None),
    ],
)
def test_which_command_line_can(
    version: str, buildx: bool, expected: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker"  # a stand-in that knows its version, and whether it has buildx
    code = 0 if buildx else 1
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    assert buildkit.command(daemon()) == ([program, *expected] if expected else None)
    assert buildkit.command(daemon(has_buildkit=False)) is None


def test_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert buildkit.command(daemon()) is None


def test_it_talks_to_the_same_daemon() -> None:
    environ = {"DOCKER_HOST": "unix:///nowhere", "PATH": "/bin"}
    assert daemon().environment(environ) == environ
    assert daemon().builder == "default"
    other = daemon(context="far")
    assert other.environment(environ) == {"DOCKER_CONTEXT": "far", "PATH": "/bin"}
    assert other.builder == "far"
