"""Archives taken apart by the rules of the specifications, not by our own code."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from envpack import platforms
from envpack.entry import Entry, directory, file
from envpack.errors import IntegrityError
from envpack.formats.oci import archive, configuration, layer
from envpack.formats.oci.compression import Compression
from envpack.formats.oci.configuration import Settings
from envpack.formats.oci.layer import Layer
from envpack.image import Descriptor, parse_reference

EPOCH = 1_700_000_000
DATE = "2023-11-14T22:13:20Z"
SETTINGS = Settings(
    ["/bin/sh", "/entry"], ["python"], {"PATH": "/opt/env/bin:/bin", "NEW": "a=b"}, {"title": "x"}
)


def made(folder: Path, name: str, *entries: Entry, threads: int = 2) -> Layer:
    path = folder / name
    with path.open("wb") as out, ThreadPoolExecutor(threads) as pool:
        descriptor, diff_id = layer.write(entries, out, Compression("gzip", 1), pool, EPOCH)
    return Layer(descriptor, diff_id, path, f"made of {name}")


@pytest.fixture
def layers(tmp_path: Path) -> list[Layer]:
    return [
        made(tmp_path, "base", directory("etc"), file("etc/os-release", b"ID=x\n")),
        made(tmp_path, "top", directory("opt"), file("opt/a", b"a" * 3_000_000)),
    ]


def base_config(layers: Sequence[Layer], **more: Any) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "LANG=C"], "Cmd": ["bash"], "User": "me", "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": [str(found.diff_id) for found in layers]},
        "container": "what docker adds",
        **more,
    }


def write(layers: Sequence[Layer], name: str = "group/Name:1.0") -> tuple[bytes, archive.Written]:
    out = io.BytesIO()
    config = configuration.render(base_config(layers[:1]), layers[1:], SETTINGS, EPOCH)
    image = archive.Image(config, layers, platforms.get("linux-64"), {"org.opencontainers.image.title": "x"})
    written = archive.write(out, [image], reference=parse_reference(name.lower()), epoch=EPOCH)
    return out.getvalue(), written


def opened(data: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert member.name not in found, "every name once"
            assert (member.mtime, member.uid, member.gid) == (EPOCH, 0, 0)
            content = tar.extractfile(member)
            found[member.name] = content.read() if content else b""
    return found


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    data = files["blobs/" + descriptor["digest"].replace(":", "/")]
    assert len(data) == descriptor["size"]
    return data


def test_it_is_an_image_layout(layers: list[Layer]) -> None:
    data, written = write(layers)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (written.size, written.sha256)
    files = opened(data)
    for path, content in files.items():
        if path.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == path.rpartition("/")[2]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (2, "application/vnd.oci.image.index.v1+json")
    [top] = index["manifests"]
    assert top["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert top["platform"] == {"architecture": "amd64", "os": "linux"}
    assert ([top["digest"]], None) == ([str(digest) for digest in written.manifests], written.index)
    assert top["annotations"] == {
        "org.opencontainers.image.ref.name": "1.0",
        "io.containerd.image.name": "docker.io/group/name:1.0",
    }
    manifest = json.loads(blob(files, top))
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == top["mediaType"]
    assert manifest["annotations"] == {"org.opencontainers.image.title": "x"}
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config = json.loads(blob(files, manifest["config"]))
    assert {found["mediaType"] for found in manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }
    unpacked = [gzip.decompress(blob(files, found)) for found in manifest["layers"]]
    ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in unpacked]
    assert config["rootfs"] == {"type": "layers", "diff_ids": ids}
    with tarfile.open(fileobj=io.BytesIO(unpacked[1])) as tar:
        assert tar.getnames() == ["opt", "opt/a"]
    referenced = {manifest["config"]["digest"], top["digest"], *(d["digest"] for d in manifest["layers"])}
    assert len(files) == 5 + len(referenced), "nothing else is in it"


def test_several_platforms_are_behind_one_index(layers: list[Layer], tmp_path: Path) -> None:
    other = made(tmp_path, "other", file("a", b"b"))
    images = [
        archive.Image(configuration.render(base, [], SETTINGS, EPOCH), stack, platforms.get(subdir), {})
        for subdir, base, stack in (
            ("linux-64", base_config(layers), layers),
            ("linux-aarch64", base_config([layers[0], other], architecture="arm64"), [layers[0], other]),
        )
    ]
    out = io.BytesIO()
    written = archive.write(out, images, reference=parse_reference("a:1"), epoch=EPOCH)
    files = opened(out.getvalue())
    [top] = json.loads(files["index.json"])["manifests"]
    assert top["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert top["digest"] == str(written.index)
    assert top["annotations"]["org.opencontainers.image.ref.name"] == "1"
    listed = json.loads(blob(files, top))["manifests"]
    assert [found["digest"] for found in listed] == [str(digest) for digest in written.manifests]
    assert [found["platform"]["architecture"] for found in listed] == ["amd64", "arm64"]
    for found, image in zip(listed, images, strict=True):
        manifest = json.loads(blob(files, found))
        assert blob(files, manifest["config"]) == image.config
        assert [d["digest"] for d in manifest["layers"]] == [str(x.descriptor.digest) for x in image.layers]
        assert all(blob(files, descriptor) for descriptor in manifest["layers"])
    [docker] = json.loads(files["manifest.json"])
    assert files[docker["Config"]] == images[0].config


def test_docker_s_manifest_names_the_same_blobs(layers: list[Layer]) -> None:
    files = opened(write(layers)[0])
    [docker] = json.loads(files["manifest.json"])
    [top] = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(blob(files, top))
    paths = [f"blobs/sha256/{d['digest'][7:]}" for d in (manifest["config"], *manifest["layers"])]
    assert [docker["Config"], *docker["Layers"]] == paths
    assert docker["RepoTags"] == ["group/name:1.0"]


def test_the_bytes_do_not_depend_on_threads(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "4").mkdir()
    entries = [file("a", bytes(range(256)) * 20_000), file("b", b"")]
    results = [write([made(tmp_path / str(n), "x", *entries, threads=n)]) for n in (1, 4)]
    assert results[0] == results[1]


def test_base_layers_are_passed_on_as_they_are(layers: list[Layer], tmp_path: Path) -> None:
    raw = layers[0].path.read_bytes()
    docker_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    base = Layer(
        Descriptor(docker_type, layers[0].descriptor.digest, len(raw)),
        layers[0].diff_id,
        layers[0].path,
        "base",
    )
    files = opened(write([base, base, layers[1]])[0])
    [top] = json.loads(files["index.json"])["manifests"]
    found = json.loads(blob(files, top))["layers"]
    assert found[0] == found[1]
    assert found[0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert blob(files, found[0]) == raw


def test_a_changed_layer_is_not_written(layers: list[Layer]) -> None:
    raw = bytearray(layers[1].path.read_bytes())
    raw[len(raw) // 2] ^= 1
    layers[1].path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="was changed since it was made"):
        write(layers)
    layers[1].path.write_bytes(raw[:-1])
    with pytest.raises(IntegrityError):
        write(layers)
    layers[1].path.unlink()
    with pytest.raises(IntegrityError, match="cannot read the layer"):
        write(layers)


def config_of(base: dict[str, Any], layers: Sequence[Layer]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(configuration.render(base, layers, SETTINGS, EPOCH))
    return document


def test_the_configuration_is_the_base_s_with_ours_on_top(layers: list[Layer]) -> None:
    config = config_of(base_config(layers[:1], variant="v1"), layers[1:])
    assert config["config"] == {
        "Cmd": ["python"],
        "Entrypoint": ["/bin/sh", "/entry"],
        "Env": ["PATH=/opt/env/bin:/bin", "LANG=C", "NEW=a=b"],
        "Labels": {"a": "b", "title": "x"},
        "User": "me",
    }
    assert (config["architecture"], config["os"], config["variant"]) == ("amd64", "linux", "v1")
    assert config["created"] == DATE
    assert "container" not in config


def test_history_counts_the_layers(layers: list[Layer]) -> None:
    own = {"created": DATE, "created_by": "made of top"}
    fitting = [{"created_by": "a"}, {"created_by": "b", "empty_layer": True}]
    assert config_of(base_config(layers[:1], history=fitting), layers[1:])["history"] == [*fitting, own]
    invented = [{"created": DATE, "created_by": "base image"}, own]
    for wrong in (None, [], fitting * 2, ["text"], {"a": 1}):
        assert config_of(base_config(layers[:1], history=wrong), layers[1:])["history"] == invented
    assert config_of(base_config(layers[:1]), layers[1:])["history"] == invented


@pytest.mark.parametrize(
    "settings", [None, {}, {"Env": None, "Labels": None}, {"Env": [1, "no equals sign"]}]
)
def test_bases_that_set_nothing(settings: object, layers: list[Layer]) -> None:
    config = config_of(base_config(layers[:1], config=settings), layers[1:])
    assert config["config"]["Env"] == ["PATH=/opt/env/bin:/bin", "NEW=a=b"]
    assert config["config"]["Labels"] == {"title": "x"}
