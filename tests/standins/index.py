"""A package index (PEP 503) of a few wheels from PyPI, on 127.0.0.1."""

from __future__ import annotations

import hashlib
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.standins import cpython, store, wheels

WHEELS = {
    "click": "8.2.1",
    "colorama": "0.4.6",
    "markupsafe": "3.0.2",
    "pip": "25.3",
    "python-dateutil": "2.9.0.post0",
    "six": "1.17.0",
    "tabulate": "0.9.0",
}


def index() -> Path:
    """The folder to serve: ``simple/PROJECT/index.html``, and the wheels in ``files``; built on first use."""
    key = store.key(WHEELS, cpython.SHORT, files=("index.py",))
    return store.built("index", key, _build)


def _build(folder: Path) -> None:
    (folder / "files").mkdir()
    wheels.download(WHEELS, folder / "files")
    for path in sorted((folder / "files").glob("*.whl")):
        page = folder / "simple" / canonicalize_name(parse_wheel_filename(path.name)[0]) / "index.html"
        page.parent.mkdir(parents=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        link = f'<a href="/files/{path.name}#sha256={digest}">{path.name}</a>'
        page.write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
