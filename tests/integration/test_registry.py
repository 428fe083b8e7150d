"""Base images from a real registry: Debian's docker-registry, holding a real base image."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack import platforms
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.config import Config
from envpack.download import Downloader
from envpack.errors import BaseImageError
from envpack.image import Reference, parse_reference
from tests.conftest import Served


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def reads(registry: Served, cache: Cache) -> Iterator[Registry]:
    config = Config(cache.root, registries={"docker.io": registry.url})
    with Downloader(config) as downloader:
        yield Registry(config, downloader, cache, environ={"HOME": str(cache.root)})


def test_a_base_image_under_its_docker_hub_name(reads: Registry, cache: Cache) -> None:
    manifest = reads.resolve(parse_reference("ubuntu:20.04"), platforms.get("linux-64"))
    assert str(manifest.reference) == "docker.io/library/ubuntu:20.04"
    paths = reads.pull(manifest)
    ids = manifest.config["rootfs"]["diff_ids"]
    for path, layer, diff_id in zip(paths, manifest.layers, ids, strict=True):
        data = path.read_bytes()
        assert len(data) == layer.size
        content = gzip.decompress(data)
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == diff_id
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            assert any(name.endswith("etc/os-release") for name in tar.getnames())
    assert list((cache.root / "tmp").iterdir()) == []


def test_two_platforms_of_one_tag(reads: Registry) -> None:
    reference = parse_reference("ubuntu:20.04")
    found = {s: reads.resolve(reference, platforms.get(s)) for s in ("linux-64", "linux-aarch64")}
    assert found["linux-64"].digest != found["linux-aarch64"].digest
    for subdir, manifest in found.items():
        assert manifest.config["architecture"] == platforms.get(subdir).oci_architecture
        assert reads.resolve(manifest.pinned, manifest.platform).digest == manifest.digest


def test_a_platform_that_it_does_not_have(reads: Registry) -> None:
    with pytest.raises(BaseImageError, match="does not exist for linux-ppc64le") as caught:
        reads.resolve(parse_reference("ubuntu:20.04"), platforms.get("linux-ppc64le"))
    assert caught.value.why is not None
    assert "linux/amd64 (linux-64)" in caught.value.why


def test_the_registry_by_its_own_name(registry: Served, cache: Cache) -> None:
    with Downloader(Config(cache.root)) as downloader:
        reads = Registry(Config(cache.root), downloader, cache, environ={"HOME": str(cache.root)})
        reference = Reference(registry.url.removeprefix("http://"), "library/debian", "12-slim")
        assert reads.resolve(reference, platforms.get("linux-64")).layers


@pytest.mark.parametrize("name", ["ubuntu:99.99", "nobody/nothing:1"])
def test_an_image_that_is_not_there(reads: Registry, name: str) -> None:
    with pytest.raises(BaseImageError, match=f"there is no image {name}") as caught:
        reads.resolve(parse_reference(name), platforms.get("linux-64"))
    assert caught.value.why is not None
    assert "UNKNOWN" in caught.value.why
