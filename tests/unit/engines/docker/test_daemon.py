"""What is said when no daemon answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.engines.docker.daemon import connect
from envpack.errors import EngineError


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: those of sockets have at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def dead(short: Path) -> Path:
    """A socket at which nobody listens."""
    path = short / "docker.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
    return path


@pytest.mark.parametrize("kind", ["absent", "dead", "closed port", "no host", "no daemon", "nonsense"])
def test_nobody_answers(kind: str, dead: Path, request: pytest.FixtureRequest) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, why = {
        "absent": ("unix:///nowhere/docker.sock", "No such file or directory"),
        "dead": (f"unix://{dead}", "Connection refused"),
        "closed port": (f"tcp://127.0.0.1:{port}", "Connection refused"),
        "no host": ("tcp://me:s3cret@nohost.invalid:2375", ""),
        "no daemon": ("", "404"),
        "nonsense": ("foo://s3cret@nonsense", "Invalid bind address protocol"),
    }[kind]
    if kind == "no daemon":
        address = request.getfixturevalue("server").url.replace("http://", "tcp://")
    with pytest.raises(EngineError, match="no Docker daemon answers at") as caught:
        connect({"DOCKER_HOST": address})
    error = caught.value
    assert "s3cret" not in str(error)
    assert address.rpartition("@")[2].rpartition("//")[2].partition("/")[0] in error.what
    assert why in str(error.why)
    assert "DOCKER_HOST names it" in str(error.why)
    for way in ("Start", "DOCKER_HOST", "native engine", "--engine apptainer"):
        assert way in str(error.hint)


CONNECT = """\
import os, sys
if os.geteuid() == 0:
    from envpack.engines.docker import daemon
    import docker, requests  # while they can be read
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
from envpack.engines.docker.daemon import connect
from envpack.errors import EngineError
try:
    connect(os.environ)
except EngineError as error:
    print(error)
"""


def test_no_permission(dead: Path) -> None:
    dead.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", CONNECT],
        env={**os.environ, "DOCKER_HOST": f"unix://{dead}"},
        cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(f"you may not use the Docker daemon at unix://{dead}\nPermission denied")
    assert "group docker" in done.stdout


def test_ssh_without_paramiko() -> None:
    try:
        import paramiko  # type: ignore[import-untyped]  # noqa: F401  ships no types
    except ImportError:
        with pytest.raises(EngineError, match="cannot reach") as caught:
            connect({"DOCKER_HOST": "ssh://nohost.invalid"})
        assert "docker[ssh]" in str(caught.value.hint)
    else:
        pytest.skip("paramiko is installed")
