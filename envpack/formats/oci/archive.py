"""One archive that every container engine loads: an OCI image layout that Docker loads too, in a tar.

    oci-layout                  {"imageLayoutVersion": "1.0.0"}
    index.json                  an image index: one manifest, with the image's name as annotations; of several
                                platforms, one index of their manifests
    manifest.json               Docker's: [{"Config": PATH, "RepoTags": [NAME], "Layers": [PATH, …]}], of the
                                first platform: there is no place for another
    blobs/sha256/DIGEST         manifests, configurations and layers, each under the hash of its bytes

skopeo, podman and Apptainer read ``index.json``, as Docker does where it keeps images with containerd; other
Dockers read ``manifest.json``. Both lead to the same blobs.

Sources: OCI image specification 1.1 (image-layout.md, image-index.md, manifest.md, annotations.md); Docker's
image specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from envpack.entry import Entry, Kind, directory, file
from envpack.errors import IntegrityError
from envpack.formats import tar
from envpack.formats.oci import configuration
from envpack.formats.oci.configuration import document
from envpack.formats.oci.layer import Layer
from envpack.image import Descriptor, Digest, Reference
from envpack.platforms import Platform

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_REF_NAME = "org.opencontainers.image.ref.name"
# The whole name: the annotation above is for the tag alone.
_IMAGE_NAME = "io.containerd.image.name"
# The same bytes under the names of the OCI (media-types.md, "Compatibility Matrix").
_OCI_NAMES = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """The image of one platform: its configuration and its layers, the lowest first.

    ``annotations`` go into its manifest.
    """

    config: bytes
    layers: Sequence[Layer]
    platform: Platform
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """An archive: its bytes, their sha256 (hexadecimal), and the digests of the manifests in it, in order.

    ``index`` is the digest of what leads to them where there are several, else ``None``.
    """

    size: int
    sha256: str
    manifests: tuple[Digest, ...]
    index: Digest | None


def write(out: BinaryIO, images: Sequence[Image], *, reference: Reference, epoch: int) -> Written:
    """Write ``images``, one for each platform, to ``out``.

    ``reference`` has a tag; ``epoch`` (seconds) is the date of the archive's members. Raises
    :class:`IntegrityError` for a layer's file whose bytes are not what its digest says.
    """
    documents: dict[Digest, bytes] = {}

    def add(media_type: str, data: bytes) -> Descriptor:
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        documents[digest] = data
        return Descriptor(media_type, digest, len(data))

    manifests = []
    for image in images:
        config = _descriptor(add(configuration.MEDIA_TYPE, image.config))
        manifests.append(add(_MANIFEST, _manifest(image, config)))
    listed = [
        _descriptor(manifest) | {"platform": {"architecture": image.platform.oci_architecture, "os": "linux"}}
        for image, manifest in zip(images, manifests, strict=True)
    ]
    index = None
    if len(images) > 1:
        index = add(_INDEX, document({"schemaVersion": 2, "mediaType": _INDEX, "manifests": listed}))
        listed = [_descriptor(index)]
    name = {"annotations": {_REF_NAME: reference.tag, _IMAGE_NAME: str(reference)}}
    top = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [found | name for found in listed]}
    docker = [
        {
            "Config": _path(Digest(f"sha256:{hashlib.sha256(images[0].config).hexdigest()}")),
            "RepoTags": [reference.familiar],
            "Layers": [_path(layer.descriptor.digest) for layer in images[0].layers],
        }
    ]
    members = [
        file("oci-layout", document({"imageLayoutVersion": "1.0.0"})),
        file("index.json", document(top)),
        file("manifest.json", document(docker)),
        directory("blobs"),
        directory("blobs/sha256"),
        # What leads to others comes before them.
        *(file(_path(digest), documents[digest]) for digest in reversed(documents)),
    ]
    # A base may have the same layer twice, and platforms may share some.
    blobs = {layer.descriptor.digest: layer for image in images for layer in image.layers}
    members += [
        Entry(_path(digest), Kind.FILE, 0o644, layer.descriptor.size, _verified(layer.path, digest))
        for digest, layer in blobs.items()
    ]
    found, size = hashlib.sha256(), 0
    for piece in tar.archive(members, epoch):
        found.update(piece)
        size += out.write(piece)
    digests = tuple(manifest.digest for manifest in manifests)
    return Written(size, found.hexdigest(), digests, index.digest if index else None)


def _manifest(image: Image, config: dict[str, Any]) -> bytes:
    return document(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": config,
            "layers": [_descriptor(layer.descriptor) for layer in image.layers],
            "annotations": dict(image.annotations),
        }
    )


def _descriptor(of: Descriptor) -> dict[str, Any]:
    media_type = _OCI_NAMES.get(of.media_type, of.media_type)
    return {"mediaType": media_type, "digest": str(of.digest), "size": of.size}


def _path(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _verified(path: Path, digest: Digest) -> Iterator[bytes]:
    """The bytes of a blob, which are hashed on the way."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as blob:
            while piece := blob.read(_PIECE):
                found.update(piece)
                yield piece
    except OSError as error:
        raise IntegrityError(f"cannot read the layer {path}", why=str(error)) from error
    if found.hexdigest() != digest.hex:
        raise IntegrityError(
            f"the layer {path} was changed since it was made",
            why=f"expected {digest}\n     got sha256:{found.hexdigest()}",
            hint="Remove the file and run the same command again.",
        )
