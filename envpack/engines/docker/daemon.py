"""The Docker daemon: where it is, what it can do, and what it means when it does not answer.

As the ``docker`` command does, the variable ``DOCKER_HOST`` (with ``DOCKER_TLS_VERIFY`` and
``DOCKER_CERT_PATH``) comes first, then the context that ``DOCKER_CONTEXT`` or ``currentContext`` in
``~/.docker/config.json`` names, then the usual socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from envpack.engines.docker import failures
from envpack.engines.docker.redaction import shown
from envpack.errors import EngineError

_SOCKET = "unix:///var/run/docker.sock"
_OTHERWISE = "or build without Docker: with the native engine or with --engine apptainer"
_ANSWER_WITHIN = 60  # seconds for the first answer; builds take what they take
_BUILDKIT_SINCE = (1, 39)  # API version, Docker 18.09


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon is, and what names it. ``context`` is its docker context, if that does."""

    address: str
    because: str
    tls: Any = None  # docker-py's TLSConfig
    context: str | None = None

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return shown(self.address)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that answered. ``client`` is docker-py's; ``architecture`` is OCI's name of its machine's."""

    place: Place
    client: Any  # docker.APIClient, which has no type information
    architecture: str
    has_buildkit: bool

    @property
    def builder(self) -> str:
        """What buildx calls the daemon's own builder."""
        return self.place.context or "default"

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with what makes the ``docker`` command talk to this very daemon."""
        if self.place.context is None:
            return dict(environ)
        kept = {name: value for name, value in environ.items() if name != "DOCKER_HOST"}
        return kept | {"DOCKER_CONTEXT": self.place.context}

    @contextmanager
    def talking(self, doing: str) -> Iterator[None]:
        """Turn what docker-py raises while ``doing`` ("building the image") into :class:`EngineError`."""
        import docker.errors
        import requests
        import urllib3
        from docker.credentials.errors import StoreError

        try:
            yield
        except docker.errors.APIError as error:
            said = shown(str(error.explanation or error))
            raise EngineError(
                f"Docker refused {doing}", why=said, hint=failures.hint_for(said, said)
            ) from error
        except StoreError as error:
            raise EngineError(
                "cannot get the login that docker keeps",
                why=shown(str(error)),
                hint="See credsStore and credHelpers in ~/.docker/config.json.",
            ) from error
        except (
            docker.errors.DockerException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise EngineError(
                f"the connection to the Docker daemon at {self.place.shown} was lost while {doing}",
                why=_reason(error),
                hint="See what the daemon's log says (journalctl -u docker), then build again.",
            ) from error


def connect(environ: Mapping[str, str]) -> Daemon:
    """The daemon that ``environ`` and docker's own configuration name.

    Raises :class:`EngineError`, which says what was tried, why it failed and what to do.
    """
    import docker
    import requests

    place = find(environ)
    try:
        client = docker.APIClient(
            base_url=place.address,
            tls=place.tls or False,
            timeout=_ANSWER_WITHIN,
            use_ssh_client=place.address.startswith("ssh://"),
        )
        about = client.version()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise _unreachable(place, error) from error
    client.timeout = None
    parts = [str(part.get("Name")) for part in about.get("Components") or () if isinstance(part, dict)]
    version = tuple(
        int(number) for number in str(about.get("ApiVersion", "0")).split(".") if number.isdigit()
    )
    buildkit = version >= _BUILDKIT_SINCE and about.get("Os") == "linux" and "Podman Engine" not in parts
    return Daemon(place, client, str(about.get("Arch")), buildkit)


def find(environ: Mapping[str, str]) -> Place:
    """Where the daemon is, if there is one; raises :class:`EngineError` for a context that is not there."""
    import docker.errors
    from docker.context import Context
    from docker.context.config import get_current_context_name
    from docker.utils import kwargs_from_env

    if host := environ.get("DOCKER_HOST"):
        try:
            tls = kwargs_from_env(dict(environ)).get("tls")
        except docker.errors.TLSParameterError as error:
            raise EngineError(
                f"cannot use TLS for the Docker daemon at {shown(host)}",
                why=str(error).partition(".")[0],
                hint="DOCKER_CERT_PATH must name a folder with ca.pem, cert.pem and key.pem.",
            ) from error
        return Place(host, "the variable DOCKER_HOST names it", tls)
    named = environ.get("DOCKER_CONTEXT")
    name = named or get_current_context_name()
    why = "the variable DOCKER_CONTEXT" if named else "currentContext in docker's config.json"
    if name == "default":
        return Place(_SOCKET, "that is where Docker listens unless something else is said")
    try:
        context = Context.load_context(name)
    except Exception as error:  # docker-py lets through whatever damaged metadata brings about
        raise EngineError(
            f"cannot read the docker context {name!r}",
            why=str(error),
            hint="Make it again with `docker context create`, or set DOCKER_HOST.",
        ) from error
    if context is None or not context.Host:
        raise EngineError(
            f"there is no docker context {name!r}",
            why=f"{why} names it",
            hint=f"Choose another with `docker context use`, set DOCKER_HOST, {_OTHERWISE}.",
        )
    return Place(context.Host, f"the docker context {name!r} names it ({why})", context.TLSConfig, name)


def _unreachable(place: Place, error: Exception) -> EngineError:
    cause = _cause(error)
    why = f"{_reason(error)}\n{place.shown}: {place.because}"
    if isinstance(cause, PermissionError):
        return EngineError(
            f"you may not use the Docker daemon at {place.shown}",
            why=why,
            hint="Have yourself added to the group docker (sudo usermod -aG docker $USER, then log in "
            f"again), set DOCKER_HOST to a daemon of your own, {_OTHERWISE}.",
        )
    if "paramiko" in str(error):
        return EngineError(
            f"cannot reach the Docker daemon at {place.shown}",
            why="docker-py needs the package paramiko for ssh",
            hint="Install it: pip install 'docker[ssh]'.",
        )
    start = "Start Docker (sudo systemctl start docker)" if place.address == _SOCKET else "Start that daemon"
    return EngineError(
        f"no Docker daemon answers at {place.shown}",
        why=why,
        hint=f"{start}, set DOCKER_HOST to another, {_OTHERWISE}.",
    )


def _cause(error: BaseException) -> BaseException:
    """The system's own error below those that libraries made of it, else the lowest."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        following = following.__cause__ or following.__context__
    found = (e for e in reversed(seen) if isinstance(e, OSError) and e.errno)
    return next(found, seen[-1])


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return shown(said.partition("\n")[0])
