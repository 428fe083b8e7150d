"""Logins that docker keeps: in its file, or with a credential helper."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from envpack.bases.docker_config import Login, login
from envpack.errors import ConfigError, ProgramError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(tmp_path)}


def write(environ: dict[str, str], content: object) -> None:
    Path(environ["DOCKER_CONFIG"], "config.json").write_text(json.dumps(content))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_no_file(environ: dict[str, str]) -> None:
    assert login("docker.io", environ) is None


def test_the_file_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(
        json.dumps({"auths": {"r.org": {"auth": encoded("a:b")}}})
    )
    assert login("r.org", {"HOME": str(tmp_path)}) == Login("a", "b")


@pytest.mark.parametrize(
    "key", ["r.org:5000", "https://r.org:5000", "https://r.org:5000/v1/", "http://R.ORG:5000/v2/"]
)
def test_all_forms_of_a_key(environ: dict[str, str], key: str) -> None:
    write(environ, {"auths": {"r.org": {"auth": encoded("no:no")}, key: {"auth": encoded("me:p:w")}}})
    assert login("r.org:5000", environ) == Login("me", "p:w")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
def test_docker_hub(environ: dict[str, str], key: str) -> None:
    write(environ, {"auths": {key: {"auth": encoded("me:pw")}}})
    assert login("docker.io", environ) == Login("me", "pw")
    assert login("quay.io", environ) is None


def test_other_forms_of_an_entry(environ: dict[str, str]) -> None:
    write(
        environ,
        {
            "auths": {
                "plain.org": {"username": "me", "password": "pw"},
                "token.org": {
                    "auth": encoded("00000000-0000-0000-0000-000000000000:"),
                    "identitytoken": "tok",
                },
                "empty.org": {},
            }
        },
    )
    assert login("plain.org", environ) == Login("me", "pw")
    found = login("token.org", environ)
    assert found is not None
    assert found.identity_token == "tok"
    assert login("empty.org", environ) is None


def test_a_login_is_not_printed() -> None:
    assert "hush" not in repr(Login("me", "hush", "hush"))


@pytest.mark.parametrize("content", ["{", "", "[]", '"x"', "\x00", "[" * 100_000])
def test_a_broken_file(environ: dict[str, str], content: str) -> None:
    path = Path(environ["DOCKER_CONFIG"], "config.json")
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        login("r.org", environ)


@pytest.mark.parametrize("auth", ["!!", encoded("no colon"), 7, [1], "/w=="])
def test_a_broken_entry(environ: dict[str, str], auth: object) -> None:
    write(environ, {"auths": {"r.org": {"auth": auth}}})
    with pytest.raises(ConfigError, match=r"the login for r\.org .* is broken") as caught:
        login("r.org", environ)
    assert caught.value.hint == "Run `docker login r.org` again."


@pytest.mark.parametrize("content", [{"auths": [1]}, {"credHelpers": "x"}])
def test_tables_that_are_none(environ: dict[str, str], content: object) -> None:
    write(environ, content)
    with pytest.raises(ConfigError, match="is not a table"):
        login("r.org", environ)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper on PATH that answers what the file ``answer`` beside it holds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(
        f'#!/bin/sh\nread -r server; echo "$1 $server" >> {folder}/asked\ncat {folder}/answer\n'
        f"exit $(cat {folder}/code 2>/dev/null || echo 0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_a_helper_for_everybody(environ: dict[str, str], helper: Path) -> None:
    write(environ, {"auths": {"r.org": {}}, "credsStore": "test"})
    (helper / "answer").write_text(json.dumps({"ServerURL": "r.org", "Username": "me", "Secret": "pw"}))
    assert login("r.org", environ) == Login("me", "pw")
    assert login("docker.io", environ) == Login("me", "pw")
    assert (helper / "asked").read_text() == "get r.org\nget https://index.docker.io/v1/\n"


def test_a_helper_for_one_registry(environ: dict[str, str], helper: Path) -> None:
    write(environ, {"credHelpers": {"r.org": "test"}})
    (helper / "answer").write_text(json.dumps({"Username": "<token>", "Secret": "tok"}))
    found = login("r.org", environ)
    assert found is not None
    assert found.identity_token == "tok"
    assert login("other.org", environ) is None


def test_a_helper_without_a_login(environ: dict[str, str], helper: Path) -> None:
    write(environ, {"credsStore": "test"})
    (helper / "answer").write_text("credentials not found in native keychain\n")
    (helper / "code").write_text("1")
    assert login("r.org", environ) is None


def test_a_helper_that_fails(environ: dict[str, str], helper: Path) -> None:
    write(environ, {"credsStore": "test"})
    (helper / "answer").write_text("the keychain\x1b[31m is locked\n")
    (helper / "code").write_text("1")
    with pytest.raises(ProgramError, match="gave no login") as caught:
        login("r.org", environ)
    assert caught.value.why == "the keychain [31m is locked"


@pytest.mark.parametrize("answer", ["", "[]", "{}", "null"])
def test_a_helper_that_talks_nonsense(environ: dict[str, str], helper: Path, answer: str) -> None:
    write(environ, {"credsStore": "test"})
    (helper / "answer").write_text(answer)
    with pytest.raises(ProgramError, match="no login"):
        login("r.org", environ)


def test_a_helper_that_is_not_there(environ: dict[str, str]) -> None:
    write(environ, {"credsStore": "absent"})
    with pytest.raises(ProgramError, match="cannot start docker-credential-absent"):
        login("r.org", environ)


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "", 3, "-x"])
def test_a_helper_that_cannot_be_one(environ: dict[str, str], name: object) -> None:
    write(environ, {"credHelpers": {"r.org": name}})
    with pytest.raises(ConfigError, match="cannot be one"):
        login("r.org", environ)
