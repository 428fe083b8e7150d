"""Where the daemon is said to be, and what is said when none is there."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.engines.docker.daemon import connect, find
from envpack.errors import EngineError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration, with a context ``far``."""
    folder = tmp_path / "config"
    about = folder / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
    about.mkdir(parents=True)
    endpoint = {"Host": "unix:///far.sock", "SkipTLSVerify": False}
    (about / "meta.json").write_text(
        json.dumps({"Name": "far", "Metadata": {}, "Endpoints": {"docker": endpoint}})
    )
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def test_the_usual_socket(config: Path) -> None:
    place = find({})
    assert place.address == "unix:///var/run/docker.sock"
    assert place.context is None
    assert find({"DOCKER_CONTEXT": "default", "DOCKER_HOST": ""}) == place


def test_the_variable_comes_before_contexts(config: Path) -> None:
    place = find({"DOCKER_HOST": "tcp://example.org:2375", "DOCKER_CONTEXT": "far"})
    assert (place.address, place.context, place.tls) == ("tcp://example.org:2375", None, None)


@pytest.mark.parametrize("by", ["DOCKER_CONTEXT", "config.json"])
def test_contexts(by: str, config: Path) -> None:
    if by == "config.json":
        (config / by).write_text('{"currentContext": "far"}')
    place = find({by: "far"})
    assert (place.address, place.context) == ("unix:///far.sock", "far")
    assert by in place.because


def test_contexts_that_are_not_there_or_damaged(config: Path) -> None:
    with pytest.raises(EngineError, match="no docker context 'near'") as caught:
        find({"DOCKER_CONTEXT": "near"})
    assert "docker context use" in str(caught.value.hint)
    [path] = config.rglob("meta.json")
    path.write_text("{")
    with pytest.raises(EngineError, match="cannot read the docker context 'far'"):
        find({"DOCKER_CONTEXT": "far"})


def test_tls_without_certificates(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://e.org:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(EngineError, match="cannot use TLS") as caught:
        find(environ)
    assert "ca.pem" in str(caught.value.hint)


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
