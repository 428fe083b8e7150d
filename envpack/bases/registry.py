"""Base images from a container registry: OCI distribution specification 1.1, reading only.

    GET /v2/NAME/manifests/TAG-or-DIGEST     an index of platforms, or one image's manifest
    GET /v2/NAME/blobs/DIGEST                its configuration and its layers

Everything that is addressed by digest is verified against it and kept in the cache, so that a build whose
base image was pulled once does not ask the registry again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from envpack.bases import manifest as manifests
from envpack.bases.manifest import INDEXES, MANIFESTS, Manifest
from envpack.cache import Cache
from envpack.config import Config
from envpack.download import Download, Downloader
from envpack.errors import BaseImageError, IntegrityError, NetworkError
from envpack.http_client import SMALL
from envpack.http_errors import HttpError, is_loopback
from envpack.image import DEFAULT_REGISTRY, Descriptor, Digest, Reference
from envpack.platforms import Platform

if TYPE_CHECKING:
    from envpack.bases.authentication import Authentication

_ACCEPT = {"Accept": ", ".join(MANIFESTS + INDEXES)}
_HUB_ENDPOINT = "https://registry-1.docker.io"


class Registry:
    """Reads images from any registry, with the user's mirrors and logins.

    ``environ`` is where ``DOCKER_CONFIG`` and ``HOME`` are looked up.
    """

    def __init__(
        self,
        config: Config,
        downloader: Downloader,
        cache: Cache,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._downloader = downloader
        self._cache = cache
        self._environ = os.environ if environ is None else environ
        self._authentications: dict[tuple[str, str], Authentication] = {}

    def resolve(self, reference: Reference, platform: Platform) -> Manifest:
        """The image that ``reference`` names for ``platform``.

        Raises :class:`BaseImageError` when there is no such image or none for the platform,
        :class:`NetworkError` when the registry does not answer, :class:`IntegrityError` when it answers
        nonsense.
        """
        name = reference.familiar
        digest, body = self._document(reference, reference.digest, None)
        data = manifests.parse(body, name)
        if manifests.is_index(data):
            chosen = manifests.select(data, platform, name)
            digest, body = self._document(reference, chosen.digest, chosen.size)
            data = manifests.parse(body, name)
            if manifests.is_index(data):
                raise IntegrityError(f"the index of {name} leads to another index", hint=manifests.CHANGED)
        described, layers = manifests.parts(data, name)
        config = manifests.parse(self._config_blob(reference, described), name)
        manifests.check_config(config, len(layers), platform, name)
        return Manifest(reference, digest, platform, config, layers)

    def digest(self, reference: Reference) -> Digest:
        """What the reference's tag stands for now: the digest of its index, or of its one manifest.

        Raises what :meth:`resolve` raises when the registry does not answer or has no such image.
        """
        return self._document(reference, None, None)[0]

    def downloads(self, manifest: Manifest) -> tuple[Download, ...]:
        """How to get each of the layers' files into the cache, from the lowest up."""
        reference = manifest.reference
        found = tuple(
            Download(
                self._url(reference, f"blobs/{layer.digest}"),
                self._cache.blob(layer.digest),
                layer.digest.hex,
                layer.size,
                self._authentication(reference),
            )
            for layer in manifest.layers
        )
        self._cache.use(*(download.path for download in found))
        return found

    def pull(self, manifest: Manifest) -> tuple[Path, ...]:
        """The layers' files in the cache, from the lowest up, downloaded where they are not there yet."""
        wanted = self.downloads(manifest)
        different = {download.path: download for download in wanted}
        self._downloader.fetch_all(tuple(different.values()), title=f"Pulling {manifest.reference.short}")
        return tuple(download.path for download in wanted)

    def _document(
        self, reference: Reference, digest: Digest | None, size: int | None
    ) -> tuple[Digest, bytes]:
        """A manifest or index and its digest: by ``digest``, else by the reference's tag."""
        name = reference.familiar
        if digest and (body := self._cached(digest)) is not None:
            return digest, body
        body = self._get(reference, f"manifests/{digest or reference.tag}", _ACCEPT)
        got = Digest(f"sha256:{hashlib.sha256(body).hexdigest()}")
        if digest and got != digest:
            raise IntegrityError(
                f"the registry gave another manifest for {name} than the one asked for",
                why=f"expected {digest}\n     got {got}",
                hint=manifests.CHANGED,
            )
        if size is not None and len(body) != size:
            raise IntegrityError(
                f"the manifest of {name} is not as long as its index says", hint=manifests.CHANGED
            )
        self._cache.write(self._cache.blob(got), body)
        return got, body

    def _config_blob(self, reference: Reference, described: Descriptor) -> bytes:
        """The image configuration, the one blob that is read into memory."""
        name = reference.familiar
        if (body := self._cached(described.digest)) is not None:
            return body
        if described.size > SMALL:
            raise IntegrityError(
                f"the configuration of {name} is said to have {described.size} bytes", hint=manifests.CHANGED
            )
        body = self._get(reference, f"blobs/{described.digest}", {})
        if hashlib.sha256(body).hexdigest() != described.digest.hex:
            raise IntegrityError(
                f"the registry gave a wrong configuration for {name}", hint=manifests.CHANGED
            )
        self._cache.write(self._cache.blob(described.digest), body)
        return body

    def _cached(self, digest: Digest) -> bytes | None:
        """A small blob of the cache, if it is there and is what it should be."""
        path = self._cache.blob(digest)
        self._cache.use(path)
        try:
            body = path.read_bytes() if path.stat().st_size <= SMALL else b""
        except OSError:
            return None
        return body if hashlib.sha256(body).hexdigest() == digest.hex else None

    def _get(self, reference: Reference, what: str, headers: Mapping[str, str]) -> bytes:
        """A small document of the image's repository, with errors that speak of the image."""
        try:
            return self._downloader.get(
                self._url(reference, what), headers=headers, authorize=self._authentication(reference)
            ).body
        except HttpError as error:
            name = reference.familiar
            said = _said(error.body)
            if error.status in (401, 403):
                # Docker Hub says 401 of what does not exist, so as not to tell what does
                raise BaseImageError(
                    f"there is no image {name}, or you may not read it",
                    why=said or error.why,
                    hint=f"Check the spelling, or run `docker login {reference.registry}`.",
                ) from None
            if error.status == 404:
                hint = "Check the name and the tag."
                if reference.digest:
                    hint = "It was replaced or removed: run `envpack lock` to record what there is now."
                raise BaseImageError(f"there is no image {name}", why=said or error.why, hint=hint) from None
            reason = f"{error.what} ({said or error.why})" if said or error.why else error.what
            raise NetworkError(f"cannot read the image {name}", why=reason, hint=error.hint) from None

    def _endpoint(self, registry: str) -> str:
        """The base URL of a registry: its mirror's, or its own. Unencrypted only on this machine."""
        if mirror := self._config.registries.get(registry):
            return mirror
        if registry == DEFAULT_REGISTRY:
            return _HUB_ENDPOINT
        return f"http://{registry}" if is_loopback(f"http://{registry}") else f"https://{registry}"

    def _url(self, reference: Reference, what: str) -> str:
        return f"{self._endpoint(reference.registry)}/v2/{reference.repository}/{what}"

    def _authentication(self, reference: Reference) -> Authentication:
        from envpack.bases.authentication import Authentication

        key = (reference.registry, reference.repository)
        if key not in self._authentications:
            mirrored = reference.registry in self._config.registries
            self._authentications[key] = Authentication(
                self._downloader.http,
                None if mirrored else reference.registry,
                self._endpoint(reference.registry),
                reference.repository,
                self._environ,
            )
        return self._authentications[key]


def _said(body: bytes) -> str | None:
    """The first error of a registry's answer: ``{"errors": [{"code": …, "message": …}]}``."""
    try:
        error = json.loads(body)["errors"][0]
        text = f"{error.get('code', '')}: {error.get('message', '')}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return "".join(c if c.isprintable() else " " for c in text)[:200].strip(" :") or None
