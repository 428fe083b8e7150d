"""How a squashfs image is compressed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from envpack.errors import ConfigError
from envpack.formats import library

GZIP_ID = 1
ZSTD_ID = 6

_LEVELS = {"gzip": range(1, 10), "zstd": range(1, 23)}
_IDS = {"gzip": GZIP_ID, "zstd": ZSTD_ID}
# The levels a reader assumes when an image carries no compressor options.
_ASSUMED = {"gzip": 9, "zstd": 15}
_ZLIB_WINDOW_BITS = 15


@dataclass(frozen=True, slots=True)
class Options:
    """Compression name and level, and the size of data and fragment blocks in bytes.

    ``block_size`` is a power of two from 4 KiB to 1 MiB (squashfs 4.0). zstd needs Linux 4.14 or
    squashfuse 0.1.101; gzip is readable everywhere. Raises :class:`ConfigError` for impossible values.
    """

    compression: Literal["zstd", "gzip"] = "zstd"
    level: int = 3
    block_size: int = 1 << 18

    def __post_init__(self) -> None:
        if self.compression not in _LEVELS:
            raise ConfigError(
                f"squashfs images cannot be compressed with {self.compression!r}", hint="Use zstd or gzip."
            )
        levels = _LEVELS[self.compression]
        if self.level not in levels:
            raise ConfigError(
                f"{self.compression} has no level {self.level}",
                hint=f"Use a level from {levels.start} to {levels.stop - 1}.",
            )
        if not (1 << 12) <= self.block_size <= (1 << 20) or self.block_size & (self.block_size - 1):
            raise ConfigError(
                f"squashfs blocks cannot have {self.block_size} bytes",
                hint="Use a power of two from 4096 to 1048576.",
            )

    def key(self) -> str:
        """What a cached segment depends on: the options and the compressor's version.

        The same level of another zstd or zlib gives other bytes, and an image must not depend on when
        its segments were cached.
        """
        return f"{self.compression}-{library.version(self.compression)}-{self.level}-{self.block_size}"

    @property
    def compression_id(self) -> int:
        """The compressor's number in the superblock."""
        return _IDS[self.compression]

    def compressor_options(self) -> bytes:
        """The compressor options that follow the superblock; empty when they are what readers assume."""
        if self.level == _ASSUMED[self.compression]:
            return b""
        if self.compression == "gzip":
            return struct.pack("<IHH", self.level, _ZLIB_WINDOW_BITS, 0)
        return struct.pack("<I", self.level)


DEFAULT = Options()
