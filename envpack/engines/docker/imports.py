"""Which modules the test of a SIF file imports: from what conda and pip recorded in the image."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from envpack.content.python_layout import PythonLayout
from envpack.engines.native.imports import requested_modules, top_level_modules
from envpack.errors import IntegrityError
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.merged import Merged
from envpack.lockfile import Lockfile
from envpack.recipe import Recipe

_LARGEST_RECORD = 16 << 20


def modules(lock: Lockfile, recipe: Recipe, root: Segment) -> tuple[str, ...]:
    """The modules of what was asked for, sorted; ``root`` is a segment with the image's file system.

    Records that cannot be read count for nothing.
    """
    if lock.pins is None:
        return ()
    subdir, prefix = recipe.platform.subdir, recipe.prefix.strip("/")
    records = _Records(root, prefix)
    site_packages = records.site_packages()
    if site_packages is None:
        return ()
    packages = {f"{p.manager}:{p.name}": p for p in lock.for_platform(subdir)}
    found = {name: top_level_modules(paths, site_packages) for name, paths in records.files(site_packages)}
    return requested_modules(
        lock.pins.platforms[subdir].requested, packages, lambda token: found.get(token, frozenset())
    )


class _Records:
    """``conda-meta`` and the ``dist-info`` folders of an image."""

    def __init__(self, root: Segment, prefix: str) -> None:
        self._prefix, self._merged = prefix, Merged([root])
        self._paths = list(root.paths)
        self._conda = dict(self._packages())

    def site_packages(self) -> str | None:
        """Where python's packages are, if there is a python of conda."""
        try:
            layout = PythonLayout.from_index(self._conda["python"])
        except (KeyError, IntegrityError):
            return None
        return f"{self._prefix}/{layout.site_packages}"

    def files(self, site_packages: str) -> Iterator[tuple[str, list[str]]]:
        """``conda:NAME`` or ``pip:NAME``, and the paths in the image that are recorded for it."""
        for name, record in self._conda.items():
            yield f"conda:{name}", [f"{self._prefix}/{path}" for path in record.get("files") or ()]
        for path in self._paths:
            folder, _, last = path.rpartition("/")
            if last == "RECORD" and folder.startswith(f"{site_packages}/") and folder.endswith(".dist-info"):
                name = folder.rpartition("/")[2].partition("-")[0]
                rows = csv.reader(self._text(path).splitlines())
                yield f"pip:{_normal(name)}", [f"{site_packages}/{row[0]}" for row in rows if row]

    def _packages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in self._paths:
            folder, _, last = path.rpartition("/")
            if folder == f"{self._prefix}/conda-meta" and last.endswith(".json"):
                try:
                    record = json.loads(self._text(path))
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict) and isinstance(record.get("files", []), list):
                    yield str(record.get("name")), record

    def _text(self, path: str) -> str:
        return (self._merged.read(path, _LARGEST_RECORD) or b"").decode("utf-8", "replace")


def _normal(name: str) -> str:
    """A distribution's name as indexes have it (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")
