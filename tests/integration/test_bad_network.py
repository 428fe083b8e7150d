"""Channels and registries that cannot be reached, refuse, fail, are slow or give the wrong bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from envpack import lockfile
from tests.conftest import Served
from tests.integration.commands import Done, envpack, error, failed, nothing_written, with_prelude
from tests.integration.conftest import Prepared, Project
from tests.standins import scripted
from tests.standins.scripted import Asked, Reply, Script, Scripted
from tests.standins.settings import config_toml

# No waiting between tries, and little for an answer.
IMPATIENT = with_prelude(
    "from envpack.download import Downloader\n"
    "Downloader.__init__.__kwdefaults__.update(wait=lambda seconds: None, read_timeout=0.5)\n"
)
SOURCE = "name: x\nchannels: [conda-forge]\ndependencies: [clobber_a]\n"
UNREACHABLE = "http://127.0.0.1:1"
STATUSES = {
    401: "does not let you read",
    403: "does not let you read",
    404: "does not exist",
    429: "limits how often it may be asked",
    500: "failed to answer",
}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted.serving() as running:
        yield running


def answer_all(server: Scripted, script: Script) -> None:
    """Have ``server`` give the same answer to whatever is asked."""

    def reply(asked: Asked) -> Reply:
        server.asked.append(asked)
        return script if isinstance(script, Reply) else script(asked)

    server.reply = reply  # type: ignore[method-assign]  # this one server


def archives(project: Project) -> list[tuple[str, str]]:
    """The path on the channel's server, and the hash, of each package of the lock."""
    packages = lockfile.read(project.lock).packages
    return [("/" + "/".join(p.url.rsplit("/", 2)[1:]), p.sha256) for p in packages]


@pytest.fixture
def project(plain: Prepared, tmp_path: Path, server: Scripted) -> Project:
    """Everything but the packages is cached; ``server`` is the channel, and serves them well."""
    copied = plain.copied(tmp_path, built=True, channel=server.url)
    for path, digest in archives(copied):
        (cached,) = (copied.cache / "archives").glob(f"{digest}-*")
        server.on(path, scripted.file(cached.read_bytes()))
    shutil.rmtree(copied.cache / "archives")
    return copied


def build(project: Project, *arguments: str) -> Done:
    return envpack(
        "build", *arguments, config=project.config, cwd=project.folder, check=False, command=IMPATIENT
    )


def refused(project: Project, code: int, *words: str) -> str:
    with nothing_written(project.folder):
        return failed(build(project), code, *words)


def completed(project: Project, expected: Prepared) -> None:
    """The same command again gives the right image."""
    done = build(project)
    assert done.returncode == 0, done.stderr
    assert sha256(project.image.read_bytes()).hexdigest() == expected.sha256


def test_a_channel_that_cannot_be_locked_from(tmp_path: Path, registry: Served) -> None:
    """All of them at a time: the solver's own retries wait for real."""
    words = {
        None: "refuses connections",
        200: "did not answer with package data",
        401: "refuses access (401)",
        403: "refuses access (403)",
        404: "does not exist",
        429: "asks to come back later (429)",
        500: "has a fault of its own (500)",
    }

    def lock(status: int | None) -> tuple[int | None, Done]:
        folder = tmp_path / str(status)
        folder.mkdir()
        (folder / "environment.yml").write_text(
            "name: x\nchannels: [conda-forge]\ndependencies: [clobber_a]\n"
        )
        with scripted.serving() as server:
            answer_all(server, Reply(status or 200, b"<html>sign in</html>", {"Retry-After": "0"}))
            url = UNREACHABLE if status is None else server.url
            config = tmp_path / f"{status}.toml"
            config.write_text(config_toml(tmp_path / f"cache-{status}", url, registry.url))
            return status, envpack("lock", config=config, cwd=folder, check=False)

    with ThreadPoolExecutor(len(words)) as pool:
        for status, done in pool.map(lock, words):
            failed(done, 5, "the channel https://conda.anaconda.org/conda-forge", words[status])
            assert [p.name for p in (tmp_path / str(status)).iterdir()] == ["environment.yml"]


def test_a_channel_that_never_answers(tmp_path: Path, server: Scripted, registry: Served) -> None:
    (tmp_path / "environment.yml").write_text(SOURCE)
    answer_all(server, Reply(silent=True))
    config = tmp_path / "config.toml"
    config.write_text(config_toml(tmp_path / "cache", server.url, registry.url))
    soon = with_prelude("import envpack.locking.solver\nenvpack.locking.solver.ANSWER_SECONDS = 1\n")
    done = envpack("lock", config=config, cwd=tmp_path, check=False, command=soon)
    failed(done, 5, "the channel https://conda.anaconda.org/conda-forge", "within 1 s")
    assert not (tmp_path / "lockfiles").exists()


@pytest.mark.parametrize("status", STATUSES)
def test_a_channel_that_refuses_archives(
    project: Project, plain: Prepared, server: Scripted, status: int
) -> None:
    (path, _), *_ = archives(project)
    good = server._scripts[path]
    server.on(path, Reply(status, b"no", {"Retry-After": "0"}))
    name = path.rpartition("/")[2]
    message = refused(project, 5, STATUSES[status], f"status {status}", server.url)
    assert name in message or status == 429
    assert server.paths().count(path) == (5 if status in (429, 500) else 1), "what may pass is tried again"
    server.on(path, *good)
    before = len(server.asked)
    completed(project, plain)
    assert server.paths()[before:] == [path], "the others were kept"


def test_a_channel_that_has_none_of_the_archives(project: Project, server: Scripted) -> None:
    for path, _ in archives(project):
        server.on(path, Reply(404))
    message = refused(project, 5, "3 of 3 files could not be downloaded")
    assert all(path.rpartition("/")[2] in message for path, _ in archives(project))
    assert len(error(build(project, "--json"), 5, "NetworkError")["problems"]) == 3  # type: ignore[arg-type]  # a list


def test_a_channel_that_is_gone(plain: Prepared, tmp_path: Path) -> None:
    project = plain.copied(tmp_path, channel=UNREACHABLE)
    refused(project, 5, "127.0.0.1:1", "Connection refused")


def test_a_channel_that_falls_silent(project: Project, plain: Prepared, server: Scripted) -> None:
    (path, _), *_ = archives(project)
    good = server._scripts[path]
    server.on(path, Reply(silent=True))
    refused(project, 5, "too slow: nothing came for 0.5 s")
    server.on(path, *good)
    completed(project, plain)


def test_an_archive_with_other_content(project: Project, plain: Prepared, server: Scripted) -> None:
    (path, digest), *_ = archives(project)
    good = server._scripts[path]
    server.on(path, Reply(200, b"something else"))
    message = refused(project, 6, "does not have the recorded content", f"expected sha256 {digest}")
    assert f"got sha256 {sha256(b'something else').hexdigest()}" in message
    assert server.paths().count(path) == 2, "once more, in case it was an accident"
    assert not any((project.cache / "archives").glob(f"{digest}-*"))
    server.on(path, *good)
    completed(project, plain)


def test_an_archive_that_is_cut_short_goes_on_where_it_stopped(
    project: Project, plain: Prepared, server: Scripted
) -> None:
    (path, _), *_ = archives(project)
    content = good_content(server, path)
    server.on(path, Reply(200, content, cut=100), scripted.file(content))
    completed(project, plain)
    ranges = [asked.headers.get("range") for asked in server.asked if asked.path == path]
    assert ranges == [None, "bytes=100-"]


def test_an_archive_that_is_always_cut_short_goes_on_with_the_next_command(
    project: Project, plain: Prepared, server: Scripted
) -> None:
    (path, digest), *_ = archives(project)
    content = good_content(server, path)
    serve = scripted.file(content)

    def cut(asked: Asked) -> Reply:
        return replace(serve(asked), cut=0 if "range" in asked.headers else 100)

    server.on(path, cut)
    refused(project, 5, "the connection to conda.anaconda.org broke", server.url.removeprefix("http://"))
    (part,) = (project.cache / "archives").glob(f"{digest}-*")
    assert part.name.endswith(".part")
    assert part.read_bytes() == content[:100]
    server.on(path, scripted.file(content))
    completed(project, plain)
    assert server.asked[-1].headers["range"] == "bytes=100-"


def good_content(server: Scripted, path: str) -> bytes:
    (script,) = server._scripts[path]
    assert callable(script)
    return script(Asked("GET", path, "", {}, b"")).body


def test_a_slow_channel_is_no_error(project: Project, plain: Prepared, server: Scripted) -> None:
    """Two seconds for an archive, four times as long as nothing may come."""
    (path, _), *_ = archives(project)
    content = good_content(server, path)
    server.on(path, Reply(200, content, slow=2.0))
    completed(project, plain)


@pytest.fixture
def own_registry(server: Scripted, registry: Served) -> Scripted:
    """A registry that can be told to misbehave: the stand-in's image, by digest."""
    for blob in (registry.path / "blobs" / "sha256").iterdir():
        for kind in ("manifests", "blobs"):
            server.on(f"/v2/library/ubuntu/{kind}/sha256:{blob.name}", scripted.file(blob.read_bytes()))
    return server


def by_kind(server: Scripted, project: Project, registry: Served) -> dict[str, str]:
    """The paths of the manifest, the configuration and the layer of the locked base image."""
    pins = lockfile.read(project.lock).pins
    assert pins is not None
    digest = pins.platforms["linux-64"].base.digest
    manifest = json.loads((registry.path / "blobs" / "sha256" / digest.hex).read_text())
    start = "/v2/library/ubuntu/"
    return {
        "manifest": f"{start}manifests/{digest}",
        "config": f"{start}blobs/{manifest['config']['digest']}",
        "layer": f"{start}blobs/{manifest['layers'][0]['digest']}",
    }


@pytest.mark.parametrize("kind", ["manifest", "config", "layer"])
def test_a_registry_that_refuses(
    plain: Prepared, tmp_path: Path, own_registry: Scripted, registry: Served, kind: str
) -> None:
    project = plain.copied(tmp_path, registry=own_registry.url)
    path = by_kind(own_registry, project, registry)[kind]
    good = own_registry._scripts[path]
    for status in (401, 404, 500):
        own_registry.on(path, Reply(status, b"no", {"Retry-After": "0"}))
        missing = kind != "layer" and status != 500
        refused(project, 7 if missing else 5, "there is no image ubuntu" if missing else STATUSES[status])
    own_registry.on(path, Reply(200, b"something else"))
    refused(project, 6)
    own_registry.on(path, Reply(200, b"short", cut=2))
    refused(project, 5, "broke")
    own_registry.on(path, *good)
    completed(project, plain)


def test_a_registry_that_cannot_be_reached(plain: Prepared, tmp_path: Path) -> None:
    project = plain.copied(tmp_path, registry=UNREACHABLE)
    refused(project, 5, "cannot read the image ubuntu", "127.0.0.1:1")
    with nothing_written(project.folder):
        done = envpack("lock", config=project.config, cwd=project.folder, check=False, command=IMPATIENT)
    failed(done, 5, "cannot read the image ubuntu:20.04", "127.0.0.1:1")
