"""The only place that speaks HTTP: retries, redirects, mirrors and credentials.

HTTP semantics are those of RFC 9110. What goes wrong is told by :mod:`envpack.http_errors`.
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, urljoin

from envpack import __version__
from envpack.config import Config, Credential
from envpack.errors import ConfigError, IntegrityError, Interrupted, NetworkError
from envpack.http_errors import HttpError, Target, is_loopback, netloc, origin, redact, refused, unanswered
from envpack.progress import Progress, Quiet

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
SMALL = 4 << 20  # bytes: what a document that is read into memory may hold
_REDIRECTS = 10
_LONGEST_WAIT = 60.0  # seconds; a server that asks for more is given up on
_TOKEN = re.compile(r"[!-~]+\Z")
# Where a URL may name a variable: user and password, or the token of anaconda.org's private channels.
# Where URLs have secrets: user and password, conda's token.
SECRET_PARTS = re.compile(r"(?<=://)[^/@]+(?=@)|(?<=/t/)[^/]+(?=/|\Z)")
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*\Z")
_VARIABLE = re.compile(r"\$\{?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}?")


def url_text(secret: str) -> str:
    """``secret`` as it stands in a URL; conda wants variables to hold it so, which is left as it is."""
    return secret if _ENCODED.match(secret) else quote(secret, safe="")


class Authorize(Protocol):
    """Gives the ``Authorization`` header for a host with a scheme of its own (container registries).

    Called without a challenge before the first try; after a 401 with the ``WWW-Authenticate`` header and
    the value that was refused, which another thread may have renewed meanwhile. ``None`` as the answer
    means that there is nothing to send.
    """

    def __call__(self, challenge: str | None = None, refused: str | None = None) -> str | None:
        """The header's value."""


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
                return self._persist(Target(url, self._filled(actual)), action, position)
            except (NetworkError, IntegrityError) as error:
                failure = error
        assert failure is not None, "mirrored() gives at least one URL"
        raise failure

    def _filled(self, url: str) -> str:
        """``url`` with the variables that stand for its user, password or conda token filled in.

        ``https://${USER}:${PASSWORD}@host/…`` and ``https://host/t/${TOKEN}/…``: locks and channels name
        secrets so. Elsewhere in a URL a variable is left as it is. Raises :class:`ConfigError` for one that
        is not set.
        """

        def value(match: re.Match[str]) -> str:
            found = self._environ.get(match["name"])
            if found is None:
                raise ConfigError(
                    f"the variable {match['name']} is not set, which {redact(url)} needs",
                    hint="Set it in the environment, then run the same command again.",
                )
            return url_text(found)

        return SECRET_PARTS.sub(lambda part: _VARIABLE.sub(value, part[0]), url)

    def _persist(self, target: Target, action: Callable[[Target], T], position: Callable[[], int]) -> T:
        host = netloc(target.actual)
        if host in self._unreachable:
            raise unanswered(self._unreachable[host], target, self._timeout)
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
        host = netloc(url)
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
            first = authorize() if authorize else None
            response = self._send(target, headers, first, form)
            if response.status_code == 401 and authorize:
                renewed = authorize(response.headers.get("WWW-Authenticate", ""), first)
                if renewed:
                    response.close()
                    response = self._send(target, headers, renewed, form)
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError, OSError) as error:
            # from None: the libraries' texts hold the URL with its secrets
            raise unanswered(error, target, self._timeout) from None
        try:
            if response.status_code not in accept:
                known = netloc(target.actual) in self.config.credentials
                raise refused(response, target, has_credentials=known)
            yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise unanswered(error, target, self._timeout) from None
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
            if origin(following) != origin(url):
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
            # requests reads two variables of its own; uv and OpenSSL's programs know this one.
            if not {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"} & set(self._environ):
                session.verify = self._environ.get("SSL_CERT_FILE") or True
            self._own.session = session
            self._sessions.append(session)
        return session


def basic(username: str, password: str) -> str:
    """The header value of HTTP Basic authentication (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _header_auth(value: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """``value`` as requests' own kind of authentication object."""

    def apply(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = value
        return request

    return apply
