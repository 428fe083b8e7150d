"""The Docker daemon: what it can do, and what it means when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from envpack.engines.docker import failures
from envpack.engines.docker.place import OTHERWISE, SOCKET, Place, find
from envpack.engines.docker.redaction import shown
from envpack.errors import EngineError

_ANSWER_WITHIN = 60  # seconds for the first answer; builds take what they take
_BUILDKIT_SINCE = (1, 39)  # API version, Docker 18.09


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
        client = _client(place, docker.constants.MINIMUM_DOCKER_API_VERSION)
        about = client.version(api_version=False)
        client = _client(place, str(about["ApiVersion"]))
    except (docker.errors.DockerException, requests.RequestException, OSError, LookupError) as error:
        raise _unreachable(place, error) from error
    client.timeout = None
    parts = [str(part.get("Name")) for part in about.get("Components") or () if isinstance(part, dict)]
    version = tuple(int(number) for number in str(about["ApiVersion"]).split(".") if number.isdigit())
    buildkit = version >= _BUILDKIT_SINCE and about.get("Os") == "linux" and "Podman Engine" not in parts
    return Daemon(place, client, str(about.get("Arch")), buildkit)


def _client(place: Place, version: str) -> Any:
    """docker-py's client, which with an API version does not connect yet."""
    import docker

    client = docker.APIClient(
        base_url=place.address,
        version=version,
        tls=place.tls or False,
        timeout=_ANSWER_WITHIN,
        use_ssh_client=place.address.startswith("ssh://"),
    )
    if place.tls:
        # Else REQUESTS_CA_BUNDLE, which is for the web, takes the place of the daemon's own certificate.
        client.trust_env = False
    return client


def _unreachable(place: Place, error: Exception) -> EngineError:
    cause = _cause(error)
    why = f"{_reason(error)}\n{place.shown}: {place.because}"
    if isinstance(cause, PermissionError):
        return EngineError(
            f"you may not use the Docker daemon at {place.shown}",
            why=why,
            hint="Have yourself added to the group docker (sudo usermod -aG docker $USER, then log in "
            f"again), set DOCKER_HOST to a daemon of your own, {OTHERWISE}.",
        )
    if "paramiko" in str(error):
        return EngineError(
            f"cannot reach the Docker daemon at {place.shown}",
            why="docker-py needs the package paramiko for ssh",
            hint="Install it: pip install 'docker[ssh]'.",
        )
    start = "Start Docker (sudo systemctl start docker)" if place.address == SOCKET else "Start that daemon"
    return EngineError(
        f"no Docker daemon answers at {place.shown}",
        why=why,
        hint=f"{start}, set DOCKER_HOST to another, {OTHERWISE}.",
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
