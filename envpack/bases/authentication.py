"""Logging in at a container registry: challenges, bearer tokens, basic authentication.

A registry answers 401 with a challenge (RFC 9110, section 11.6.1)::

    WWW-Authenticate: Bearer realm="https://auth.example.org/token",service="…",scope="repository:a/b:pull"

The token is had from the realm by GET, with the user's name and password if there are any, or by POST with an
identity token (distribution's token authentication specification and its OAuth 2 variant).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from envpack.bases import docker_config
from envpack.bases.docker_config import Login
from envpack.errors import NetworkError, ProgramError
from envpack.http_client import Authorize, HttpClient, basic
from envpack.http_errors import is_loopback, redact

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)(?=\s|,|\Z)")
_PARAMETER = re.compile(r"""\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*""")
_TOKEN = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in: the scheme in lower case and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(header: str) -> tuple[Challenge, ...]:
    """Read a ``WWW-Authenticate`` header, which may hold several; what makes no sense is left out."""
    found: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            quoted = parameter[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
            parameters.setdefault(parameter[1].lower(), value)
        found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)


class Authentication:
    """The ``Authorization`` header for reading one repository. Called by the HTTP client, from any thread.

    ``registry`` is the name that logins are kept under; ``None`` where a mirror is asked, which must not
    see the registry's.
    """

    def __init__(
        self,
        http: HttpClient,
        registry: str | None,
        endpoint: str,
        repository: str,
        environ: Mapping[str, str],
    ) -> None:
        self._http = http
        self._registry = registry
        self._endpoint = endpoint
        self._repository = repository
        self._environ = environ
        self._current: str | None = None
        self._lock = threading.Lock()

    def __call__(self, challenge: str | None = None, refused: str | None = None) -> str | None:
        """See :class:`envpack.http_client.Authorize`. Raises :class:`NetworkError` when logging in fails."""
        with self._lock:
            if challenge is not None and self._current == refused:
                self._current = self._answer(challenges(challenge))
            return self._current

    def _answer(self, offered: tuple[Challenge, ...]) -> str | None:
        for challenge in offered:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                return f"Bearer {self._token(challenge.parameters)}"
        if any(challenge.scheme == "basic" for challenge in offered):
            login = self._login()
            return basic(login.username, login.password) if login and login.password else None
        return None

    def _token(self, parameters: Mapping[str, str]) -> str:
        """A token from the realm; raises :class:`NetworkError`."""
        realm = parameters["realm"]
        if urlsplit(realm).scheme != "https" and not (
            is_loopback(realm) or self._endpoint.startswith("http://")
        ):
            raise NetworkError(
                f"the registry at {redact(self._endpoint)} wants a login over an unencrypted connection",
                why=redact(realm),
            )
        query = {"scope": parameters.get("scope") or f"repository:{self._repository}:pull"}
        if service := parameters.get("service"):
            query["service"] = service
        login = self._login()
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": login.identity_token, **query}
            answer = self._http.post(realm, {**form, "client_id": "envpack"})
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            value = basic(login.username, login.password) if login else None
            answer = self._http.get(url, authorize=_fixed(value))
        try:
            data = json.loads(answer.body)
            token = data.get("token") or data.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not _TOKEN.match(token):
            raise NetworkError(f"{redact(realm)} gave no token")
        return token

    def _login(self) -> Login | None:
        """The configuration's credentials for the place that is asked, else docker's for the registry."""
        if found := self._http.credential(self._endpoint):
            credential, secret = found
            # registries that know tokens take them as a password, whatever the user is called
            return Login(credential.username or "token", secret)
        if self._registry is None:
            return None
        try:
            return docker_config.login(self._registry, self._environ)
        except ProgramError as error:
            self._http.progress.note(f"{error.what}; going on without a login")
            return None


def _fixed(value: str | None) -> Authorize:
    """An authorization that no challenge changes."""

    def authorize(challenge: str | None = None, refused: str | None = None) -> str | None:  # noqa: ARG001 protocol
        return None if challenge else value

    return authorize
