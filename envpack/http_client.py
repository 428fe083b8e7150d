"""The only place that speaks HTTP: typed errors, retries, redirects, mirrors and credentials.

What goes wrong is said in the user's terms and about the URL the user knows: a mirror is named as the
place that was asked, never in place of the canonical URL. Secrets stay out of every message: the user part
and the query of a URL, conda's ``/t/TOKEN/`` path segments and all headers.

HTTP semantics are those of RFC 9110; ``Retry-After`` is read in both its forms (section 10.2.3).
"""

from __future__ import annotations

import base64
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from envpack import __version__
from envpack.config import Config, Credential
from envpack.errors import ConfigError, IntegrityError, Interrupted, NetworkError
from envpack.progress import Progress, Quiet

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
SMALL = 4 << 20  # bytes: what a document that is read into memory may hold
_REDIRECTS = 10
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more is given up on
_TOKEN = re.compile(r"[!-~]+\Z")
_CONDA_TOKEN = re.compile(r"/t/[^/]+/")
_PORTS = {"http": 80, "https": 443}


def redact(url: str) -> str:
    """``url`` without anything that may be a secret, for messages."""
    parts = _split(url)
    if parts is None:
        return re.sub(r"//[^/]*@", "//", url.partition("?")[0])
    netloc = parts.netloc.rpartition("@")[2]
    path = _CONDA_TOKEN.sub("/t/…/", parts.path)
    return f"{parts.scheme}://{netloc}{path}" + ("?…" if parts.query else "")


def is_loopback(url: str) -> bool:
    """Whether ``url`` is served by this machine itself."""
    parts = _split(url)
    host = parts.hostname if parts else None
    return host in ("localhost", "::1") or bool(host and re.fullmatch(r"127(\.\d{1,3}){3}", host))


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


class Authorize(Protocol):
    """Gives the ``Authorization`` header for a host with a scheme of its own (container registries).

    Called with ``None`` before the first try and with the ``WWW-Authenticate`` header after a 401;
    ``None`` as the answer means that there is nothing to send.
    """

    def __call__(self, challenge: str | None) -> str | None:
        """The header's value."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for: the URL the user knows, and the one that is really asked (a mirror's)."""

    url: str
    actual: str

    @property
    def asked(self) -> str | None:
        """The sentence that names the mirror, where there is one."""
        return None if self.url == self.actual else f"asked at the mirror {redact(self.actual)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A small document: the status, the headers (any case) and the whole body, decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Requests with the user's mirrors and credentials. Safe to use from several threads.

    ``wait`` sleeps between tries, so many seconds; :meth:`stop` ends such a sleep and everything else
    that this client does. A host that could not be reached at all is not tried again.
    """

    def __init__(
        self,
        config: Config,
        progress: Progress | None = None,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        attempts: int = 5,
        wait: Callable[[float], object] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.progress = progress or Quiet()
        self._timeout = (connect_timeout, read_timeout)
        self._attempts = attempts
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._environ = os.environ if environ is None else environ
        self._own = threading.local()
        self._sessions: list[requests.Session] = []
        self._unreachable: dict[str, Exception] = {}

    def close(self) -> None:
        """Close all connections."""
        while self._sessions:
            self._sessions.pop().close()
        self._own = threading.local()

    def stop(self) -> None:
        """Make every request under way in other threads give up with :class:`Interrupted`, soon."""
        self._stopped.set()

    def check_stopped(self) -> None:
        """Raise :class:`Interrupted` after :meth:`stop`."""
        if self._stopped.is_set():
            raise Interrupted("stopped", hint="Run the same command again to continue.")

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorize: Authorize | None = None,
        limit: int = SMALL,
    ) -> Answer:
        """The document at ``url``, of at most ``limit`` bytes; raises :class:`HttpError`."""
        return self.persist(url, lambda target: self._read(target, headers or {}, authorize, None, limit))

    def post(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        limit: int = SMALL,
    ) -> Answer:
        """The answer to a form sent to ``url``; the form must be one that may be sent twice."""
        return self.persist(url, lambda target: self._read(target, headers or {}, None, form, limit))

    def persist(self, url: str, action: Callable[[Target], T], position: Callable[[], int] = lambda: 0) -> T:
        """Do ``action`` at each mirror of ``url`` in turn until one succeeds.

        Transient failures are tried again at the same place with growing waits; getting further, as told
        by ``position`` (bytes), makes the count of tries start anew. The last failure is the one raised.
        """
        failure: NetworkError | IntegrityError | None = None
        for actual in self.config.mirrored(url):
            try:
                return self._persist(Target(url, actual), action, position)
            except (NetworkError, IntegrityError) as error:
                failure = error
        assert failure is not None, "mirrored() gives at least one URL"
        raise failure

    def _persist(self, target: Target, action: Callable[[Target], T], position: Callable[[], int]) -> T:
        host = _netloc(target.actual)
        if host in self._unreachable:
            raise self._failure(self._unreachable[host], target)
        tries = 0
        while True:
            before = position()
            self.check_stopped()
            try:
                return action(target)
            except HttpError as error:
                tries = 1 if position() > before else tries + 1
                delay = min(0.5 * 2 ** (tries - 1), 30.0) if error.retry_after is None else error.retry_after
                if not error.transient or tries >= self._attempts or delay > _LONGEST_WAIT:
                    if error.unreachable:
                        self._unreachable[host] = error.unreachable
                    raise
                self.progress.note(f"{error.what}; trying again in {delay:g} s")
                self._wait(delay)

    def credential(self, url: str) -> tuple[Credential, str] | None:
        """The configuration's credential for the host of ``url`` and its secret, if there is one.

        Raises :class:`ConfigError` when its variable is not set, or for a URL that would send it
        unencrypted.
        """
        host = _netloc(url)
        credential = self.config.credentials.get(host)
        if credential is None:
            return None
        if not url.startswith("https:") and not is_loopback(url):
            raise ConfigError(
                f"the credentials for {host} would be sent unencrypted",
                why=f"{redact(url)} is not an https URL",
                hint="Use https, or remove the credentials from the configuration.",
            )
        variable = credential.token_env or credential.password_env or ""
        secret = self._environ.get(variable)
        if not secret:
            raise ConfigError(
                f"the variable {variable} is not set",
                why=f'credentials."{host}" in the configuration names it',
                hint=f"Run `export {variable}=…` first.",
            )
        if credential.token_env and not _TOKEN.match(secret):
            raise ConfigError(f"the variable {variable} does not hold a token", why="spaces or line ends")
        return credential, secret

    def authorization(self, url: str) -> str | None:
        """The header value that :meth:`credential` makes for ``url``; raises the same."""
        found = self.credential(url)
        if found is None:
            return None
        credential, secret = found
        return f"Bearer {secret}" if credential.token_env else basic(credential.username or "", secret)

    @contextmanager
    def opened(
        self,
        target: Target,
        *,
        headers: Mapping[str, str],
        authorize: Authorize | None = None,
        form: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> Iterator[requests.Response]:
        """One try: the open answer, its body not read yet. Raises :class:`HttpError`, also for failures
        while the caller reads the body.
        """
        import requests
        import urllib3

        try:
            response = self._send(target, headers, authorize(None) if authorize else None, form)
            if response.status_code == 401 and authorize:
                renewed = authorize(response.headers.get("WWW-Authenticate", ""))
                if renewed:
                    response.close()
                    response = self._send(target, headers, renewed, form)
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError, OSError) as error:
            raise self._failure(error, target) from None  # its text holds the URL with its secrets
        try:
            if response.status_code not in accept:
                raise self._refusal(response, target)
            yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._failure(error, target) from None
        finally:
            response.close()

    def _read(
        self,
        target: Target,
        headers: Mapping[str, str],
        authorize: Authorize | None,
        form: Mapping[str, str] | None,
        limit: int,
    ) -> Answer:
        with self.opened(target, headers=headers, authorize=authorize, form=form) as response:
            body = bytearray()
            for chunk in response.iter_content(1 << 16):
                self.check_stopped()
                body += chunk
                if len(body) > limit:
                    raise HttpError(
                        f"the answer of {redact(target.url)} is larger than {limit} bytes", why=target.asked
                    )
            return Answer(response.status_code, response.headers, bytes(body))

    def _send(
        self,
        target: Target,
        headers: Mapping[str, str],
        authorization: str | None,
        form: Mapping[str, str] | None,
    ) -> requests.Response:
        """Send, following redirects. Another origin never sees an authorization meant for this one."""
        session = self._session()
        url = target.actual
        for _ in range(_REDIRECTS):
            value = authorization or self.authorization(url)
            response = session.request(
                "GET" if form is None else "POST",
                url,
                headers=dict(headers),
                data=form,
                # set here and not among the headers, where an entry in ~/.netrc would replace it
                auth=_header_auth(value) if value else None,
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
            )
            location = session.get_redirect_target(response)
            if location is None or form is not None:
                return response
            response.close()
            following = urljoin(url, location)
            if url.startswith("https:") and not following.startswith("https:"):
                raise HttpError(
                    f"{redact(target.url)} is redirected to an unencrypted address", why=redact(following)
                )
            if _origin(following) != _origin(url):
                authorization = None
            url = following
        raise HttpError(f"{redact(target.url)} is redirected without end", why=target.asked)

    def _session(self) -> requests.Session:
        """The session of this thread: requests does not promise that threads may share one."""
        import requests

        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = f"envpack/{__version__}"
            self._own.session = session
            self._sessions.append(session)
        return session

    def _failure(self, error: Exception, target: Target) -> HttpError:
        """What it means that no answer came, or not a whole one."""
        import requests
        import urllib3

        causes = tuple(_causes(error))
        host, asked = _netloc(target.url), _netloc(target.actual)
        mirror = None if host == asked else f"asked at the mirror {asked}"
        reason = ", ".join(filter(None, (_reason(causes), mirror))) or None
        if _any(causes, requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError):
            return HttpError(
                f"no secure connection to {host}",
                why=reason,
                hint="If your site has a certificate authority of its own, name its file in "
                "REQUESTS_CA_BUNDLE.",
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
        refused = _any(causes, urllib3.exceptions.NewConnectionError)
        if refused or _any(causes, urllib3.exceptions.ConnectTimeoutError):
            late = None if refused else f"no connection within {self._timeout[0]:g} s"
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
                f"{host} is too slow: nothing came for {self._timeout[1]:g} s",
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

    def _refusal(self, response: requests.Response, target: Target) -> HttpError:
        """What an answer other than the expected one means."""
        status = response.status_code
        shown, host = redact(target.url), _netloc(target.actual)
        body = response.raw.read(1 << 16, decode_content=True) or b""
        why = f"status {status}" + (f", {target.asked}" if target.asked else "")
        retry_after = None
        if status in (401, 403):
            known = host in self.config.credentials
            what = f"{host} does not let you read {shown}"
            hint = (
                f'Check the credentials that the configuration names for "{host}".'
                if known
                else f'Add [credentials."{host}"] with username and password_env, or token_env, to the '
                "configuration (~/.config/envpack/config.toml)."
            )
        elif status == 404:
            what, hint = f"{shown} does not exist", None
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


def basic(username: str, password: str) -> str:
    """The header value of HTTP Basic authentication (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _header_auth(value: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """``value`` as requests' own kind of authentication object."""

    def apply(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = value
        return request

    return apply


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and parts.netloc else None


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port (RFC 6454)."""
    parts = _split(url)
    return parts and (parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme))


def _netloc(url: str) -> str:
    """``host`` or ``host:port`` in lower case, without user and without the scheme's own port."""
    parts = _split(url)
    if parts is None or parts.hostname is None:
        return redact(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if parts.port in (None, _PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


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
