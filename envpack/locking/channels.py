"""Channel names as the addresses that a solve asks, and the mirrors behind them.

What ``defaults`` stands for, and that bare names live on anaconda.org, is conda's own configuration
(https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/settings.html: ``default_channels``,
``channel_alias``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from envpack.config import Config
from envpack.errors import Problem, SolveError
from envpack.http_client import SECRET_PARTS, url_text

ALIAS = "https://conda.anaconda.org/"
DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
_VARIABLE = re.compile(r"\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}?")


def urls(channels: Iterable[str], environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The channels' addresses in order of priority, variables filled in, each once.

    Raises :class:`SolveError` naming every variable that is not set.
    """
    found: list[str] = []
    problems: list[Problem] = []
    for channel in channels:
        problems += [
            Problem(f"the variable {name} in the channel {channel} is not set")
            for name in unset_variables(channel, environ)
        ]
        for address in DEFAULTS if channel == "defaults" else (channel,):
            url = expand(address, environ) if "://" in address else ALIAS + address
            if url.rstrip("/") not in found:
                found.append(url.rstrip("/"))
    if problems:
        raise SolveError(
            "channels need variables that are not set",
            problems=problems,
            hint="Set them in the environment, then run the same command again.",
        )
    return tuple(found)


def with_defaults_spelled_out(match_spec: str) -> str:
    """``match_spec`` with the address in place of ``defaults::``, which is no channel that has an address."""
    name, separator, rest = match_spec.partition("::")
    return f"{DEFAULTS[0]}::{rest}" if separator and name == "defaults" else match_spec


def expand(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """``text`` with ``$NAME`` and ``${NAME}`` filled in, encoded where a URL has secrets; unset ones stay."""

    def secret(match: re.Match[str]) -> str:
        return url_text(environ[match["name"]]) if match["name"] in environ else match[0]

    text = SECRET_PARTS.sub(lambda part: _VARIABLE.sub(secret, part[0]), text)
    return _VARIABLE.sub(lambda match: environ.get(match["name"], match[0]), text)


def in_variables(url: str, channels: Iterable[str], environ: Mapping[str, str] = os.environ) -> str:
    """The address of a package with its channel's secrets as the variables by which ``channels`` name them.

    However the secrets are encoded in ``url``, they are where the channel has its variables.
    """
    parts = urlsplit(url)
    path = parts.path.split("/")
    for channel in channels:
        if "://" not in channel or "$" not in channel:
            continue
        actual = urlsplit(expand(channel, environ).rstrip("/"))
        start = actual.path.split("/")
        if (
            (parts.scheme, _host(parts.netloc)) == (actual.scheme, _host(actual.netloc))
            and [unquote(part) for part in path[: len(start)]] == [unquote(part) for part in start]
        ):  # fmt: skip
            return "/".join([channel.rstrip("/"), *path[len(start) :]])
    return url


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2].lower()


def unset_variables(text: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that a URL names and the environment lacks."""
    names = {match["name"] for match in _VARIABLE.finditer(text)} if "://" in text else set()
    return sorted(names - set(environ))


def rattler_toml(config: Config) -> str:
    """The configuration of rattler for the mirrors of ``config``.

    Sharded repodata (CEP 16) is asked for except through a mirror: its shards may be addressed by absolute
    URLs, which would bypass the mirror. JSON strings are valid TOML strings.
    """
    lines = ["[mirrors]"]
    lines += [f"{json.dumps(channel)} = {json.dumps(list(to))}" for channel, to in config.mirrors.items()]
    for channel in config.mirrors:
        lines += [f"[repodata-config.{json.dumps(channel)}]", "disable-sharded = true"]
    return "\n".join(lines) + "\n"


def cache_key(config: Config) -> str:
    """A folder name for cached repodata, another one for other mirrors.

    rattler keys its cache by the channel's own URL: what one mirror gave must not answer for another.
    """
    return hashlib.sha256(rattler_toml(config).encode()).hexdigest()[:16]
