"""Packages made on the fly: as many as wanted, of files that look like python's.

Every file is a few functions of the standard library in another order, with bytecode beside it, so no two are
the same and all compress as real ones do. The same numbers give the same packages.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.standins import cpython, store
from tests.standins.conda_package import File, Package

SITE_PACKAGES = f"lib/python{cpython.SHORT}/site-packages"
MODULES_PER_FOLDER = 20
# Functions in a file: most files are small, a few are large.
FUNCTIONS = (1, 2, 2, 3, 3, 4, 5, 6, 8, 14)
_FUNCTION = re.compile(r"^def \w+\(.*?(?=^\S)", re.MULTILINE | re.DOTALL)


def name(number: int) -> str:
    return f"generated-{number:03}"


def packages(number: int, files: int) -> tuple[Path, list[dict[str, Any]]]:
    """The folder with ``number`` archives of ``files`` files each, built on first use, and their records."""
    import json

    key = store.key(number, files, cpython.SHORT, files=("conda_package.py",))
    folder = store.built(f"generated-{number}x{files}", key, lambda fresh: _build(fresh, number, files))
    return folder, json.loads((folder / "records.json").read_text())


def _build(folder: Path, number: int, files: int) -> None:
    import json

    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(_write, folder, n, files) for n in range(number)]
        (folder / "records.json").write_text(json.dumps([job.result() for job in jobs]))


def _write(folder: Path, number: int, files: int) -> dict[str, Any]:
    made = dict(_files(number, files // 2))
    return Package(
        name(number), "1.0", "0", "linux-64", made, depends=[f"python {cpython.SHORT}.*"]
    ).write(folder)  # fmt: skip


def _files(number: int, modules: int) -> Iterator[tuple[str, File]]:
    chance = random.Random(number)
    package = name(number).replace("-", "_")
    for module in range(modules):
        folder = f"{SITE_PACKAGES}/{package}/part_{module // MODULES_PER_FOLDER:02}"
        functions = chance.choices(_functions(), k=chance.choice(FUNCTIONS))
        source = f'"""Module {module} of {package}."""\n\n'.encode() + b"\n\n".join(functions)
        code = compile(source, f"{folder}/m{module:03}.py", "exec", dont_inherit=True)
        header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
        yield f"{folder}/m{module:03}.py", File(source)
        cached = f"{folder}/__pycache__/m{module:03}.cpython-{cpython.SHORT.replace('.', '')}.pyc"
        yield cached, File(header + marshal.dumps(code))


@lru_cache(maxsize=1)
def _functions() -> list[bytes]:
    """Functions of the standard library that stand at the left margin, each of which compiles by itself."""
    warnings.simplefilter("ignore")
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for match in _FUNCTION.finditer(path.read_text("utf-8", "replace")):
            try:
                compile(match[0], path.name, "exec", dont_inherit=True)
            except SyntaxError:
                continue
            found.append(match[0].strip().encode())
    return found
