"""Cached layers: what a group of packages contributes to an OCI image, compressed once.

A layer is known by a key, a hash of every path, owner, mode, date and content that is in it and of how it is
compressed; the cache remembers which blob that key gave.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Executor
from pathlib import Path

from envpack.cache import Cache, cannot_write
from envpack.formats.oci import layer
from envpack.formats.oci.compression import Compression
from envpack.formats.oci.layer import Layer
from envpack.formats.squashfs.merged import Part
from envpack.image import Descriptor, Digest

# Part of every key: raise it when the same entries give another layer than before.
_FORMAT = 1


class Layers:
    """Makes and finds layers; ``folder`` is this build's own, ``pool`` compresses."""

    def __init__(
        self, cache: Cache, folder: Path, compression: Compression, pool: Executor, epoch: int
    ) -> None:
        self._cache, self._folder, self._compression = cache, folder, compression
        self._pool, self._epoch = pool, epoch

    def get(self, part: Part, title: str) -> Layer:
        """The layer of ``part``, made if need be; ``title`` says what it holds."""
        text = f"{_FORMAT} {self._compression.key()} {self._epoch} {part.key()}"
        record = self._cache.layer(hashlib.sha256(text.encode()).hexdigest())
        return self._known(record, title) or self._make(part, record, title)

    def _known(self, record: Path, title: str) -> Layer | None:
        """The layer that ``record`` names, if its blob is there; it is hashed when the archive is written."""
        try:
            found = json.loads(record.read_bytes())
            descriptor = Descriptor(self._compression.media_type, Digest(found["digest"]), found["size"])
            diff_id = Digest(found["diff_id"])
            path = self._cache.blob(descriptor.digest)
            if not self._cache.use(record, path) or path.stat().st_size != descriptor.size:
                return None
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return Layer(descriptor, diff_id, path, title)

    def _make(self, part: Part, record: Path, title: str) -> Layer:
        temporary = self._folder / record.name
        try:
            with temporary.open("w+b") as out:
                descriptor, diff_id = layer.write(
                    part.entries(), out, self._compression, self._pool, self._epoch
                )
        except OSError as error:
            raise cannot_write(self._cache.root, error) from error
        path = self._cache.blob(descriptor.digest)
        self._cache.keep(temporary, path)
        found = {"diff_id": str(diff_id), "digest": str(descriptor.digest), "size": descriptor.size}
        self._cache.write(record, json.dumps(found, sort_keys=True).encode())
        return Layer(descriptor, diff_id, path, title)
