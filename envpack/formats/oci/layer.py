"""Layers: entries as a compressed tar, known by two hashes (OCI image specification, layer.md and config.md).

The *digest* is that of the compressed file, by which registries and manifests know it; the *diff id* that of
the tar inside, by which the image configuration does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from envpack.entry import Entry
from envpack.formats import tar
from envpack.formats.oci.compression import Compression, Compressor
from envpack.image import Descriptor, Digest

# Small files and headers are hashed together: a call for each would cost more than the hash.
_HASHED = 1 << 18


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer and the file that holds its bytes; ``title`` is for the image's history."""

    descriptor: Descriptor
    diff_id: Digest
    path: Path
    title: str


def write(
    entries: Iterable[Entry], out: BinaryIO, compression: Compression, pool: Executor, epoch: int
) -> tuple[Descriptor, Digest]:
    """Write ``entries`` as a layer to ``out`` and give its descriptor and its diff id.

    Pieces are compressed in ``pool`` (threads); the bytes do not depend on their number. ``epoch``
    (seconds) is the date of entries without one. Raises what :func:`envpack.formats.tar.archive` raises.
    """
    inner, outer = hashlib.sha256(), hashlib.sha256()
    size = 0

    def sink(packed: bytes) -> None:
        nonlocal size
        outer.update(packed)
        out.write(packed)
        size += len(packed)

    compressor = Compressor(compression, pool, sink)
    held = bytearray()
    try:
        for piece in tar.archive(entries, epoch):
            held += piece
            if len(held) >= _HASHED:
                inner.update(held)
                compressor.write(held)
                held.clear()
        inner.update(held)
        compressor.write(held)
        compressor.finish()
    finally:
        compressor.abandon()
    descriptor = Descriptor(compression.media_type, Digest(f"sha256:{outer.hexdigest()}"), size)
    return descriptor, Digest(f"sha256:{inner.hexdigest()}")
