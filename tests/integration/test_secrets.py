"""Secrets stay out of everything that is written or said, and hostile values stay values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import envpack, failed
from tests.integration.private import BASIC, SECRET, USER, no_secret
from tests.integration.private import folder as private_folder
from tests.standins import scripted
from tests.standins.scripted import Asked, Reply, Scripted


@pytest.fixture
def private(channel: Served) -> Iterator[Scripted]:
    """The channel stand-in behind a login (at /login/c) and behind a token in the path (at /t/TOKEN/c)."""
    with private_folder(channel.path) as server:
        yield server


CHANNELS = {
    "a login": "http://${CHANNEL_USER}:${CHANNEL_PASSWORD}@HOST/login/c",
    "a token": "http://HOST/t/${CHANNEL_PASSWORD}/c",
}


@pytest.mark.parametrize("channel_url", CHANNELS.values(), ids=CHANNELS.keys())
def test_a_channel_with_secrets(
    tmp_path: Path, private: Scripted, config_file: Path, cache: Path, channel_url: str
) -> None:
    url = channel_url.replace("HOST", private.url.removeprefix("http://"))
    (tmp_path / "environment.yml").write_text(f"name: x\nchannels: ['{url}']\ndependencies: [clobber_a]\n")
    variables = {"CHANNEL_USER": USER, "CHANNEL_PASSWORD": SECRET}
    unset = envpack("lock", config=config_file, cwd=tmp_path, check=False)
    failed(unset, 4, "CHANNEL_PASSWORD", "is not set")
    locked = envpack("lock", config=config_file, cwd=tmp_path, check=False, **variables)
    assert locked.returncode == 0, locked.stderr
    assert "${CHANNEL_PASSWORD}" in (tmp_path / "lockfiles" / "x.conda-lock.yml").read_text()
    built = envpack("build", "--json", config=config_file, cwd=tmp_path, check=False, **variables)
    assert built.returncode == 0, built.stderr
    wrong = {"CHANNEL_USER": USER, "CHANNEL_PASSWORD": SECRET + "x"}
    fresh = {"ENVPACK_CACHE": str(tmp_path / "fresh"), **wrong}
    refused = [
        envpack(*command, config=config_file, cwd=tmp_path, check=False, **fresh)
        for command in (["lock"], ["build"])
    ]
    assert {done.returncode for done in refused} == {5}
    no_secret(tmp_path, unset, locked, built, *refused)


def test_a_secret_written_in_the_file_is_refused(tmp_path: Path, config_file: Path) -> None:
    for url in (f"https://me:{SECRET}@example.org/c", f"https://example.org/t/{SECRET}/c"):
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "environment.yml").write_text(f"name: x\nchannels: ['{url}']\ndependencies: [six]\n")
        for arguments in (["lock"], ["lock", "--json"]):
            done = envpack(*arguments, config=config_file, cwd=folder, check=False)
            assert done.returncode == 3
            assert SECRET not in done.stdout + done.stderr
        (folder / "environment.yml").write_text("name: x\ndependencies: [six]\n")
        (folder / "requirements.txt").write_text(f"--index-url {url}\nsix\n")
        done = envpack("lock", "requirements.txt", config=config_file, cwd=folder, check=False)
        assert done.returncode == 3
        assert SECRET not in done.stdout + done.stderr


def test_a_registry_s_login(tmp_path: Path, config_file: Path, registry: Served) -> None:
    """By reference in the configuration; refused by the registry."""
    with scripted.serving() as server:

        def reply(asked: Asked) -> Reply:
            server.asked.append(asked)
            return Reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

        server.reply = reply  # type: ignore[method-assign]  # this one server
        host = server.url.removeprefix("http://")
        text = config_file.read_text().replace(registry.url, server.url)
        config_file.write_text(
            f'{text}\n[credentials."{host}"]\nusername = "{USER}"\npassword_env = "REGISTRY_PASSWORD"\n'
        )
        (tmp_path / "environment.yml").write_text(
            "name: x\nchannels: [conda-forge]\ndependencies: [clobber_a]\n"
        )
        unset = envpack("lock", config=config_file, cwd=tmp_path, check=False)
        failed(unset, 11, "REGISTRY_PASSWORD", "export REGISTRY_PASSWORD")
        done = envpack("lock", config=config_file, cwd=tmp_path, check=False, REGISTRY_PASSWORD=SECRET)
        failed(done, 7, "ubuntu:20.04", "may not read it")
        assert any(asked.headers.get("authorization") == f"Basic {BASIC}" for asked in server.asked)
    no_secret(tmp_path, done)


HOSTILE = {
    "QUOTES": 'it\'s "quoted" \\ `id` $(touch escaped) ${HOME}',
    "LINES": "one\n%post\n  touch escaped\n%environment\ntwo\n",
    "DOCKER": "x\nRUN touch escaped\n",
    "EMPTY": "",
    "UNICODE": "\N{SNOWMAN} \N{LATIN SMALL LETTER E WITH ACUTE}",
    "PERCENT": "%(name)s %% {braces} %files",
}


def test_hostile_variables_stay_values(tmp_path: Path, config_file: Path) -> None:
    environment_yml = {"name": "x", "channels": ["conda-forge"], "dependencies": ["clobber_a"]}
    # JSON is YAML.
    (tmp_path / "environment.yml").write_text(json.dumps({**environment_yml, "variables": HOSTILE}))
    envpack("lock", config=config_file, cwd=tmp_path)
    envpack("build", config=config_file, cwd=tmp_path)
    with (tmp_path / "images" / "x.sif").open("rb") as file:
        image = Squashfs(file, sif.read(tmp_path / "images" / "x.sif").partition().offset)
        scripts = {
            e.path: b"".join(e.chunks)
            for e in image.entries()
            if e.path.startswith(".singularity.d/env/") and e.kind is Kind.FILE
        }
    folder = tmp_path / "scripts"
    folder.mkdir()
    for path, data in scripts.items():
        (folder / path.rpartition("/")[2]).write_bytes(data)
    show = 'for f in scripts/*.sh; do . "$f"; done; for n; do eval "printf \'%s\\0\' \\"\\$$n\\""; done'
    seen = subprocess.run(["sh", "-c", show, "sh", *HOSTILE], cwd=tmp_path, capture_output=True, check=True)
    assert seen.stdout.decode().split("\0")[:-1] == list(HOSTILE.values())
    assert not list(tmp_path.rglob("escaped"))


def test_variables_that_no_image_can_set(tmp_path: Path, config_file: Path) -> None:
    """Known before the solve: the build would refuse them."""
    source = {"name": "x", "channels": ["conda-forge"], "dependencies": ["clobber_a"]}
    variables = {"PATH": "x", "LD_PRELOAD": "y"}
    (tmp_path / "environment.yml").write_text(json.dumps({**source, "variables": variables}))
    done = envpack("lock", config=config_file, cwd=tmp_path, check=False)
    failed(done, 3, "the variable 'PATH' cannot be set", "the variable 'LD_PRELOAD' cannot be set")
    assert not (tmp_path / "lockfiles").exists()


@pytest.mark.parametrize("name", ["x\n%post", "x$(id)", "x y", "../x", 'x"', "-x", "%post", "x" * 200])
def test_hostile_names(tmp_path: Path, config_file: Path, name: str) -> None:
    source = {"name": name, "channels": ["conda-forge"], "dependencies": ["clobber_a"]}
    (tmp_path / "environment.yml").write_text(json.dumps(source))
    done = envpack("lock", config=config_file, cwd=tmp_path, check=False)
    failed(done, 3, "cannot be a file name", "environment.yml:1:")
    assert not (tmp_path / "lockfiles").exists()
