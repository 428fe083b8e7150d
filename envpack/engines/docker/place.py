"""Where the Docker daemon is, as the ``docker`` command finds it.

The variable ``DOCKER_HOST`` (with ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``) comes first, then the
context that ``DOCKER_CONTEXT`` or docker's own configuration names, then the usual socket. A context is in
two places below ``$DOCKER_CONFIG``, else ``~/.docker``; ID is the sha256 of its name:

    config.json                          {"currentContext": NAME, …}
    contexts/meta/ID/meta.json           {"Endpoints": {"docker": {"Host": …, "SkipTLSVerify": …}}, …}
    contexts/tls/ID/docker/{ca,cert,key}.pem

docker-py has this too, but looks in the current folder where there is no ``config.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envpack.engines.docker.redaction import shown
from envpack.errors import EngineError

SOCKET = "unix:///var/run/docker.sock"
OTHERWISE = "or build without Docker: with the native engine or with --engine apptainer"


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


def find(environ: Mapping[str, str]) -> Place:
    """Where the daemon should be; raises :class:`EngineError` for what cannot be."""
    config = _config(environ)
    if host := environ.get("DOCKER_HOST"):
        verify, certificates = environ.get("DOCKER_TLS_VERIFY"), environ.get("DOCKER_CERT_PATH")
        tls = None
        if verify or certificates:
            tls = _tls(Path(certificates) if certificates else config, bool(verify), host)
        return Place(host, "the variable DOCKER_HOST names it", tls)
    named = environ.get("DOCKER_CONTEXT")
    name = named or _document(config / "config.json").get("currentContext") or "default"
    if name == "default":
        return Place(SOCKET, "that is where Docker listens unless something else is said")
    because = "the variable DOCKER_CONTEXT" if named else f"currentContext in {config / 'config.json'}"
    return _context(config / "contexts", str(name), because)


def _context(contexts: Path, name: str, because: str) -> Place:
    identifier = hashlib.sha256(name.encode()).hexdigest()
    endpoints = _document(contexts / "meta" / identifier / "meta.json").get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(endpoint, dict) or not isinstance(host, str) or not host:
        raise EngineError(
            f"there is no docker context {name!r}",
            why=f"{because} names it",
            hint=f"Choose another with `docker context use`, set DOCKER_HOST, {OTHERWISE}.",
        )
    certificates = contexts / "tls" / identifier / "docker"
    tls = _tls(certificates, not endpoint.get("SkipTLSVerify"), host) if certificates.is_dir() else None
    return Place(host, f"the docker context {name!r} names it ({because})", tls, name)


def _tls(certificates: Path, verify: bool, host: str) -> Any:
    from docker.tls import TLSConfig

    ca, cert, key = (certificates / name for name in ("ca.pem", "cert.pem", "key.pem"))
    wanted = [path for path in (ca, cert, key) if path != ca or verify]
    if missing := [path.name for path in wanted if not path.is_file()]:
        raise EngineError(
            f"cannot use TLS for the Docker daemon at {shown(host)}",
            why=f"{certificates} has no {' and no '.join(missing)}",
            hint="DOCKER_CERT_PATH, or the docker context, must have ca.pem, cert.pem and key.pem.",
        )
    return TLSConfig(
        client_cert=(str(cert), str(key)), ca_cert=str(ca) if ca.is_file() else None, verify=verify
    )


def _config(environ: Mapping[str, str]) -> Path:
    folder = environ.get("DOCKER_CONFIG")
    return Path(folder) if folder else Path(environ.get("HOME") or Path.home()) / ".docker"


def _document(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise EngineError(f"cannot read docker's configuration {path}", why=error.strerror) from error
    except (ValueError, RecursionError):  # the parser's words may quote the file, which holds secrets
        found = None
    if not isinstance(found, dict):
        raise EngineError(
            f"docker's configuration {path} is damaged",
            hint="Mend or remove it; `docker context create` and `docker login` write it anew.",
        )
    return found
