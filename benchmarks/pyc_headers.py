"""Gives every ``.pyc`` below a folder another header (PEP 552): ``KIND FOLDER``; prints how many it were.

Runs in the image's own python, for hashes differ between versions. Files are replaced, never written to:
they may be hard links.

=============  ====================================================================================
checked-hash   the hash of the source, which python reads and hashes at every import
timestamp      the date and the size of the source, which python looks up at every import
stale          another date, as where an image gives its files one date and leaves bytecode as it was
=============  ====================================================================================
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

SIZE = 16
CHECKED = (3).to_bytes(4, "little")
TIMESTAMP = bytes(4)


def main(kind: str, folder: str) -> int:
    number = 0
    for pyc in Path(folder).rglob("__pycache__/*.pyc"):
        try:
            source = Path(importlib.util.source_from_cache(str(pyc)))
        except ValueError:  # a name that python does not look for
            continue
        data = pyc.read_bytes()
        if not source.is_file() or data[:4] != importlib.util.MAGIC_NUMBER:
            continue
        new = pyc.with_name(f"{pyc.name}.new")
        new.write_bytes(data[:4] + header(kind, source) + data[SIZE:])
        shutil.copystat(pyc, new)
        new.replace(pyc)
        number += 1
    return number


def header(kind: str, source: Path) -> bytes:
    """What follows the magic number."""
    if kind == "checked-hash":
        return CHECKED + importlib.util.source_hash(source.read_bytes())
    state = source.stat()
    date = int(state.st_mtime) + (kind == "stale")
    return TIMESTAMP + b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in (date, state.st_size))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
