"""What the work of a cold build costs by itself, each part alone in one thread: no build can take less of it.

The parts are done with the libraries and the options that a build uses, on the archives of the data stack.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from benchmarks.scene import Scene
from envpack import lockfile
from envpack.cache import Cache
from envpack.content.compiler import Compiler
from envpack.content.conda_archive import CondaArchive
from envpack.content.tar_stream import CHUNK
from envpack.engines.native.linking import compiling_python
from envpack.formats.squashfs.codec import compressor
from envpack.formats.squashfs.options import DEFAULT
from envpack.platforms import get

SUBDIR = "linux-64"


def measure(made: Scene) -> dict[str, float]:
    """Seconds of the processor for each part."""
    (path,) = (made.projects["data"] / "lockfiles").iterdir()
    lock, cache = lockfile.read(path), Cache(made.cache("base"))
    packages = [p for p in lock.for_platform(SUBDIR) if p.filename.endswith(".conda")]
    archives = [cache.archive(p.sha256, p.filename) for p in packages]
    seconds: dict[str, float] = {}

    @contextmanager
    def part(title: str) -> Iterator[None]:
        begun = _spent()
        yield
        seconds[title] = _spent() - begun

    with part("archives unpacked (zstd)"):
        for archive in archives:
            _unpack(archive)
    contents: list[bytes] = []
    sources: list[tuple[str, bytes]] = []
    begun = _spent()
    for archive in archives:
        opened = CondaArchive.open(archive)
        bytecode = any(name.endswith(".pyc") for name in opened.paths)
        for member, tar in opened.members():
            data = b"".join(tar.chunks())
            contents.append(data)
            if member.name.endswith(".py") and not bytecode:
                sources.append((member.name, data))
    seconds["their files found"] = _spent() - begun - seconds["archives unpacked (zstd)"]
    with part("contents hashed (sha256), to store what is equal once"):
        for data in contents:
            hashlib.sha256(data).digest()
    whole = b"".join(contents)
    contents.clear()
    compress, size = compressor(DEFAULT), DEFAULT.block_size
    with part(f"blocks compressed ({DEFAULT.compression} {DEFAULT.level}, {size >> 10} KiB)"):
        for start in range(0, len(whole), size):
            compress(whole[start : start + size])
    python, *libraries = (cache.archive(p.sha256, p.filename) for p in compiling_python(lock, get(SUBDIR)))
    with (
        part(f"bytecode made of {len(sources):,} sources that ship none"),
        Compiler(python, libraries, folder=made.folder) as compiler,
    ):
        for answer in [compiler.compile(f"/{name}", source) for name, source in sources]:
            answer.result()
    title = "the image hashed (sha256), and its segments when they are used again"
    with part(title), (made.made / "first.sif").open("rb") as file:
        while piece := file.read(CHUNK):
            hashlib.sha256(piece).digest()
    return seconds


def _spent() -> float:
    """Seconds of the processor so far, those of programs that ended included."""
    return sum(os.times()[:4])


def _unpack(archive: Path) -> None:
    with zipfile.ZipFile(archive) as outer:
        for info in outer.infolist():
            if info.filename.endswith(".tar.zst"):
                with outer.open(info) as raw:
                    stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
                    while stream.read(CHUNK):
                        pass
