"""A web server on 127.0.0.1 that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it came in. ``path`` has no query; headers have their names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One answer. ``cut`` closes the connection after so many bytes of the body; ``silent`` never answers;
    ``slow`` spreads the body over so many seconds.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    silent: bool = False
    slow: float = 0.0


def _pieces(reply: Reply) -> Iterator[bytes]:
    body = reply.body if reply.cut is None else reply.body[: reply.cut]
    count = 20 if reply.slow else 1
    step = -(-len(body) // count) or 1
    for start in range(0, len(body), step):
        yield body[start : start + step]
        time.sleep(reply.slow / count)


Script = Reply | Callable[[Asked], Reply]


def file(content: bytes, **extra: str) -> Callable[[Asked], Reply]:
    """Serves ``content`` with ranges, as channels and registries do."""

    def reply(asked: Asked) -> Reply:
        wanted = asked.headers.get("range")
        if wanted is None:
            return Reply(200, content, extra)
        first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if first >= len(content):
            return Reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        span = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return Reply(206, content[first:], {"Content-Range": span, **extra})

    return reply


class Scripted:
    """Answers by path: each request takes the next reply, the last one for ever. Unknown paths are 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self._scripts: dict[str, list[Script]] = {}
        self._lock = threading.Lock()

    def on(self, path: str, *replies: Script) -> str:
        """Give ``path`` its replies; returns its URL."""
        self._scripts[path] = list(replies)
        return self.url + path

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [asked.path for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        """What to answer now."""
        with self._lock:
            self.asked.append(asked)
            scripts = self._scripts.get(asked.path, [Reply(404)])
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script if isinstance(script, Reply) else script(asked)


@contextmanager
def serving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Scripted]:
    """A server for as long as the context lasts, with TLS if ``context`` is given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = scripted.reply(Asked(self.command, parts.path, parts.query, headers, body))
            if reply.silent:
                scripted.ended.wait(60)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            for piece in _pieces(reply) if self.command != "HEAD" else ():
                self.wfile.write(piece)
            if reply.cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that hang up are part of the tests."""

    server = Server((host, 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    scripted = Scripted(f"{scheme}://{host}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        scripted.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
