"""Logins of channels, indexes and registries are in nothing that the commands write or say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.integration import private
from tests.integration.commands import envpack
from tests.integration.private import AWKWARD, SECRET, USER, no_secret
from tests.standins import index
from tests.standins.scripted import Scripted

LOGIN = "http://${PRIVATE_USER}:${PRIVATE_PASSWORD}@HOST/login"
TOKEN = "http://HOST/t/${PRIVATE_TOKEN}"
# How a source names the private channel and index. HOST is filled in.
SOURCES = {
    "logins": (f"{LOGIN}/c", [f"--index-url {LOGIN}/simple"]),
    "tokens": (f"{TOKEN}/c", [f"--index-url {TOKEN}/simple"]),
    "an extra index": (f"{LOGIN}/c", [f"--extra-index-url {TOKEN}/simple"]),
    "links": (f"{TOKEN}/c", [f"--extra-index-url {LOGIN}/simple", f"--find-links {LOGIN}/simple/click/"]),
}


@pytest.fixture(scope="module")
def private_registry(registry: Served) -> Iterator[Scripted]:
    """The registry stand-in behind a login."""
    with private.registry(registry) as server:
        yield server


@pytest.fixture
def settings(config_file: Path, registry: Served, private_registry: Scripted) -> Path:
    """A configuration with the private registry in place of Docker Hub, its login by reference."""
    text = config_file.read_text().replace(registry.url, private_registry.url)
    config_file.write_text(text + _login(private_registry))
    return config_file


def _login(server: Scripted) -> str:
    host = server.url.removeprefix("http://")
    return f'\n[credentials."{host}"]\nusername = "{USER}"\npassword_env = "PRIVATE_PASSWORD"\n'


@pytest.mark.parametrize(("channel_url", "options"), SOURCES.values(), ids=SOURCES.keys())
def test_every_command(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    channel: Served,
    settings: Path,
    private_registry: Scripted,
    channel_url: str,
    options: list[str],
) -> None:
    with private.folder(channel.path) as packages, private.folder(index.index()) as wheels:
        settings.write_text(settings.read_text() + _login(wheels))
        pip = [option.replace("HOST", wheels.url.removeprefix("http://")) for option in options]
        source = {
            "name": "x",
            "channels": [channel_url.replace("HOST", packages.url.removeprefix("http://"))],
            "dependencies": ["python", {"pip": [*pip, "click"]}],
        }
        (tmp_path / "environment.yml").write_text(json.dumps(source))  # JSON is YAML
        given = {
            "PRIVATE_USER": USER,
            "PRIVATE_PASSWORD": AWKWARD,
            "PRIVATE_TOKEN": SECRET,
            "UV_CACHE_DIR": str(tmp_path_factory.mktemp("uv")),  # the user's own, and no product
            "UV_DEFAULT_INDEX": f"{wheels.url}/login/none",  # asked beside an extra one; it has nothing
        }
        runs = [
            envpack(*command, config=settings, cwd=tmp_path, check=True, **given)
            for command in (
                ["lock"], ["lock", "--check", "--json"], ["recipe", "--json"], ["build"],
                ["build", "--format", "oci", "--json"],
            )
        ]  # fmt: skip
    # All that is private was needed.
    assert any(path.endswith(".conda") for path in packages.paths())
    assert any(path.endswith(".whl") for path in wheels.paths())
    assert any("/blobs/" in path for path in private_registry.paths())
    made = {path.name for path in tmp_path.rglob("*")}
    assert made >= {"x.sif", "x.oci.tar", "Dockerfile", "Apptainer.def", "wheels.html", "x.conda-lock.yml"}
    no_secret(tmp_path, *runs)
    # The user's name is no secret, and nobody's business all the same.
    named = [name for name, data in private.everything(tmp_path) if USER.encode() in data]
    assert [name for name in named if name != str(settings) and "/repodata/" not in name] == []
    assert "${PRIVATE_" in (tmp_path / "lockfiles" / "x.conda-lock.yml").read_text()
