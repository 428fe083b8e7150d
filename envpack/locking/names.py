"""Which PyPI projects a conda package contains, so that pip's part fits conda's.

Most conda packages are called as the PyPI project they are made from; ``conda_pypi_names.json`` beside this
module lists the others. It is made from the mapping that prefix.dev publishes for conda-forge
(https://github.com/prefix-dev/parselmouth, BSD-3-Clause; file ``compressed_mapping.json``: conda name to a
list of PyPI names or null) as ``render(reduce(published))``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from packaging.utils import canonicalize_name

_FILE = "conda_pypi_names.json"
_AFFIXES = {"py", "python"}


def reduce(published: Mapping[str, list[str] | None]) -> dict[str, list[str]]:
    """The entries of the published mapping whose PyPI names are not simply conda's name, normalised.

    Packages without any PyPI name are left out: whoever asks here has seen that the package needs python.
    From several names those are kept that share a word with conda's, for the others are copies that the
    package brings along (``ansible`` has ``pip``), in versions that conda's does not tell.
    """
    exceptions: dict[str, list[str]] = {}
    for conda, pypi in published.items():
        if not pypi:
            continue
        words = _words(conda)
        related: list[str] = sorted(
            {canonicalize_name(name) for name in pypi if len(pypi) == 1 or words & _words(name)}
        )
        if related and related != [canonicalize_name(conda)]:
            exceptions[conda] = related
    return exceptions


def render(exceptions: Mapping[str, list[str]]) -> str:
    """The JSON text of the data file: one package a line, sorted, so that changes can be read."""
    lines = [f"{json.dumps(conda)}: {json.dumps(pypi)}" for conda, pypi in sorted(exceptions.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _words(name: str) -> set[str]:
    words = set(canonicalize_name(name).split("-"))
    return words - _AFFIXES or words


@cache
def _exceptions() -> dict[str, list[str]]:
    text = resources.files("envpack.locking").joinpath(_FILE).read_text("utf-8")
    loaded: dict[str, list[str]] = json.loads(text)
    return loaded


@cache
def _conda_names() -> dict[str, str]:
    """PyPI name to conda name, for the exceptions; of several conda names the shortest."""
    reverse: dict[str, str] = {}
    for conda, names in sorted(_exceptions().items(), key=lambda item: (-len(item[0]), item[0])):
        for name in names:
            reverse[name] = conda
    return reverse


def pypi_names(conda: str) -> tuple[str, ...]:
    """The normalised PyPI names of the conda package ``conda``, one that needs python."""
    return tuple(_exceptions().get(conda, [canonicalize_name(conda)]))


def conda_name(pypi: str) -> str | None:
    """The conda package of the PyPI project ``pypi`` where its name differs, else ``None``."""
    return _conda_names().get(canonicalize_name(pypi))
