"""The user's settings: ``~/.config/envpack/config.toml`` and ``ENVPACK_*`` variables.

    cache = "/scratch/me/envpack"

    [mirrors]          # where a channel is really fetched from; locks keep the channel's own URLs
    "https://conda.anaconda.org/conda-forge" = ["http://127.0.0.1:8765"]

    [registries."docker.io"]        # likewise for base images
    mirror = "http://127.0.0.1:5055"

    [credentials."registry.example.org"]     # by reference only: never a secret in this file
    username = "me"
    password_env = "REGISTRY_PASSWORD"       # or token_env

``ENVPACK_CONFIG`` names another file, ``ENVPACK_CACHE`` another cache folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from envpack.errors import ConfigError, Location

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Credential:
    """How to log in at one host: a user name, and the variable that holds the password or token."""

    username: str | None = None
    password_env: str | None = None
    token_env: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one run. ``mirrors`` maps a channel URL to the URLs tried instead, in order;
    ``registries`` a registry host to the base URL of its mirror; ``credentials`` are by host[:port].
    """

    cache: Path
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)

    def mirrored(self, url: str) -> tuple[str, ...]:
        """The URLs to try for ``url``, in order: its channel's mirrors, or itself."""
        for channel, mirrors in self.mirrors.items():
            if url == channel or url.startswith(channel + "/"):
                return tuple(mirror + url[len(channel) :] for mirror in mirrors)
        return (url,)


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration; an absent default file is an empty one.

    Raises :class:`ConfigError` with file and line or key.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("HOME") or Path.home())
    named = env.get("ENVPACK_CONFIG")
    base = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    path = Path(named) if named else base / "envpack" / "config.toml"
    data = _parse(path, required=named is not None)
    return _config(data, path, env, home)


def _parse(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if required:
            raise ConfigError(
                f"there is no configuration file {path}", why="ENVPACK_CONFIG names it"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", why=str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("not valid TOML", where=Location(str(path)), why=str(error)) from error


def _config(data: dict[str, Any], path: Path, env: Mapping[str, str], home: Path) -> Config:
    where = Location(str(path))
    known = {"cache", "mirrors", "registries", "credentials"}
    if unknown := sorted(set(data) - known):
        raise ConfigError(
            f"unknown setting {unknown[0]!r}",
            where=where,
            hint=f"Known settings: {', '.join(sorted(known))}.",
        )
    default = Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "envpack"
    cache = Path(env.get("ENVPACK_CACHE") or _text(data.get("cache", str(default)), "cache", where))
    mirrors = {}
    for channel, value in _table(data.get("mirrors", {}), "mirrors", where).items():
        urls = [value] if isinstance(value, str) else value
        if not isinstance(urls, list) or not urls:
            raise ConfigError(f"mirrors.{channel!r} is not a list of URLs", where=where)
        mirrors[_url(channel, "mirrors", where)] = tuple(_url(u, f"mirrors.{channel!r}", where) for u in urls)
    registries = {
        host: _url(_table(value, f"registries.{host!r}", where).get("mirror"), f"registries.{host!r}", where)
        for host, value in _table(data.get("registries", {}), "registries", where).items()
    }
    credentials = {}
    for host, value in _table(data.get("credentials", {}), "credentials", where).items():
        table = _table(value, f"credentials.{host!r}", where)
        if extra := sorted(set(table) - {"username", "password_env", "token_env"}):
            raise ConfigError(
                f"credentials.{host!r} has {extra[0]!r}",
                where=where,
                hint="Secrets stay out of this file: name the variable that holds one "
                "with password_env or token_env.",
            )
        credentials[host] = Credential(
            **{k: _text(v, f"credentials.{host!r}.{k}", where) for k, v in table.items()}
        )
    return Config(cache.expanduser(), mirrors, registries, credentials)


def _table(value: object, key: str, where: Location) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{key} is not a table", where=where)
    return value


def _text(value: object, key: str, where: Location) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} is not a text", where=where)
    return value


def _url(value: object, key: str, where: Location) -> str:
    text = _text(value, key, where).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"{key}: {text!r} is not an http(s) URL", where=where)
    return text
