"""``envpack build --platform A,B``: the second platform's packages and base are stand-ins without content."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import envpack, failed
from tests.standins.settings import config_toml

ENVIRONMENT = """\
name: both
channels: [conda-forge]
dependencies: [python, entry_demo, clobber_a, clobber_b, pip: [humanize]]
"""
BOTH = ("--platform", "linux-64,linux-aarch64")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Path:
    folder = tmp_path_factory.mktemp("platforms")
    (folder / "environment.yml").write_text(ENVIRONMENT)
    (folder / "config.toml").write_text(config_toml(folder / "cache", channel.url, registry.url))
    both = ("--platform", "linux-64", "--platform", "linux-aarch64")
    envpack("lock", *both, cwd=folder, config=folder / "config.toml")
    return folder


def build(project: Path, *options: str) -> dict[str, Any]:
    done = envpack("build", "--json", *options, cwd=project, config=project / "config.toml")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def built(project: Path) -> dict[str, Any]:
    return build(project, *BOTH, "--format", "oci")


def test_one_archive_holds_an_index_of_both(project: Path, built: dict[str, Any]) -> None:
    images = [platform["image"] for platform in built["platforms"]]
    assert images == [str(Path("images", "both.oci.tar"))] * 2
    data = (project / images[0]).read_bytes()
    assert [p["sha256"] for p in built["platforms"]] == [hashlib.sha256(data).hexdigest()] * 2
    with tarfile.open(project / images[0]) as tar:

        def document(digest: str) -> Any:
            member = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert member is not None
            return json.loads(member.read())

        listed = {m["platform"]["architecture"]: m["digest"] for m in document(built["index"])["manifests"]}
        assert list(listed) == ["amd64", "arm64"]
        assert list(listed.values()) == [platform["manifest"] for platform in built["platforms"]]
        manifests = [document(digest) for digest in listed.values()]
        configs = [document(manifest["config"]["digest"]) for manifest in manifests]
        assert [config["architecture"] for config in configs] == ["amd64", "arm64"]
        layers = [{layer["digest"] for layer in manifest["layers"]} for manifest in manifests]
        assert layers[0] != layers[1]
        names = tar.getnames()
        assert len(names) == len(set(names)), "what both have is in it once"


def test_a_platform_has_the_manifest_that_it_has_alone(project: Path, built: dict[str, Any]) -> None:
    for platform in built["platforms"]:
        alone = build(project, "--platform", platform["platform"], "--format", "oci")
        assert alone["manifest"] == platform["manifest"]
        assert alone["image"] == str(Path("images", f"both-{platform['platform']}.oci.tar"))


def test_the_order_of_platforms_does_not_matter(project: Path, built: dict[str, Any], tmp_path: Path) -> None:
    options = ("--platform", "linux-aarch64", "--platform", "linux-64", "--format", "oci")
    other = build(project, *options, "-o", str(tmp_path / "x.tar"))
    assert other["index"] == built["index"]
    assert other["platforms"][0]["sha256"] == built["platforms"][0]["sha256"]
    assert [platform["platform"] for platform in other["platforms"]] == ["linux-aarch64", "linux-64"]


def test_what_holds_for_all_platforms_is_said_once(built: dict[str, Any]) -> None:
    said = [finding["subject"] for finding in built["findings"]]
    assert len(said) == len(set(said))
    assert any("clobber" in subject and not subject.startswith("linux-") for subject in said)


def test_bytecode_is_made_by_the_locks_python_for_this_machine(project: Path) -> None:
    """It is that of a version of python; so an image is the same on whatever machine it is built."""
    built = build(project, *BOTH, "--format", "sqfs")
    found = []
    for platform in built["platforms"]:
        with (project / platform["image"]).open("rb") as file:
            squashfs = Squashfs(file, 0)
            pyc = next(
                e for e in squashfs.entries() if e.path.endswith("/humanize/__pycache__/time.cpython-311.pyc")
            )
            found.append(b"".join(pyc.chunks))
    assert found[0] == found[1]
    assert "bytecode" not in {finding["subject"] for finding in built["findings"]}


def test_without_such_a_python_its_lack_is_said(project: Path, tmp_path: Path) -> None:
    shutil.copy(project / "environment.yml", tmp_path)
    config = project / "config.toml"
    envpack("lock", "--platform", "linux-aarch64", cwd=tmp_path, config=config)
    done = envpack("build", "--json", "--format", "sqfs", cwd=tmp_path, config=config)
    assert "bytecode" in {finding["subject"] for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize("format", ["sif", "sqfs"])
def test_a_file_for_each_platform(project: Path, format: str) -> None:
    built = build(project, *BOTH, "--format", format)
    names = {platform["platform"]: platform["image"] for platform in built["platforms"]}
    assert names == {
        subdir: str(Path("images", f"both-{subdir}.{format}")) for subdir in ("linux-64", "linux-aarch64")
    }
    stub = f"{'' if format == 'sqfs' else 'opt/env/'}share/stub/python"
    for subdir, name in names.items():
        path = project / name
        with path.open("rb") as file:
            offset = 0 if format == "sqfs" else sif.read(path).partition().offset
            assert (Squashfs(file, offset).lookup(stub) is None) == (subdir == "linux-64")
    if format == "sif":
        assert sif.read(project / names["linux-aarch64"]).architecture == "04"


def test_the_recipes_are_those_of_the_first(project: Path) -> None:
    for first, other in (("linux-64", "linux-aarch64"), ("linux-aarch64", "linux-64")):
        build(project, "--platform", f"{first},{other}", "--format", "sqfs")
        assert [p.name for p in (project / "recipes" / "both").glob("*-linux-*")] != []
        texts = [path.read_text() for path in (project / "recipes" / "both").iterdir() if path.is_file()]
        assert any(f"/{first}/" in text for text in texts)
        assert not any(f"/{other}/" in text for text in texts)


@pytest.mark.engines
def test_skopeo_copies_it_whole(project: Path, built: dict[str, Any], tmp_path: Path) -> None:
    archive = f"oci-archive:{project / built['platforms'][0]['image']}"
    command = ["skopeo", "inspect", "--raw", archive]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == built["index"]
    subprocess.run(["skopeo", "copy", "--all", archive, f"dir:{tmp_path / 'copy'}"], check=True)
    copied = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    assert [m["digest"] for m in copied["manifests"]] == [p["manifest"] for p in built["platforms"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "docker"), "one platform at a time"),
        (("--sandbox",), "a sandbox is for this machine"),
        (("-o", "x.sif"), "do not fit into x.sif"),
        (("--platform", "linux-ppc64le"), "no packages for linux-ppc64le"),
        (("--platform", "win-64"), "cannot be built for the platform 'win-64'"),
        (("--platform", "linux-64,"), "cannot be built for the platform ''"),
    ],
)
def test_what_cannot_be(project: Path, options: tuple[str, ...], words: str) -> None:
    done = envpack("build", *BOTH, *options, cwd=project, config=project / "config.toml", check=False)
    failed(done, 2, words)


def test_the_summary_names_every_platform(project: Path, built: dict[str, Any]) -> None:
    done = envpack("build", *BOTH, "--format", "oci", cwd=project, config=project / "config.toml")
    for platform in built["platforms"]:
        assert f"{platform['platform']}\n  manifest {platform['manifest']}" in done.stdout
    assert f"index {built['index']}" in done.stdout
