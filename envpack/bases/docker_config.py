"""Logins kept by ``docker login``: ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``.

    {"auths": {"registry.example.org": {"auth": "BASE64(user:password)", "identitytoken": "…"}},
     "credHelpers": {"gcr.io": "gcloud"},     one registry's helper
     "credsStore": "secretservice"}           everybody else's

A helper is the program ``docker-credential-NAME``; ``get`` takes the registry on stdin and answers
``{"ServerURL": …, "Username": …, "Secret": …}`` (docker-credential-helpers' protocol). The user name
``<token>`` marks the secret as an identity token.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envpack import process
from envpack.errors import ConfigError, ProgramError
from envpack.image import DEFAULT_REGISTRY

_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = {DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"}
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True)
class Login:
    """A user name with password, or an identity token (an OAuth 2 refresh token). Not shown when printed."""

    username: str
    password: str = field(repr=False)
    identity_token: str | None = field(default=None, repr=False)


def login(registry: str, environ: Mapping[str, str]) -> Login | None:
    """The login for ``registry`` (``docker.io`` for Docker Hub), if docker knows one.

    Raises :class:`ConfigError` for a file that cannot be read, :class:`ProgramError` for a helper that
    cannot be started.
    """
    folder = environ.get("DOCKER_CONFIG")
    home = environ.get("HOME")
    path = (Path(folder) if folder else Path(home or Path.home()) / ".docker") / "config.json"
    data = _read(path)
    helpers = _table(data, "credHelpers", path)
    for server, name in helpers.items():
        if _host(server) == registry:
            return _ask(name, server, path)
    for server, entry in _table(data, "auths", path).items():
        if _host(server) == registry and isinstance(entry, dict) and (found := _entry(entry, server, path)):
            return found
    if store := data.get("credsStore"):
        return _ask(store, _HUB if registry == DEFAULT_REGISTRY else registry, path)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}", why=str(error)) from error
    except (ValueError, RecursionError):  # the parser's words may quote the file, which holds secrets
        raise ConfigError(f"{path} is not valid JSON", hint="Run `docker login` again.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is not a docker configuration")
    return data


def _table(data: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigError(f"{key} in {path} is not a table")
    return value


def _host(server: str) -> str:
    """The registry that a key of the file is about; Docker Hub's is a URL of version 1 of its protocol."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0].lower()
    return DEFAULT_REGISTRY if host in _HUB_NAMES else host


def _entry(entry: dict[str, Any], server: str, path: Path) -> Login | None:
    token = entry.get("identitytoken")
    username, password = entry.get("username"), entry.get("password")
    if auth := entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError):
            colon = ""
        if not colon:
            raise ConfigError(
                f"the login for {server} in {path} is broken", hint=f"Run `docker login {server}` again."
            )
    if not token and not (username and password):
        return None  # an empty entry only says that a helper has it
    return Login(str(username or ""), str(password or "").rstrip("\0"), str(token) if token else None)


def _ask(helper: object, server: str, path: Path) -> Login | None:
    if not isinstance(helper, str) or not _HELPER.match(helper):
        raise ConfigError(f"{path} names a credential helper that cannot be one: {helper!r}")
    program = f"docker-credential-{helper}"
    answer = process.run([program, "get"], input=server.encode(), timeout=60)
    if answer.returncode != 0:
        if b"credentials not found" in answer.stdout + answer.stderr:
            return None
        raise ProgramError(
            f"{program} gave no login for {server}", why=_text(answer.stderr or answer.stdout) or None
        )
    try:
        data = json.loads(answer.stdout)
        username, secret = data["Username"], data["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ProgramError(f"{program} gave an answer that is no login") from None
    if username == "<token>":
        return Login("", "", str(secret))
    return Login(str(username), str(secret))


def _text(output: bytes) -> str:
    return "".join(c if c.isprintable() else " " for c in output.decode("utf-8", "replace")).strip()[:200]
