"""Where the daemon is said to be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from envpack.engines.docker.place import Place, find
from envpack.errors import EngineError

FAR = hashlib.sha256(b"far").hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Docker's configuration, with a context ``far`` as ``docker context create`` writes it."""
    folder = tmp_path / ".docker"
    about = folder / "contexts" / "meta" / FAR
    about.mkdir(parents=True)
    endpoint = {"Host": "tcp://far.example.org:2376", "SkipTLSVerify": False}
    (about / "meta.json").write_text(
        json.dumps({"Name": "far", "Metadata": {}, "Endpoints": {"docker": endpoint}})
    )
    return folder


def certificates(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("ca", "cert", "key"):
        (folder / f"{name}.pem").write_text("")
    return folder


def test_the_usual_socket(config: Path) -> None:
    place = find({"DOCKER_CONFIG": str(config)})
    assert (place.address, place.context) == ("unix:///var/run/docker.sock", None)
    others = {"DOCKER_CONTEXT": "default", "DOCKER_HOST": "", "HOME": "/nowhere"}
    assert find(others) == place


def test_the_variable_comes_before_contexts(config: Path) -> None:
    place = find({"DOCKER_HOST": "tcp://e.org:2375", "DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(config)})
    assert place == Place("tcp://e.org:2375", "the variable DOCKER_HOST names it")


@pytest.mark.parametrize("by", ["DOCKER_CONTEXT", "config.json"])
@pytest.mark.parametrize("where", ["DOCKER_CONFIG", "HOME"])
def test_contexts(by: str, where: str, config: Path) -> None:
    if by == "config.json":
        (config / by).write_text('{"currentContext": "far"}')
    place = find({by: "far", where: str(config if where == "DOCKER_CONFIG" else config.parent)})
    assert (place.address, place.context, place.tls) == ("tcp://far.example.org:2376", "far", None)
    assert by in place.because


def test_tls_of_a_context(config: Path) -> None:
    folder = certificates(config / "contexts" / "tls" / FAR / "docker")
    tls = find({"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(config)}).tls
    assert tls.cert == (str(folder / "cert.pem"), str(folder / "key.pem"))
    assert (tls.ca_cert, tls.verify) == (str(folder / "ca.pem"), True)


@pytest.mark.parametrize("verify", ["1", ""])
def test_tls_by_variables(verify: str, tmp_path: Path) -> None:
    folder = certificates(tmp_path / "certificates")
    environ = {
        "DOCKER_HOST": "tcp://e.org:2376",
        "DOCKER_TLS_VERIFY": verify,
        "DOCKER_CERT_PATH": str(folder),
    }
    tls = find(environ).tls
    assert tls.cert == (str(folder / "cert.pem"), str(folder / "key.pem"))
    assert tls.verify == bool(verify)
    (folder / "key.pem").unlink()
    with pytest.raises(EngineError, match="cannot use TLS for the Docker daemon at tcp://e") as caught:
        find(environ)
    assert caught.value.why == f"{folder} has no key.pem"


def test_contexts_that_are_not_there_or_damaged(config: Path) -> None:
    with pytest.raises(EngineError, match="no docker context 'near'") as caught:
        find({"DOCKER_CONTEXT": "near", "DOCKER_CONFIG": str(config)})
    assert "docker context use" in str(caught.value.hint)
    [path] = config.rglob("meta.json")
    for text in ("{", "[]", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(EngineError, match=r"meta\.json is damaged"):
            find({"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(config)})
    for text in ("{}", '{"Endpoints": []}', '{"Endpoints": {"docker": {"Host": 1}}}'):
        path.write_text(text)
        with pytest.raises(EngineError, match="no docker context 'far'"):
            find({"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(config)})
