"""Docker's own words, fit for messages and progress."""

from __future__ import annotations

import re

from envpack.http_errors import redact

_LINE = 300  # characters of a line that are shown
# Those without a host have nothing to hide.
_URL = re.compile(r"\b(?!(?:unix|file)://)[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def plain(line: str) -> str:
    """A line of a terminal as it is seen there: without colours, and only what was written last."""
    return _CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip()


def shown(line: str, width: int = _LINE) -> str:
    """A line without control characters and secrets in URLs, cut where it is too long."""
    text = _CONTROL.sub("", _URL.sub(lambda url: redact(url[0]), line.rstrip()))
    return text if len(text) <= width else f"{text[:width].rstrip()} …"
