"""What a registry says about an image, believed only as far as it makes sense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack import platforms
from envpack.bases import manifest
from envpack.errors import BaseImageError, EnvpackError, IntegrityError

AMD64, ARM64 = platforms.get("linux-64"), platforms.get("linux-aarch64")
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def described(
    letter: str = "a", media_type: str = GZIP, size: object = 10, **extra: object
) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(letter), "size": size, **extra}


def entry(
    letter: str, architecture: str, variant: str | None = None, system: str = "linux"
) -> dict[str, Any]:
    platform = {"os": system, "architecture": architecture} | ({"variant": variant} if variant else {})
    return described(letter, manifest.MANIFESTS[0], platform=platform)


def image(**changes: object) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "config": described("c", "config"),
        "layers": [described("1"), described("2")],
    } | changes


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[" * 100_000])
def test_not_json(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not JSON"):
        manifest.parse(body, "a")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"'])
def test_not_an_object(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="is not an image manifest"):
        manifest.parse(body, "a")


def test_an_index_is_known_without_its_media_type() -> None:
    assert manifest.is_index({"schemaVersion": 2, "manifests": []})
    assert not manifest.is_index(image())


def test_the_platform_is_found_among_others() -> None:
    index = {
        "manifests": [
            entry("0", "arm", "v7"),
            entry("1", "arm64", "v9"),
            entry("2", "arm64", "v8"),
            entry("3", "amd64", "v3"),
            entry("4", "amd64", system="windows"),
            entry("5", "amd64"),
            entry("6", "unknown", system="unknown"),
            described("7"),
        ]
    }
    assert manifest.select(index, AMD64, "a").digest.hex == "5" * 64
    assert manifest.select(index, ARM64, "a").digest.hex == "2" * 64


def test_no_variant_is_preferred() -> None:
    index = {"manifests": [entry("1", "arm64", "v8"), entry("2", "arm64")]}
    assert manifest.select(index, ARM64, "a").digest.hex == "2" * 64


def test_an_absent_platform_lists_those_there_are() -> None:
    index = {
        "manifests": [entry("1", "arm64"), entry("2", "arm", "v7"), entry("3", "unknown", system="unknown")]
    }
    with pytest.raises(BaseImageError) as caught:
        manifest.select(index, AMD64, "ubuntu:20.04")
    assert caught.value.what == "ubuntu:20.04 does not exist for linux-64"
    assert caught.value.why == "it exists for linux/arm/v7, linux/arm64 (linux-aarch64)"
    with pytest.raises(BaseImageError) as caught:
        manifest.select({"manifests": []}, AMD64, "a")
    assert caught.value.why == "its index is empty"


def test_platforms_of_an_index_are_not_believed_to_be_texts() -> None:
    index = {"manifests": [described(platform={"os": ["x"], "architecture": {}, "variant": 7})]}
    with pytest.raises(BaseImageError):
        manifest.select(index, AMD64, "a")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        described(size=-1),
        described(size=1.5),
        described(size="10"),
        described(size=True),
        described(size=1 << 60),
        described() | {"digest": "md5:00"},
        described() | {"digest": "sha256:../../etc/passwd"},
        described() | {"digest": 5},
        described() | {"mediaType": None},
    ],
)
def test_broken_descriptors(value: object) -> None:
    with pytest.raises(IntegrityError, match="the manifest of a is broken"):
        manifest.descriptor(value, "a")


@pytest.mark.parametrize("media_type", manifest.LAYERS)
def test_layers(media_type: str) -> None:
    config, layers = manifest.parts(image(layers=[described("1", media_type)]), "a")
    assert config.digest.hex == "c" * 64
    assert [(layer.media_type, layer.size) for layer in layers] == [(media_type, 10)]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/vnd.sylabs.sif.layer.v1.sif",
    ],
)
def test_layers_that_cannot_be_had_or_used(media_type: str) -> None:
    with pytest.raises(BaseImageError, match="not an image that can be a base") as caught:
        manifest.parts(image(layers=[described("1", media_type)]), "a")
    assert caught.value.why is not None
    assert media_type in caught.value.why


@pytest.mark.parametrize("version", [1, None, "2"])
def test_outdated_manifests(version: object) -> None:
    with pytest.raises(BaseImageError, match="outdated kind"):
        manifest.parts({"schemaVersion": version, "fsLayers": []}, "a")


@pytest.mark.parametrize("changes", [{"layers": None}, {"layers": {}}, {"config": None}, {"layers": ["x"]}])
def test_broken_manifests(changes: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        manifest.parts(image(**changes), "a")


def test_no_layers() -> None:
    with pytest.raises(BaseImageError, match="no layers"):
        manifest.parts(image(layers=[]), "a")


def config(**changes: object) -> dict[str, Any]:
    rootfs = {"type": "layers", "diff_ids": [digest("1"), digest("2")]}
    return {"os": "linux", "architecture": "amd64", "rootfs": rootfs} | changes


def test_a_configuration() -> None:
    manifest.check_config(config(), 2, AMD64, "a")


@pytest.mark.parametrize("changes", [{"architecture": "arm64"}, {"os": "windows"}, {"architecture": None}])
def test_a_configuration_for_another_platform(changes: dict[str, object]) -> None:
    with pytest.raises(BaseImageError, match="does not exist for linux-64"):
        manifest.check_config(config(**changes), 2, AMD64, "a")


@pytest.mark.parametrize(
    "rootfs",
    [
        None,
        [],
        {"diff_ids": None},
        {"diff_ids": [digest("1")]},
        {"diff_ids": ["x", "y"]},
        {"diff_ids": [1, 2]},
    ],
)
def test_a_configuration_with_other_layers(rootfs: object) -> None:
    with pytest.raises(IntegrityError):
        manifest.check_config(config(rootfs=rootfs), 2, AMD64, "a")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "manifests",
                    "layers",
                    "config",
                    "platform",
                    "digest",
                    "size",
                    "mediaType",
                    "os",
                    "rootfs",
                    "schemaVersion",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_comes_only_our_errors_are_raised(value: object) -> None:
    try:
        data = manifest.parse(json.dumps(value).encode(), "a")
        if manifest.is_index(data):
            manifest.select(data, AMD64, "a")
        manifest.parts(data | {"schemaVersion": 2}, "a")
        manifest.check_config(data | {"os": "linux", "architecture": "amd64"}, 1, AMD64, "a")
    except EnvpackError:
        pass
