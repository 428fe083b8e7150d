"""Stand-in wheels for what conda has chosen, so that pip's resolver takes it as given.

A wheel (https://packaging.python.org/specifications/binary-distribution-format/) that holds nothing but a
name and a version. Named as direct references in a constraints file, they are the only candidates for their
names: a requirement that conda's version does not meet is a conflict, a package that exists on conda alone
does no harm, and nothing that only PyPI's build of it needs (``torch`` and its CUDA wheels) is drawn in.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envpack.locking.names import pypi_names
from envpack.locking.solver import CondaRecord

_EPOCH = (1980, 1, 1, 0, 0, 0)


def from_conda(records: tuple[CondaRecord, ...]) -> dict[str, str]:
    """The PyPI projects in conda packages: normalised name to version as pip writes it.

    Only packages that need python count; of two with the same project the one of the same name does. A
    version that is none for pip (PEP 440) becomes ``0``: the package is there, which version cannot be said.
    """
    found: dict[str, str] = {}
    for record in records:
        if not any(dependency.split(" ")[0] == "python" for dependency in record.depends):
            continue
        for name in pypi_names(record.name):
            if name not in found or name == canonicalize_name(record.name):
                found[name] = _pip_version(record.version)
    return dict(sorted(found.items()))


def _pip_version(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return "0"


def write(projects: Mapping[str, str], folder: Path) -> list[str]:
    """Write a wheel for each project into ``folder``; gives the lines of a constraints file."""
    lines = []
    for name, version in projects.items():
        label = f"{name.replace('-', '_')}-{version}"
        path = folder / f"{label}-py3-none-any.whl"
        members = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: envpack\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        with zipfile.ZipFile(path, "w") as wheel:
            for member, text in members.items():
                wheel.writestr(zipfile.ZipInfo(f"{label}.dist-info/{member}", _EPOCH), text)
        lines.append(f"{name} @ {path.resolve().as_uri()}")
    return lines
