"""Which PyPI projects a conda package contains, so that pip's part fits conda's.

``conda_pypi_names.json`` beside this module lists conda-forge's packages that are PyPI projects: an empty
list where the project is called as the package, else its names. ``nox -s update_names`` makes it from the
mapping that prefix.dev publishes (https://github.com/prefix-dev/parselmouth, BSD-3-Clause; file
``compressed_mapping.json``: conda name to a list of PyPI names or null) as ``render(reduce(published))``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.spec import Requirement

_FILE = "conda_pypi_names.json"
_AFFIXES = {"py", "python"}


def project_of(requirement: Requirement) -> str:
    """The normalised name of the PyPI project that ``requirement``, one for pip, asks for."""
    return canonicalize_name(Pep508(requirement.text).name)


def reduce(published: Mapping[str, list[str] | None]) -> dict[str, list[str]]:
    """The entries of the published mapping that name PyPI projects, normalised; without conda's own name.

    Packages without any PyPI name are left out. From several names those are kept that share a word with
    conda's, for the others are copies that the package brings along (``ansible`` has ``pip``), in versions
    that conda's does not tell.
    """
    reduced: dict[str, list[str]] = {}
    for conda, pypi in published.items():
        if not pypi:
            continue
        words = _words(conda)
        related: list[str] = sorted(
            {canonicalize_name(name) for name in pypi if len(pypi) == 1 or words & _words(name)}
        )
        if related:
            reduced[conda] = [] if related == [canonicalize_name(conda)] else related
    return reduced


def render(reduced: Mapping[str, list[str]]) -> str:
    """The JSON text of the data file: one package a line, sorted, so that changes can be read."""
    lines = [f"{json.dumps(conda)}: {json.dumps(pypi)}" for conda, pypi in sorted(reduced.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _words(name: str) -> set[str]:
    words = set(canonicalize_name(name).split("-"))
    return words - _AFFIXES or words


@cache
def _known() -> dict[str, list[str]]:
    text = resources.files("envpack.locking").joinpath(_FILE).read_text("utf-8")
    loaded: dict[str, list[str]] = json.loads(text)
    return loaded


@cache
def _by_project() -> dict[str, tuple[str, ...]]:
    """PyPI name to conda names: the package of that name first, then the shorter."""
    reverse: dict[str, list[str]] = {}
    for conda, names in _known().items():
        for name in names or [canonicalize_name(conda)]:
            reverse.setdefault(name, []).append(conda)
    return {
        name: tuple(sorted(conda, key=lambda c: (canonicalize_name(c) != name, len(c), c)))
        for name, conda in reverse.items()
    }


def pypi_names(conda: str) -> tuple[str, ...]:
    """The normalised PyPI names of the conda package ``conda``, one that needs python."""
    return tuple(_known().get(conda) or [canonicalize_name(conda)])


def projects(conda: str) -> tuple[str, ...]:
    """The normalised PyPI names of the conda package ``conda``; none where it is not known to have any."""
    return pypi_names(conda) if conda in _known() else ()


def conda_names(pypi: str) -> tuple[str, ...]:
    """The conda packages known to contain the PyPI project ``pypi``, the likeliest first."""
    return _by_project().get(canonicalize_name(pypi), ())


def conda_name(pypi: str) -> str | None:
    """The conda package of the PyPI project ``pypi`` where its name differs, else ``None``."""
    known = conda_names(pypi)
    return known[0] if known and canonicalize_name(known[0]) != canonicalize_name(pypi) else None
