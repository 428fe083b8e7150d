"""Debian's ``docker-registry`` on 127.0.0.1, the stand-in for Docker Hub, and pushing images to it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.standins import debian, store
from tests.standins.tied import tied

START_SECONDS = 30


def binary() -> Path:
    """The program: the installed one, or the one from Debian's package, which needs no root."""
    if installed := shutil.which("docker-registry"):
        return Path(installed)
    key = store.key(Path("/etc/os-release").read_text(), files=("debian.py",))
    return store.built("docker-registry", key, _unpack) / "docker-registry"


def _unpack(folder: Path) -> None:
    with debian.downloaded(["docker-registry"], dependencies=False) as (deb,):
        for member, data in debian.content(deb):
            if member.name == "usr/bin/docker-registry":
                program = folder / "docker-registry"
                program.write_bytes(data)
                program.chmod(0o755)
                return
    raise store.StandInError(f"{deb.name} holds no usr/bin/docker-registry")


@contextmanager
def serving() -> Iterator[str]:
    """Run an empty registry while the context lasts; gives its URL."""
    program = binary()
    with tempfile.TemporaryDirectory(prefix="envpack-registry-") as temporary:
        folder = Path(temporary)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        settings = folder / "config.yml"
        settings.write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: '{folder}'}}, delete: {{enabled: true}}}}\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(tied([program, "serve", settings]), stdout=log, stderr=log)
        try:
            _wait(process, f"http://{address}", folder / "log")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(START_SECONDS * 20):
        if process.poll() is not None:
            break
        try:
            _request("GET", f"{url}/v2/")
            return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise store.StandInError(f"docker-registry does not start: {log.read_text('utf-8')[-500:]}")


def push(url: str, repository: str, tag: str, layout: Path) -> str:
    """Push the first image, or index, of an OCI layout; gives its digest. Distribution specification 1.1."""
    top = json.loads((layout / "index.json").read_text("utf-8"))["manifests"][0]
    _push(f"{url}/v2/{repository}", layout, top, tag)
    return str(top["digest"])


def _push(base: str, layout: Path, descriptor: dict[str, Any], reference: str) -> None:
    data = _content(layout, descriptor)
    document = json.loads(data)
    for child in document.get("manifests", ()):
        _push(base, layout, child, child["digest"])
    if "config" in document:
        for blob in (document["config"], *document["layers"]):
            _push_blob(base, layout, blob)
    _request("PUT", f"{base}/manifests/{reference}", data, descriptor["mediaType"])


def _push_blob(base: str, layout: Path, descriptor: dict[str, Any]) -> None:
    try:
        _request("HEAD", f"{base}/blobs/{descriptor['digest']}")
    except urllib.error.HTTPError:
        started = _request("POST", f"{base}/blobs/uploads/", b"")
        location = urljoin(base, started["Location"])
        mark = "&" if "?" in location else "?"
        data = _content(layout, descriptor)
        url = f"{location}{mark}digest={descriptor['digest']}"
        _request("PUT", url, data, "application/octet-stream")


def _content(layout: Path, descriptor: dict[str, Any]) -> bytes:
    digest: str = descriptor["digest"]
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def _request(method: str, url: str, data: bytes | None = None, kind: str = "") -> Message:
    request = urllib.request.Request(url, data, {"Content-Type": kind} if kind else {}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        received: Message = answer.headers
        return received
