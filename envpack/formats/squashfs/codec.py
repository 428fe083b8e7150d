"""Compressing and decompressing single blocks, from several threads."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Protocol

from envpack.errors import IntegrityError
from envpack.formats.squashfs.options import GZIP_ID, ZSTD_ID, Options

Compress = Callable[[bytes], bytes]

# What other writers use and this reader does not decode (squashfs_fs.h).
_FOREIGN = {2: "lzma", 3: "lzo", 4: "xz", 5: "lz4"}


class Decompress(Protocol):
    """Decompresses one block."""

    def __call__(self, data: bytes, limit: int) -> bytes:
        """At most ``limit`` bytes; raises :class:`IntegrityError` for more, or for broken data."""


def compressor(options: Options) -> Compress:
    """A function that compresses one block, to be called from any thread; it lets other threads run."""
    level = options.level
    if options.compression == "gzip":
        return lambda data: zlib.compress(data, level)
    import zstandard

    own = threading.local()  # a compressor object serves one call at a time

    def compress(data: bytes) -> bytes:
        try:
            encoder = own.encoder
        except AttributeError:
            encoder = own.encoder = zstandard.ZstdCompressor(level=level)
        packed: bytes = encoder.compress(data)
        return packed

    return compress


def decompressor(compression_id: int) -> Decompress:
    """The function for a superblock's compressor number; raises :class:`IntegrityError` for unknown ones."""
    if compression_id == GZIP_ID:
        return _inflate
    if compression_id == ZSTD_ID:
        return _zstd_decompressor()
    name = _FOREIGN.get(compression_id, f"compressor {compression_id}")
    raise IntegrityError(
        f"the squashfs image is compressed with {name}",
        why="only gzip and zstd can be read",
        hint="Unpack it with unsquashfs and pack it again with mksquashfs -comp zstd.",
    )


def _inflate(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, limit)
        # Exactly ``limit`` bytes may have been given before the stream's own end was seen.
        excess = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise IntegrityError("a block of the squashfs image is damaged", why=str(error)) from error
    if excess or not stream.eof:
        raise IntegrityError("a block of the squashfs image is damaged", why="it is cut short or too long")
    return plain


def _zstd_decompressor() -> Decompress:
    import zstandard

    own = threading.local()

    def decompress(data: bytes, limit: int) -> bytes:
        try:
            decoder = own.decoder
        except AttributeError:
            decoder = own.decoder = zstandard.ZstdDecompressor()
        try:
            # The library allocates whatever size the frame announces: look before it does.
            size = zstandard.get_frame_parameters(data).content_size
            if size == 0:
                return b""
            if size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) and size > limit:
                raise IntegrityError(
                    "a block of the squashfs image is damaged", why=f"it unpacks to {size} bytes"
                )
            plain: bytes = decoder.decompress(data, max_output_size=limit)
        except zstandard.ZstdError as error:
            raise IntegrityError("a block of the squashfs image is damaged", why=str(error)) from error
        return plain

    return decompress
