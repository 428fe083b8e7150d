"""Bytecode as conda packages ship it: timestamp ``.pyc`` beside sources, by this machine's CPython."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.standins.conda_package import File, seconds
from tests.standins.store import StandInError

# What marshal writes depends on what was compiled before it in the same process: chunks of a fixed size,
# each in a process of its own, give the same bytes on any number of cores.
CHUNK = 200

# Arguments: a folder, the seconds to record. Sources to compile, relative to the folder, on stdin.
PROGRAM = r"""
import importlib._bootstrap_external as external, pathlib, sys
root, date = pathlib.Path(sys.argv[1]), int(sys.argv[2])
for name in sys.stdin.read().splitlines():
    path = root / name
    source = path.read_bytes()
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):  # templates and test data for other pythons
        continue
    target = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(external._code_to_timestamp_pyc(code, date, len(source) & 0xFFFFFFFF))
"""


def compiled(files: Mapping[str, File], date: str) -> dict[str, File]:
    """The ``.pyc`` files for all sources in ``files``; ``date`` becomes the mtime they record."""
    sources = sorted(name for name, file in files.items() if name.endswith(".py") and file.link is None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in sources:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name].data)
        chunks = [sources[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda chunk: _compile(folder, chunk, seconds(date)), chunks))
        return {
            path.relative_to(folder).as_posix(): File(path.read_bytes())
            for path in sorted(folder.rglob("*.pyc"))
        }


def _compile(folder: Path, names: list[str], date: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, str(date)],
        input="\n".join(names),
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StandInError(f"compiling {names[0]}…: {done.stderr.strip()[-300:]}")
