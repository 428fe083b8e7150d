"""Channels, indexes and registries behind a login, and the search for what nobody else may read."""

from __future__ import annotations

import base64
import io
import os
import stat
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envpack.content import tar_stream
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import Done
from tests.standins import scripted
from tests.standins.scripted import Asked, Reply, Scripted

USER, SECRET = "somebody-private", "s3cr3t-Pa55-w0rd"
# A password that means something to everything in a URL, and the part of it that is the same however encoded.
AWKWARD, AWKWARD_START = "s3cr3t-awkward/p@ss:w?rd#%$", "s3cr3t-awkward"


def basic(password: str) -> str:
    """What is sent to log in with ``password``, behind ``Basic``."""
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


BASIC = basic(SECRET)
_READABLE = (SECRET, BASIC, AWKWARD_START, basic(AWKWARD))
_TOKEN = f"/t/{SECRET}"


@contextmanager
def folder(path: Path) -> Iterator[Scripted]:
    """``path`` served behind a login (below /login) and behind a token (below /t/TOKEN), and not else.

    Links in its pages are taken to be absolute paths, and lead to where the page was asked for.
    """

    def reply(asked: Asked) -> Reply:
        server.asked.append(asked)
        start = next((start for start in ("/login", _TOKEN) if asked.path.startswith(f"{start}/")), None)
        if start is None or (start == "/login" and not _is_login(asked)):
            return Reply(401, b"", {"WWW-Authenticate": "Basic"})
        wanted = path / asked.path.removeprefix(start).removeprefix("/c/").lstrip("/")
        if wanted.is_dir():
            page = (wanted / "index.html").read_bytes().replace(b'href="/', f'href="{start}/'.encode())
            return Reply(200, page, {"Content-Type": "text/html"})
        return scripted.file(wanted.read_bytes())(asked) if wanted.is_file() else Reply(404)

    with scripted.serving() as server:
        server.reply = reply  # type: ignore[method-assign]  # this one server
        yield server


@contextmanager
def registry(public: Served) -> Iterator[Scripted]:
    """What ``public`` serves, behind a login."""

    def reply(asked: Asked) -> Reply:
        server.asked.append(asked)
        if not _is_login(asked):
            return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="private"'})
        headers = {"Accept": asked.headers.get("accept", "*/*")}
        request = urllib.request.Request(public.url + asked.path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                names = ("Content-Type", "Docker-Content-Digest")
                kept = {name: answer.headers[name] for name in names if name in answer.headers}
                return Reply(200, answer.read(), kept)
        except urllib.error.HTTPError as error:
            return Reply(error.code)

    with scripted.serving() as server:
        server.reply = reply  # type: ignore[method-assign]  # this one server
        yield server


def _is_login(asked: Asked) -> bool:
    return asked.headers.get("authorization") in (f"Basic {BASIC}", f"Basic {basic(AWKWARD)}")


def everything(below: Path) -> Iterator[tuple[str, bytes]]:
    """All that was written below a folder, and what is in the images."""
    for path in below.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".sif":
            with path.open("rb") as file:
                for entry in Squashfs(file, sif.read(path).partition().offset).entries():
                    yield f"{path}:{entry.path}", entry.path.encode() + b"".join(entry.chunks)
        if path.name.endswith(".oci.tar"):
            with tarfile.open(path) as archive:
                for member in archive:
                    blob = archive.extractfile(member)
                    if blob is not None:  # layers as the tar that they are, all else as it is
                        yield f"{path}:{member.name}", _plain(blob.read())


def _plain(blob: bytes) -> bytes:
    stream = tar_stream.decompressed(io.BytesIO(blob))
    return b"".join(iter(lambda: stream.read(1 << 20), b""))


def no_secret(below: Path, *runs: Done) -> None:
    """Check that no secret was written below a folder, or said."""
    wanted = [secret.encode() for secret in _READABLE]
    found = [name for name, data in everything(below) if any(secret in data for secret in wanted)]
    # What the solver keeps of a channel has its address: where nobody else can read it, as ~/.netrc is.
    private = [p for p in below.rglob(f"repodata/*-{os.getuid()}") if stat.S_IMODE(p.stat().st_mode) == 0o700]
    assert [name for name in found if not any(str(p) in name for p in private)] == []
    for done in runs:
        assert not any(secret in done.stdout + done.stderr for secret in _READABLE)
