"""Channel and index addresses: the forms allowed, and no secrets in them.

A lock is published, so a password or a token must not get into it. Conda's way is kept: environment variables
in the URL (``https://${USER}:${PASSWORD}@host/channel``), which stay unexpanded in every file.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from envpack.errors import Location, Problem

_VARIABLE = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?\Z")
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)*\Z")
_TOKEN = re.compile(r"/t/(?P<token>[^/]+)(/|\Z)")
_QUERY = re.compile(r"(?P<key>[?&](?:[a-z_]*token|api_key|apikey|password|secret)=)(?P<value>[^&#\s]+)", re.I)
_LOCAL = re.compile(r"file:|/|~|\.{1,2}(?:[/\\]|\Z)|[A-Za-z]:[\\/]|\\\\", re.I)
_HINT = "Put it into an environment variable and name that in the URL: https://${USER}:${PASSWORD}@host/…"


def channel_problem(channel: str, where: Location | None) -> Problem | None:
    """What is wrong with a channel as written (a name or an http(s) URL), if anything."""
    if "://" in channel:
        return _url_problem(channel, "channel", where)
    if not _CHANNEL_NAME.match(channel):
        return Problem(
            f"{channel!r} is not a channel name or an http(s) URL",
            where,
            hint="Channels look like conda-forge, nvidia/label/cuda-12.4.0 or https://host/channel.",
        )
    return None


def index_problem(url: str, where: Location | None) -> Problem | None:
    """What is wrong with the URL of a package index or of a page of links, if anything."""
    return _url_problem(url, "package index", where)


def _url_problem(url: str, kind: str, where: Location | None) -> Problem | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        return Problem(f"the URL of a {kind} cannot be read", where, str(error))
    if parts.scheme not in ("http", "https") or not host:
        return Problem(
            f"{without_secrets(url)!r} is not an http(s) URL",
            where,
            why="files of this machine are not there when the lock is used elsewhere",
        )
    token = _TOKEN.search(parts.path)
    secrets = [parts.username, parts.password, token["token"] if token else None]
    secrets += [found["value"] for found in _QUERY.finditer(url)]
    if any(secret and not _VARIABLE.match(secret) for secret in secrets):
        return Problem(
            f"the URL of the {kind} {without_secrets(url)} holds a password or a token",
            where,
            why="whatever is in the source ends up in the lock, which is made to be published",
            hint=_HINT,
        )
    return None


def is_local(text: str) -> bool:
    """Whether ``text`` is a path or a ``file:`` URL: something that only one machine has."""
    return _LOCAL.match(text) is not None


def without_secrets(url: str) -> str:
    """``url`` without user name, password and token, fit for messages."""
    head, separator, rest = url.partition("://")
    if not separator:
        return url
    netloc, slash, path = rest.partition("/")
    path = _TOKEN.sub(r"/t/***\2", "/" + path)[1:]
    path = _QUERY.sub(r"\g<key>***", path)
    return f"{head}://{netloc.rpartition('@')[2]}{slash}{path}"
