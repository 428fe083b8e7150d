"""What can go wrong with a request, in the user's terms.

The URL that the user knows is the one that is spoken of: a mirror is named as the place that was asked.
Secrets stay out of every message: the user part and the query of a URL and conda's ``/t/TOKEN/`` path
segments. The libraries' own texts hold whole URLs and are not passed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from envpack.errors import NetworkError

if TYPE_CHECKING:
    import requests

_CONDA_TOKEN = re.compile(r"/t/[^/]+/")
_PORTS = {"http": 80, "https": 443}
_ERROR_BODY = 1 << 16  # bytes of an error's body that are kept


def redact(url: str) -> str:
    """``url`` without anything that may be a secret, for messages."""
    parts = _split(url)
    if parts is None:
        return "…"  # not a URL: no telling where a secret would be
    place = parts.netloc.rpartition("@")[2]
    path = _CONDA_TOKEN.sub("/t/…/", parts.path)
    return f"{parts.scheme}://{place}{path}" + ("?…" if parts.query else "")


def is_loopback(url: str) -> bool:
    """Whether ``url`` is served by this machine itself."""
    parts = _split(url)
    host = parts.hostname if parts else None
    return host in ("localhost", "::1") or bool(host and re.fullmatch(r"127(\.\d{1,3}){3}", host))


def origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port (RFC 6454)."""
    parts = _split(url)
    return parts and (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme))


def netloc(url: str) -> str:
    """``host`` or ``host:port`` in lower case, without user and without the scheme's own port."""
    parts = _split(url)
    if parts is None or parts.hostname is None:
        return redact(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if parts.port in (None, _PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


class HttpError(NetworkError):
    """A request failed. ``status`` is the HTTP status, ``None`` where no answer came at all.

    ``transient`` failures are worth another try, after ``retry_after`` seconds where the server said so.
    ``unreachable`` is the cause where not even a connection could be made.
    ``body`` holds the first 64 KiB of what the server had to say.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        transient: bool = False,
        retry_after: float | None = None,
        unreachable: Exception | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(what, why=why, hint=hint)
        self.unreachable = unreachable
        self.status = status
        self.transient = transient
        self.retry_after = retry_after
        self.body = body


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: the URL the user knows, and the one that is really asked (a mirror's)."""

    url: str
    actual: str

    @property
    def asked(self) -> str | None:
        """The sentence that names the mirror, where there is one."""
        return None if self.url == self.actual else f"asked at the mirror {redact(self.actual)}"


def unanswered(error: Exception, target: Target, timeout: tuple[float, float]) -> HttpError:
    """What it means that no answer came, or not a whole one."""
    import ssl

    import requests
    import urllib3

    causes = tuple(_causes(error))
    host, asked = netloc(target.url), netloc(target.actual)
    mirror = None if host == asked else f"asked at the mirror {asked}"
    reason = ", ".join(filter(None, (_reason(causes), mirror))) or None
    if _any(causes, requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError):
        return HttpError(
            f"no secure connection to {host}",
            why=reason,
            hint="If your site has a certificate authority of its own, name its file in REQUESTS_CA_BUNDLE.",
            transient=not _any(causes, ssl.SSLCertVerificationError),
        )
    wrong = (
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        requests.exceptions.InvalidSchema,
    )
    if isinstance(error, (*wrong, urllib3.exceptions.LocationValueError, UnicodeError)):
        return HttpError(f"{redact(target.actual)} is not a URL that can be fetched")
    if _any(causes, requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        return HttpError(
            f"cannot reach {host} through the proxy",
            why=reason,
            hint="Check HTTPS_PROXY and HTTP_PROXY.",
            transient=True,
            unreachable=error,
        )
    # urllib3's NewConnectionError is a ConnectTimeoutError too, for old times' sake
    no_route = _any(causes, urllib3.exceptions.NewConnectionError)
    if no_route or _any(causes, urllib3.exceptions.ConnectTimeoutError):
        late = None if no_route else f"no connection within {timeout[0]:g} s"
        return HttpError(
            f"cannot reach {host}",
            why=", ".join(filter(None, (late, mirror))) if late else reason,
            hint="Check the network and the proxy settings (HTTPS_PROXY), or name a mirror in the "
            "configuration; then run the same command again.",
            transient=True,
            unreachable=error,
        )
    if _any(causes, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        return HttpError(
            f"{host} is too slow: nothing came for {timeout[1]:g} s",
            why=mirror,
            hint="Run the same command again; what was downloaded is kept.",
            transient=True,
        )
    return HttpError(
        f"the connection to {host} broke",
        why=reason,
        hint="Run the same command again; what was downloaded is kept.",
        transient=True,
    )


def refused(response: requests.Response, target: Target, *, has_credentials: bool) -> HttpError:
    """What an answer other than the expected one means."""
    status = response.status_code
    shown, host = redact(target.url), netloc(target.actual)
    body = response.raw.read(_ERROR_BODY, decode_content=True) or b""
    why = f"status {status}" + (f", {target.asked}" if target.asked else "")
    retry_after = None
    if status in (401, 403):
        what = f"{host} does not let you read {shown}"
        hint = (
            f'Check the credentials that the configuration names for "{host}".'
            if has_credentials
            else f'Add [credentials."{host}"] with username and password_env, or token_env, to the '
            "configuration (~/.config/envpack/config.toml)."
        )
    elif status == 404:
        what, hint = (
            f"{shown} does not exist",
            "It may have been removed: `envpack lock` finds what there is now.",
        )
    elif status == 429:
        retry_after = _retry_after(response.headers)
        what = f"{host} limits how often it may be asked"
        hint = f"Try again in {retry_after:.0f} s." if retry_after else "Try again later, or log in."
    elif status >= 500:
        retry_after = _retry_after(response.headers)
        what, hint = f"{host} failed to answer for {shown}", "Try again later, or name a mirror."
    else:
        what, hint = f"{host} gave an unexpected answer for {shown}", None
    return HttpError(
        what,
        why=why,
        hint=hint,
        status=status,
        transient=status in (408, 429) or status >= 500,
        retry_after=retry_after,
        body=body,
    )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and parts.netloc else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and everything inside it: urllib3 keeps the cause in ``reason`` or among ``args``."""
    seen: list[BaseException | None] = [error]
    for item in seen:
        if item is None:
            continue
        yield item
        inner = [getattr(item, "reason", None), *item.args, item.__cause__, item.__context__]
        seen += [i for i in inner if isinstance(i, BaseException) and i not in seen]


def _any(causes: tuple[BaseException, ...], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _reason(causes: tuple[BaseException, ...]) -> str | None:
    """The operating system's words for it. Never a library's: those repeat the whole URL."""
    words = [c.strerror for c in causes if isinstance(c, OSError) and isinstance(c.strerror, str)]
    return words[-1] if words else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait. A date is counted from the server's own clock, its ``Date`` header."""
    from email.utils import parsedate_to_datetime

    value = headers.get("Retry-After", "").strip()
    if value.isdecimal() and value.isascii():
        return float(value)
    try:
        return max(
            (parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds(),
            0.0,
        )
    except (TypeError, ValueError):
        return None
