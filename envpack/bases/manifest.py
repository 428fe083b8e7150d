"""Image manifests and indexes: JSON documents from a registry, checked before anything is believed.

    index       {"schemaVersion": 2, "manifests": [DESCRIPTOR and "platform": {os, architecture, variant}, …]}
    manifest    {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR, …]}
    DESCRIPTOR  {"mediaType": …, "digest": "sha256:…", "size": BYTES}

OCI image specification 1.1 (manifest.md, image-index.md, descriptor.md, layer.md) and Docker's image manifest
version 2, schema 2, which differ in media types only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envpack.errors import BaseImageError, IntegrityError
from envpack.image import Descriptor, Digest, Reference
from envpack.platforms import PLATFORMS, Platform

# What to do about an answer that makes no sense.
CHANGED = "See whether a mirror or a proxy answers in place of the registry, then run the same command again."
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
)
# What the same architecture may call itself beside no variant at all; others need a newer processor.
_VARIANTS = {"amd64": ("", "v1"), "arm64": ("", "v8")}
_LARGEST = 1 << 40  # bytes of one layer; beyond it is nonsense


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform.

    ``reference`` is the name that was asked for; ``digest`` that of this platform's manifest, never of an
    index; ``config`` the image configuration (OCI config.md); ``layers`` from the lowest up.
    """

    reference: Reference
    digest: Digest
    platform: Platform
    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]

    @property
    def pinned(self) -> Reference:
        """The reference by digest."""
        return Reference(self.reference.registry, self.reference.repository, None, self.digest)


def parse(body: bytes, name: str) -> dict[str, Any]:
    """The JSON object in ``body``; raises :class:`IntegrityError` when there is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise IntegrityError(f"the registry's answer for {name} is not JSON", hint=CHANGED) from None
    if not isinstance(data, dict):
        raise IntegrityError(f"the registry's answer for {name} is not an image manifest", hint=CHANGED)
    return data


def is_index(data: Mapping[str, Any]) -> bool:
    """Whether a document lists manifests by platform. The media type may be absent (OCI) or lie."""
    return "manifests" in data and "config" not in data


def select(index: Mapping[str, Any], platform: Platform, name: str) -> Descriptor:
    """The manifest of ``platform``; raises :class:`BaseImageError` naming those that there are."""
    entries = _list(index, "manifests", name)
    variants = _VARIANTS.get(platform.oci_architecture, ("",))
    found: list[tuple[int, Mapping[str, Any]]] = []
    names = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise _broken(name, "an entry of its index is not an object")
        target = entry.get("platform")
        if not isinstance(target, dict):
            continue
        system, architecture = target.get("os"), target.get("architecture")
        variant = target.get("variant") or ""
        if system != "unknown":  # attestations are filed under unknown/unknown
            names.append("/".join(str(p) for p in (system, architecture, variant) if p))
        if (system, architecture) == ("linux", platform.oci_architecture) and variant in variants:
            found.append((variants.index(variant), entry))
    if not found:
        raise _other_platform(name, platform, sorted(set(names)))
    return descriptor(min(found, key=lambda item: item[0])[1], name)


def descriptor(value: object, name: str) -> Descriptor:
    """A descriptor, with every field of the right kind; raises :class:`IntegrityError`."""
    if not isinstance(value, dict):
        raise _broken(name, "a descriptor is not an object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str):
        raise _broken(name, "a descriptor without media type or digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST:
        raise _broken(name, f"a descriptor of impossible size: {size!r:.40}")
    try:
        return Descriptor(media_type, Digest(digest), size)
    except ValueError:
        raise _broken(name, f"a digest that is not sha256: {digest[:80]!r}") from None


def parts(data: Mapping[str, Any], name: str) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """The configuration and the layers of a manifest.

    Raises :class:`BaseImageError` for what is no image of file system layers, :class:`IntegrityError` for
    what is broken.
    """
    if data.get("schemaVersion") != 2:
        raise BaseImageError(
            f"{name} has a manifest of an outdated kind (schema {data.get('schemaVersion')!r:.20})",
            hint="Push the image again with a current docker, or choose another base image.",
        )
    layers = tuple(descriptor(item, name) for item in _list(data, "layers", name))
    for layer in layers:
        if layer.media_type not in LAYERS:
            raise BaseImageError(
                f"{name} is not an image that can be a base",
                why=f"it has a layer of the type {layer.media_type[:100]!r}, "
                "which registries do not hand out or which holds no files",
            )
    if not layers:
        raise BaseImageError(f"{name} has no layers")
    return descriptor(data.get("config"), name), layers


def check_config(config: Mapping[str, Any], layers: int, platform: Platform, name: str) -> None:
    """That the configuration is for ``platform`` and has as many layers as the manifest.

    Raises :class:`BaseImageError` for another platform, :class:`IntegrityError` for what is broken.
    """
    system, architecture = config.get("os"), config.get("architecture")
    if (system, architecture) != ("linux", platform.oci_architecture):
        raise _other_platform(name, platform, [f"{system!s:.20}/{architecture!s:.20}"])
    rootfs = config.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list) or len(ids) != layers:
        raise _broken(name, "its configuration and its manifest disagree about the layers")
    for item in ids:
        try:
            Digest(item)
        except (ValueError, TypeError):
            raise _broken(name, "its configuration holds a diff id that is no digest") from None


def _list(data: Mapping[str, Any], key: str, name: str) -> list[object]:
    value = data.get(key)
    if not isinstance(value, list):
        raise _broken(name, f"{key} is not a list")
    return value


def _other_platform(name: str, platform: Platform, there_are: list[str]) -> BaseImageError:
    subdirs = {f"linux/{p.oci_architecture}": p.subdir for p in PLATFORMS.values()}
    listed = ", ".join(f"{n} ({subdirs[n]})" if n in subdirs else n for n in there_are)
    return BaseImageError(
        f"{name} does not exist for {platform.subdir}",
        why=f"it exists for {listed}" if listed else "its index is empty",
        hint="Choose another base image with --base, or another platform.",
    )


def _broken(name: str, why: str) -> IntegrityError:
    return IntegrityError(f"the manifest of {name} is broken", why=why, hint=CHANGED)
