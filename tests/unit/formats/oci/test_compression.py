"""Streams of independently compressed pieces are what every decoder reads, whoever compressed them."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from envpack.errors import ConfigError
from envpack.formats.oci.compression import Compression, Compressor

MIB = 1 << 20
GZIP, ZSTD = Compression("gzip", 1), Compression("zstd", 1)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size // 2 + 1).hex().encode()[:size]


def compress(data: bytes, compression: Compression, threads: int = 2, step: int = 300_000) -> bytes:
    out = io.BytesIO()
    with ThreadPoolExecutor(threads) as pool:
        compressor = Compressor(compression, pool, out.write)
        for start in range(0, len(data), step):
            compressor.write(data[start : start + step])
        compressor.finish()
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 17])
def test_gzip_reads_it_back(size: int) -> None:
    data = content(size)
    packed = compress(data, GZIP)
    assert gzip.decompress(packed) == data
    assert subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True).stdout == data


@pytest.mark.parametrize("size", [0, 1, 4 * MIB, 9 * MIB])
def test_zstandard_reads_it_back(size: int) -> None:
    data = content(size)
    stream = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(compress(data, ZSTD)), read_across_frames=True
    )
    assert stream.read() == data


@pytest.mark.parametrize("compression", [GZIP, ZSTD])
def test_the_bytes_depend_on_neither_threads_nor_pieces_written(compression: Compression) -> None:
    data = content(9 * MIB)
    alone = compress(data, compression, threads=1, step=len(data))
    assert compress(data, compression, threads=4, step=99_991) == alone


def test_no_date_and_no_system_is_recorded() -> None:
    assert compress(b"x", GZIP)[:10] == bytes.fromhex("1f8b08000000000000ff")


def test_another_level_is_another_key() -> None:
    keys = {Compression(name, level).key() for name, level in (("gzip", 1), ("gzip", 5), ("zstd", 5))}  # type: ignore[arg-type]  # literals in a tuple
    assert len(keys) == 3


@pytest.mark.parametrize(("name", "level"), [("gzip", 0), ("gzip", 10), ("zstd", 23), ("xz", 6)])
def test_what_there_is_not(name: str, level: int) -> None:
    with pytest.raises(ConfigError):
        Compression(name, level)  # type: ignore[arg-type]  # as an unchecked caller might
