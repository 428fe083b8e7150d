"""A small image: this machine's shell and a few of its programs, with the libraries they need.

What stands in for the environment's python is a shell, so that tests say in shell what to look at.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from envpack import platforms
from envpack.entry import Entry, directory, file, symlink
from envpack.formats import sif
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.segment import write_segment
from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin
from envpack.recipe import Recipe
from envpack.recipes import singularity_d

EPOCH = 1700000000
PROGRAMS = (
    "/bin/sh",
    "/usr/bin/env",
    "/usr/bin/cat",
    "/usr/bin/id",
    "/usr/bin/ls",
    "/usr/bin/sleep",
    "/usr/bin/touch",
)
HOST = next(platform for platform in platforms.PLATFORMS.values() if platform.is_host)
OTHER = next(platform for platform in platforms.PLATFORMS.values() if not platform.is_host)


def libraries(program: str) -> Iterator[str]:
    """The shared libraries of a program of this machine, its loader included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    yield from re.findall(r"(/\S+) \(0x", listed)


def entries() -> list[Entry]:
    needed = {path for program in PROGRAMS for path in (program, *libraries(program))}
    files = {path[1:]: Path(path).read_bytes() for path in needed}
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\n"
    files["etc/group"] = b"root:x:0:\n"
    files["usr/share/data"] = b"of the image\n"
    files["opt/env/bin/python"] = b'#!/bin/sh\nexec /bin/sh "$@"\n'
    files["opt/env/etc/conda/activate.d/a.sh"] = b'export ACTIVATED="$CONDA_PREFIX"\n'
    found = {path: file(path, data, 0o755) for path, data in files.items()}
    found["srv"] = symlink("srv", "usr/share")
    recipe = Recipe(
        name="small",
        platform=HOST,
        base=BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "b" * 64), "2.31"),
        prefix="/opt/env",
        epoch=EPOCH,
        variables={"GREETING": "it's 5 > 4"},
    )
    found |= {entry.path: entry for entry in singularity_d.mount_points()}
    found |= {entry.path: entry for entry in singularity_d.entries(recipe, "Bootstrap: docker\n")}
    folders = {str(parent) for path in found for parent in Path(path).parents if str(parent) != "."}
    found |= {path: directory(path) for path in folders - set(found)}
    return [found[path] for path in sorted(found)]


def write_squashfs(content: Iterable[Entry], path: Path) -> Path:
    """In the format that every squashfuse reads."""
    options = Options("gzip", 1)
    segment = path.with_suffix(".segment")
    with segment.open("w+b") as out, ThreadPoolExecutor(2) as pool:
        write_segment(content, out, options, pool)
    with path.open("w+b") as out:
        assemble(out, 0, [Segment.open(segment)], options, EPOCH)
    return path


def as_sif(squashfs: Path, path: Path, architecture: str) -> Path:
    content = squashfs.read_bytes()
    head = sif.head([], partition_size=len(content), architecture=architecture, content=b"x", epoch=EPOCH)
    path.write_bytes(head + content)
    return path
