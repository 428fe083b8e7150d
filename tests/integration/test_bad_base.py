"""Base images that cannot be one: of another platform, without glibc, or with too old a one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.integration.commands import Done, envpack, failed, nothing_written
from tests.standins.base import OCI, blob, document
from tests.standins.registry import push

OLD = b"\0GNU C Library (Debian GLIBC 2.19) stable release version 2.19, by Roland McGrath et al.\0"
NEEDS_NEW = "name: new\nchannels: [conda-forge]\ndependencies:\n  - needs_glibc=1.0\n"


def image(folder: Path, files: dict[str, bytes], architecture: str = "amd64") -> Path:
    """An OCI layout with one image of one layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    ids = [f"sha256:{hashlib.sha256(out.getvalue()).hexdigest()}"]
    config = {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
    packed = blob(folder, gzip.compress(out.getvalue(), mtime=0))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": document(folder, config, "config"),
        "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", **packed}],
    }
    top = document(folder, manifest, "manifest")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return folder


def lock(tmp_path: Path, config: Path, *arguments: str, source: str = NEEDS_NEW) -> Done:
    (tmp_path / "project").mkdir(exist_ok=True)
    (tmp_path / "project" / "environment.yml").write_text(source)
    with nothing_written(tmp_path / "project"):
        return envpack("lock", *arguments, config=config, cwd=tmp_path / "project", check=False)


def test_a_known_image_that_is_too_old(tmp_path: Path, config_file: Path) -> None:
    message = failed(lock(tmp_path, config_file, "--base", "ubuntu:20.04"), 7, "too old", "--base")
    assert "it has glibc 2.31, and needs_glibc needs 2.34 on linux-64" in message


def test_an_unknown_image_that_is_too_old(tmp_path: Path, config_file: Path, registry: Served) -> None:
    layout = image(tmp_path / "layout", {"lib/x86_64-linux-gnu/libc.so.6": OLD})
    push(registry.url, "group/old", "1", layout)
    done = lock(tmp_path, config_file, "--base", "group/old:1")
    failed(done, 7, "too old", "it has glibc 2.19, and needs_glibc needs 2.34 on linux-64")


@pytest.mark.parametrize("files", [{"lib/ld-musl-x86_64.so.1": b"musl"}, {}])
def test_an_image_without_glibc(
    tmp_path: Path, config_file: Path, registry: Served, files: dict[str, bytes]
) -> None:
    push(registry.url, "group/musl", "1", image(tmp_path / "layout", files))
    failed(
        lock(tmp_path, config_file, "--base", "group/musl:1"), 7, "group/musl:1 has no glibc", "Choose a base"
    )


def test_an_image_of_another_platform(tmp_path: Path, config_file: Path, registry: Served) -> None:
    layout = image(tmp_path / "layout", {"lib/libc.so.6": OLD}, architecture="arm64")
    push(registry.url, "group/arm", "1", layout)
    done = lock(tmp_path, config_file, "--base", "group/arm:1")
    failed(done, 7, "group/arm:1 does not exist for linux-64", "linux/arm64 (linux-aarch64)", "--base")


@pytest.mark.parametrize("name", ["ubuntu:99.99", "nobody/nothing"])
def test_an_image_that_is_not_there(tmp_path: Path, config_file: Path, name: str) -> None:
    failed(lock(tmp_path, config_file, "--base", name), 7, f"there is no image {name}", "Check the name")


def test_a_layer_that_is_no_archive(tmp_path: Path, config_file: Path, registry: Served) -> None:
    layout = tmp_path / "layout"
    junk = blob(layout, b"this is no gzip")
    ids = [f"sha256:{'0' * 64}"]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
    manifest = {
        "schemaVersion": 2,
        "config": document(layout, config, "config"),
        "layers": [{"mediaType": f"{OCI}.layer.v1.tar+gzip", **junk}],
    }
    top = document(layout, manifest, "manifest")
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    push(registry.url, "group/junk", "1", layout)
    failed(lock(tmp_path, config_file, "--base", "group/junk:1"), 6, "damaged")


def test_files_that_lead_outside(tmp_path: Path, config_file: Path, registry: Served) -> None:
    layout = image(tmp_path / "layout", {"../../escaped": b"x", "lib/libc.so.6": OLD})
    push(registry.url, "group/hostile", "1", layout)
    source = "name: x\nchannels: [conda-forge]\ndependencies: [clobber_a]\n"
    done = lock(tmp_path, config_file, "--base", "group/hostile:1", source=source)
    failed(done, 6, "../../escaped")
    assert not list(tmp_path.rglob("escaped"))
