"""A conda channel and a package index on 127.0.0.1, made of what a test says, well or ill behaved."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from envpack.config import Config
from envpack.ledger import Ledger

MANYLINUX = "manylinux_2_17_x86_64"


@dataclass
class Served:
    """Files by path, and how to misbehave: a status, ``"slow"``, ``"closed"``, ``"garbage"``."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    behaviour: int | str = 200
    seen: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer as the test wants."""
        served = self.server.served
        path = self.path.partition("?")[0]
        served.seen.append(path)
        behaviour = served.behaviour
        if behaviour == "closed":
            self.close_connection = True
            return
        if behaviour == "slow":
            while not self.server.ending:
                time.sleep(0.02)
            self.close_connection = True
            return
        body = b"<html>Please log in</html>" if behaviour == "garbage" else served.files.get(path)
        status = behaviour if isinstance(behaviour, int) else 200
        if body is None or status != 200:
            status, body = (404 if status == 200 else status), b"no"
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if path.endswith("json") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "public, max-age=600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # the name that http.server calls


class Server(ThreadingHTTPServer):
    """One served thing; ``ending`` lets slow answers go."""

    daemon_threads = True

    def __init__(self, served: Served) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = served
        self.ending = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients go away in the middle of an answer here."""


@contextmanager
def serving(served: Served, path: str) -> Iterator[Served]:
    """Serve until the block ends."""
    with Server(served) as server:
        served.url = f"http://127.0.0.1:{server.server_port}{path}"
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.ending = True
            server.shutdown()
            thread.join()


@dataclass
class Channel(Served):
    """A conda channel: repodata only, which is all that a solve reads."""

    packages: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"linux-64": {}, "linux-aarch64": {}, "noarch": {}}
    )

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        subdir: str = "noarch",
        build: str = "0",
        depends: Sequence[str] = (),
        timestamp: int | None = 1_700_000_000_000,
        **more: Any,
    ) -> None:
        """Add a package; ``None`` among ``more`` leaves a field out."""
        filename = f"{name}-{version}-{build}.conda"
        record = {
            "name": name,
            "version": version,
            "build": build,
            "build_number": 0,
            "depends": list(depends),
            "subdir": subdir,
            "size": 1000,
            "timestamp": timestamp,
            "md5": hashlib.md5(filename.encode()).hexdigest(),
            "sha256": hashlib.sha256(f"{subdir}/{filename}".encode()).hexdigest(),
            **({"noarch": "generic"} if subdir == "noarch" else {}),
            **more,
        }
        self.packages[subdir][filename] = {k: v for k, v in record.items() if v is not None}
        self.publish()

    def publish(self) -> None:
        """Write the repodata of all subdirs."""
        for subdir, packages in self.packages.items():
            repodata = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages}
            self.files[f"/channel/{subdir}/repodata.json"] = json.dumps(repodata).encode()


@dataclass
class Index(Served):
    """A package index (PEP 503) of wheels that hold metadata only."""

    links: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        tag: str = "py3-none-any",
        requires: Sequence[str] = (),
        sdist: bool = False,
        hashed: bool = True,
    ) -> None:
        """Add a wheel, or in its place a source archive."""
        label = f"{name.replace('-', '_')}-{version}"
        filename = f"{label}.tar.gz" if sdist else f"{label}-{tag}.whl"
        body = b"an archive" if sdist else _wheel(name, version, label, tag, requires)
        self.files[f"/files/{filename}"] = body
        digest = f"#sha256={hashlib.sha256(body).hexdigest()}" if hashed else ""
        self.links.setdefault(name, []).append(f'<a href="/files/{filename}{digest}">{filename}</a>')
        page = f"<!DOCTYPE html><html><body>{''.join(self.links[name])}</body></html>"
        self.files[f"/simple/{name}/"] = page.encode()


def _wheel(name: str, version: str, label: str, tag: str, requires: Sequence[str]) -> bytes:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as wheel:
        for member, text in (
            ("METADATA", metadata),
            ("WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n"),
            ("RECORD", ""),
        ):
            wheel.writestr(zipfile.ZipInfo(f"{label}.dist-info/{member}"), text)
    return out.getvalue()


@pytest.fixture
def channel() -> Iterator[Channel]:
    """A channel with nothing but python and pip."""
    made = Channel()
    made.add("python", "3.11.7", subdir="linux-64", build="0_cpython", depends=["__glibc >=2.17,<3.0.a0"])
    made.add("python", "3.11.7", subdir="linux-aarch64", build="0_cpython", depends=["__glibc >=2.17"])
    made.add("pip", "26.0", depends=["python >=3.9"], noarch="python")
    with serving(made, "/channel"):
        yield made


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """An empty package index, which is uv's only one; uv has an empty cache and no patience."""
    made = Index()
    with serving(made, "/simple"):
        monkeypatch.setenv("UV_DEFAULT_INDEX", made.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        monkeypatch.setenv("UV_HTTP_TIMEOUT", "1")
        for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An empty cache and no mirrors."""
    return Config(tmp_path / "cache")


@pytest.fixture
def ledger() -> Ledger:
    """An empty ledger."""
    return Ledger()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels that misbehave are asked once and not for long."""
    monkeypatch.setattr("envpack.locking.solver.RETRIES", 0)
    monkeypatch.setattr("envpack.locking.solver.REQUEST_SECONDS", 1)
