"""The libraries that compress: another version of one gives other bytes for the same content."""

from __future__ import annotations

import zlib
from typing import Literal


def version(compression: Literal["zstd", "gzip"]) -> str:
    """The version of the libzstd or the zlib that runs, e.g. ``1.5.7``."""
    if compression == "gzip":
        return zlib.ZLIB_RUNTIME_VERSION
    import zstandard

    return ".".join(map(str, zstandard.ZSTD_VERSION))
