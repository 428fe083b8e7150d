"""Failures of rattler's and uv's downloads, which come as text, told apart by cause."""

from __future__ import annotations

import os
import re
from pathlib import Path

from envpack.errors import Problem

_STATUS = re.compile(r"(?<![\d:])(?P<status>[45]\d\d) [A-Z]|\((?P<bare>[45]\d\d) ?\)")
_URL = re.compile(r"https?://[^\s'\"`()<>]+")
_SYSTEM = re.compile(r"\(os error (?P<number>\d+)\)\s*\Z")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@|(?<=/t/)[^/\s]+(?=/)")
SLOW = "Try again later, or name a nearer mirror in the configuration."
_CAUSES: tuple[tuple[str, str, str], ...] = (
    ("timed out", "did not answer in time", SLOW),
    ("timeout", "did not answer in time", SLOW),
    ("dns error", "cannot be found", "Check the spelling of the address and the network connection."),
    ("name resolution", "cannot be found", "Check the spelling of the address and the network connection."),
    ("connection refused", "refuses connections", "Check the network connection, the proxy and the address."),
    ("certificate", "has no certificate that this machine trusts", "Check the proxy and SSL_CERT_FILE."),
    ("unreachable", "cannot be reached", "Check the network connection and the proxy."),
    ("tcp connect error", "cannot be reached", "Check the network connection and the proxy."),
    ("connection closed", "broke the connection", "Try again later."),
    ("connection reset", "broke the connection", "Try again later."),
    ("message length", "broke the connection", "Try again later."),
    ("frame descriptor", "did not answer with package data", "Check the address and the proxy."),
    ("decode", "did not answer with package data", "Check the address and the proxy."),
    ("parse", "did not answer with package data", "Check the address and the proxy."),
    ("error sending request", "cannot be reached", "Check the network connection and the proxy."),
)


def network_problem(text: str, subject: str) -> Problem | None:
    """What the failure message ``text`` of a download from ``subject`` means, with the next step.

    ``subject`` names it in the sentence (``the channel https://…``). ``None`` when ``text`` is about
    something else than the network.
    """
    why = _chain(text)
    if "could not find subdir" in text:
        return Problem(f"{subject} does not exist", why=why, hint="Check the spelling of its name.")
    if match := _STATUS.search(text):
        status = int(match["status"] or match["bare"])
        return Problem(f"{subject} {_said(status)}", why=why, hint=_advice(status))
    lowered = text.lower()
    for mark, said, advice in _CAUSES:
        if mark in lowered:
            return Problem(f"{subject} {said}", why=why, hint=advice)
    return None


def disk_failure(text: str, cache: Path) -> OSError | None:
    """What the system refused to do with files in ``cache``, if that is what the failure message tells of."""
    match = _SYSTEM.search(text)
    number = int(match["number"]) if match else None
    return OSError(number, os.strerror(number)) if number is not None and str(cache) in text else None


def _chain(text: str) -> str:
    """Of a failure and its causes, one a line: what was asked, and the last cause, which says most."""
    url, (*_, last) = first_url(text), text.strip().splitlines() or [text]
    reason = cleaned(last).removeprefix("Caused by: ")
    return reason if url is None or first_url(last) else f"{cleaned(url)}: {reason}"


def cleaned(text: str) -> str:
    """``text`` on one line and without passwords and tokens in URLs."""
    return without_secrets("; ".join(line.strip() for line in text.splitlines() if line.strip()))


def without_secrets(text: str) -> str:
    """``text`` with user names, passwords and tokens taken out of its URLs."""
    return _SECRET.sub("", text)


def first_url(text: str) -> str | None:
    """The first http(s) URL that ``text`` names."""
    match = _URL.search(text)
    return match[0].rstrip(".,;") if match else None


def _said(status: int) -> str:
    if status in (401, 403):
        return f"refuses access ({status})"
    if status == 404:
        return "does not have it (404)"
    if status == 429:
        return "asks to come back later (429)"
    return f"has a fault of its own ({status})" if status >= 500 else f"refuses the request ({status})"


def _advice(status: int) -> str:
    if status in (401, 403):
        return (
            "Log in: name the user and password as variables in the URL, https://${USER}:${PASSWORD}@host/…"
        )
    if status == 404:
        return "Check the spelling of its name."
    return "Try again later, or name a mirror in the configuration."
