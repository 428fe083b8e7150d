"""Where a python keeps its things below the prefix of an environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envpack.entry import is_safe_path
from envpack.errors import IntegrityError

_SHORT = re.compile(r"(\d+)\.(\d+)(?:[._a-z].*)?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PythonLayout:
    """A python version and its folders, relative to the prefix.

    ``site_packages`` is ``lib/python3.11/site-packages`` unless the python package says otherwise in
    ``python_site_packages_path`` (CEP 17), as free-threaded builds do.
    """

    version: str
    site_packages: str

    @classmethod
    def from_index(cls, index: Mapping[str, Any]) -> PythonLayout:
        """The layout of the conda package ``python`` whose ``info/index.json`` is given.

        Raises :class:`IntegrityError` when its version or path cannot be.
        """
        version = str(index.get("version"))
        match = _SHORT.match(version)
        default = f"lib/python{match[1]}.{match[2]}/site-packages" if match else ""
        site_packages = str(index.get("python_site_packages_path") or default)
        if match is None or not is_safe_path(site_packages):
            raise IntegrityError(
                f"the python package {version!r} has no usable layout",
                why=f"version {version!r}, python_site_packages_path {site_packages!r}",
                hint="Choose another build of python in the environment file and lock again.",
            )
        return cls(version, site_packages)

    @property
    def short(self) -> str:
        """Major and minor version: ``3.11``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def executable(self) -> str:
        """``bin/python3.11``"""
        return f"bin/python{self.short}"

    @property
    def stdlib(self) -> str:
        """The folder of the standard library: ``lib/python3.11``, or ``lib/python3.13t``."""
        return self.site_packages.rpartition("/")[0]
