"""The user's settings: ``~/.config/envpack/config.toml`` and ``ENVPACK_*`` variables.

    cache = "/scratch/me/envpack"
    pins = "/site/envpack/pins.toml"         # instead of envpack/recipes/pins.toml: what recipes download

    [mirrors]          # where a channel is really fetched from; locks keep the channel's own URLs
    "https://conda.anaconda.org/conda-forge" = ["http://127.0.0.1:8765"]

    [registries."docker.io"]        # likewise for base images
    mirror = "http://127.0.0.1:5055"

    [credentials."registry.example.org"]     # by reference only: never a secret in this file
    username = "me"
    password_env = "REGISTRY_PASSWORD"       # or token_env

    [docker]
    network = "host"                # of the commands that a build in Docker runs; default: the daemon's own

``ENVPACK_CONFIG`` names another file, ``ENVPACK_CACHE`` another cache folder.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from envpack.errors import ConfigError, Location, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Credential:
    """How to log in at one host: a user name, and the variable that holds the password or token."""

    username: str | None = None
    password_env: str | None = None
    token_env: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one run. ``mirrors`` maps a channel URL to the URLs tried instead, in order;
    ``registries`` a registry host to the base URL of its mirror; ``credentials`` are by host[:port]; ``pins``
    is a file that replaces ``envpack/recipes/pins.toml``; ``docker_network`` is the network of a build's
    commands in Docker, ``None`` for the daemon's default.
    """

    cache: Path
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    pins: Path | None = None
    docker_network: str | None = None

    def mirrored(self, url: str) -> tuple[str, ...]:
        """The URLs to try for ``url``, in order: the mirrors of the longest channel it is in, or itself."""
        for channel, mirrors in sorted(self.mirrors.items(), key=lambda item: -len(item[0])):
            if url == channel or url.startswith(channel + "/"):
                return tuple(mirror + url[len(channel) :] for mirror in mirrors)
        return (url,)


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration; an absent default file is an empty one.

    Raises :class:`ConfigError` with file and line, or with all settings that are wrong.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("HOME") or Path.home())
    named = env.get("ENVPACK_CONFIG")
    base = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    path = Path(named) if named else base / "envpack" / "config.toml"
    data = _parse(path, required=named is not None)
    reader = _Reader(path)
    config = reader.config(data, env, home)
    reader.finish()
    return config


def _parse(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigError(
                f"there is no configuration file {path}",
                why="the variable ENVPACK_CONFIG names it",
                hint="Set ENVPACK_CONFIG to a file that is there, or unset it.",
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not valid UTF-8"
        raise ConfigError(
            f"cannot read the configuration {path}",
            why=why,
            hint="Correct the file, or name another one with ENVPACK_CONFIG.",
        ) from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        where = Location(str(path), *(int(n) for n in place.groups()) if place else ())
        raise ConfigError(
            "the configuration is not valid TOML",
            where=where,
            why=str(error),
            hint='Settings look like cache = "/scratch/me/envpack", with quotes around texts and URLs.',
        ) from error


class _Reader:
    """Turns parsed TOML into a :class:`Config`, noting everything that is wrong with it."""

    def __init__(self, path: Path) -> None:
        self._where = Location(str(path))
        self._problems: list[Problem] = []

    def finish(self) -> None:
        """Raise what was noted: one problem as itself, several together."""
        if not self._problems:
            return
        if len(self._problems) == 1:
            one = self._problems[0]
            raise ConfigError(one.what, where=one.where, why=one.why, hint=one.hint)
        raise ConfigError(
            f"{len(self._problems)} settings are wrong",
            problems=self._problems,
            hint=f"Change them in {self._where.file}.",
        )

    def config(self, data: dict[str, Any], env: Mapping[str, str], home: Path) -> Config:
        """The settings, with a default for each that is wrong."""
        self._known(data, "", ("cache", "mirrors", "pins", "registries", "credentials", "docker"))
        default = str(Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "envpack")
        cache = env.get("ENVPACK_CACHE") or self._text(data.get("cache", default), "cache") or default
        pins = self._text(data["pins"], "pins") if "pins" in data else ""
        cache, pins = (f"{home}{p[1:]}" if p == "~" or p.startswith("~/") else p for p in (cache, pins))
        mirrors = {}
        for channel, value in self._table(data.get("mirrors", {}), "mirrors").items():
            key = "mirrors" if "@" in channel else f'mirrors."{channel}"'
            urls = [value] if isinstance(value, str) else value
            if not isinstance(urls, list) or not urls:
                self._wrong(f"{key} is not a list of URLs")
                continue
            mirrors[self._url(channel, key)] = tuple(self._url(url, key) for url in urls)
        registries = {}
        for host, value in self._table(data.get("registries", {}), "registries").items():
            key = f'registries."{host}"'
            if self._is_table(value, key):
                self._known(value, key, ("mirror",))
                registries[host] = self._url(value.get("mirror"), f"{key}.mirror")
        credentials = {}
        for host, value in self._table(data.get("credentials", {}), "credentials").items():
            key = f'credentials."{host}"'
            if self._is_table(value, key):
                credentials[host.lower().removesuffix(":443")] = self._credential(value, key)
        given_pins = Path(pins).absolute() if pins else None
        network = self._docker_network(data)
        return Config(Path(cache).absolute(), mirrors, registries, credentials, given_pins, network)

    def _docker_network(self, data: dict[str, Any]) -> str | None:
        docker = self._table(data.get("docker", {}), "docker")
        self._known(docker, "docker", ("network",))
        return self._text(docker["network"], "docker.network") if "network" in docker else None

    def _credential(self, table: dict[str, Any], key: str) -> Credential:
        fields = ("username", "password_env", "token_env")
        self._known(
            table,
            key,
            fields,
            hint="Secrets stay out of this file: name the variable that holds one with password_env or "
            "token_env.",
        )
        given = {k: self._text(table[k], f"{key}.{k}") for k in fields if k in table}
        for name in ("password_env", "token_env"):
            if given.get(name) and not _VARIABLE.match(given[name]):
                # not repeated here: it may well be the secret itself
                self._wrong(f"{key}.{name} is not the name of a variable")
        if ("password_env" in given) == ("token_env" in given):
            self._wrong(f"{key} needs either password_env or token_env")
        elif "password_env" in given and "username" not in given:
            self._wrong(f"{key} needs a username beside password_env")
        return Credential(**given)

    def _known(
        self, table: dict[str, Any], key: str, known: tuple[str, ...], hint: str | None = None
    ) -> None:
        for name in sorted(set(table) - set(known)):
            what = f"{key} has an unknown setting {name!r}" if key else f"unknown setting {name!r}"
            self._wrong(what, hint or f"Known settings: {', '.join(known)}.")

    def _table(self, value: object, key: str) -> dict[str, Any]:
        return value if self._is_table(value, key) else {}

    def _is_table(self, value: object, key: str) -> TypeGuard[dict[str, Any]]:
        if not isinstance(value, dict):
            self._wrong(f"{key} is not a table")
        return isinstance(value, dict)

    def _text(self, value: object, key: str) -> str:
        if isinstance(value, str) and value:
            return value
        self._wrong(f"{key} is not a text")
        return ""

    def _url(self, value: object, key: str) -> str:
        text = value.rstrip("/") if isinstance(value, str) else ""
        try:
            parts = urlsplit(text)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            secret = parts.username is not None
        except ValueError:
            valid, secret = False, "@" in text
        if secret:
            self._wrong(
                f"{key}: a URL with a user name or a password in it",
                "Secrets stay out of this file: use [credentials] with password_env or token_env.",
            )
        elif not valid:
            self._wrong(f"{key}: {value!r} is not an http(s) URL")
        return text

    def _wrong(self, what: str, hint: str | None = None) -> None:
        self._problems.append(Problem(what, self._where, None, hint))
