"""The environments of this machine by their names, found where conda, mamba and micromamba look for them.

conda calls the environment of its own installation ``base`` and keeps the others in folders ``envs``
(https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/settings.html: ``envs_dirs``). All
that were ever made are listed in ``~/.conda/environments.txt``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from envpack.errors import SourceError
from envpack.sources.lock_nodes import fields, items, text
from envpack.spec import valid_name
from envpack.yaml_nodes import compose

BASE = "base"
_INSTALLATIONS = (
    "miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba", ".local/share/mamba",
    "miniconda", "anaconda", "opt/miniconda3", "opt/anaconda3",
)  # fmt: skip
_SYSTEM = ("/opt/conda", "/opt/miniforge3", "/opt/mambaforge", "/opt/miniconda3", "/opt/anaconda3")
_MAX_LIST = 1 << 20


def find(name_or_path: str, directory: Path, environ: Mapping[str, str]) -> Path:
    """The folder of an environment; ``directory`` is what a path is relative to.

    Raises :class:`SourceError` with all places that were looked at.
    """
    if "/" in name_or_path or name_or_path in (".", ".."):
        expanded = name_or_path
        if name_or_path.startswith("~/") and environ.get("HOME"):
            expanded = environ["HOME"] + name_or_path[1:]
        path = directory / expanded
        if _is_environment(path):
            return path
        raise SourceError(
            f"there is no environment in {name_or_path}",
            why="it has no conda-meta (conda) and no pyvenv.cfg (venv)",
            hint="Name another folder, or the environment by its name.",
        )
    looked: list[str] = []
    for path in _places(name_or_path, environ):
        if str(path) not in looked:
            looked.append(str(path))
            if _is_environment(path):
                return path
    if _is_environment(directory / name_or_path):
        return directory / name_or_path
    raise SourceError(
        f"there is no environment {name_or_path!r}",
        why="looked in " + ", ".join(looked) if looked else "neither HOME nor CONDA_PREFIX is set",
        hint="See which there are: conda env list. Or name its folder.",
    )


def name_of(path: Path, name_or_path: str) -> str | None:
    """The name that the environment at ``path`` is known by; ``None`` if that cannot be a file's name."""
    name = name_or_path if "/" not in name_or_path else path.resolve().name
    try:
        return valid_name(name)
    except SourceError:
        return None


def _places(name: str, environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    listed = list(_listed(home)) if home else []
    for root in _roots(environ, home, listed):
        if name == BASE:
            yield root
        else:
            yield root / "envs" / name
    if name != BASE:
        for folder in _folders(environ, home):
            yield folder / name
        yield from (path for path in listed if path.name == name)


def _roots(environ: Mapping[str, str], home: Path | None, listed: list[Path]) -> Iterator[Path]:
    """Installations of conda and the like, the one in use first."""
    for variable in ("CONDA_PREFIX", "_CONDA_ROOT"):
        if active := environ.get(variable):
            yield _root(Path(active))
    for variable in ("CONDA_PREFIX_1", "MAMBA_ROOT_PREFIX"):
        if root := environ.get(variable):
            yield Path(root)
    for variable in ("CONDA_EXE", "MAMBA_EXE"):
        if program := environ.get(variable):
            yield Path(program).parent.parent
    yield from map(_root, listed)
    if home:
        yield from (home / installation for installation in _INSTALLATIONS)
    yield from map(Path, _SYSTEM)


def _root(prefix: Path) -> Path:
    """The installation to which the environment ``prefix`` belongs, which may be itself."""
    return prefix.parent.parent if prefix.parent.name == "envs" else prefix


def _folders(environ: Mapping[str, str], home: Path | None) -> Iterator[Path]:
    """Folders of environments that are configured."""
    for variable in ("CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"):
        yield from (Path(part) for part in environ.get(variable, "").split(os.pathsep) if part)
    if not home:
        return
    yield home / ".conda" / "envs"
    for file in (
        home / ".condarc",
        home / ".conda" / "condarc",
        home / ".conda" / ".condarc",
        home / ".mambarc",
    ):
        try:
            top = fields(compose(_text(file), str(file), SourceError))
        except SourceError:
            continue  # conda says so itself
        for key in ("envs_dirs", "envs_path"):
            for node in items(top.get(key)):
                written = text(node) or ""
                expanded = re.sub(
                    r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", lambda m: environ.get(m[1], m[0]), written
                )
                if expanded.startswith("~/"):
                    expanded = str(home / expanded[2:])
                if expanded.startswith("/"):
                    yield Path(expanded)


def _listed(home: Path) -> Iterator[Path]:
    for line in _text(home / ".conda" / "environments.txt").split("\n"):
        if line.startswith("/"):
            yield Path(line.strip())


def _text(file: Path) -> str:
    """The text of a small file, nothing where there is none."""
    try:
        if not file.is_file():
            return ""
        with file.open("rb") as opened:
            return opened.read(_MAX_LIST).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_environment(path: Path) -> bool:
    try:
        return (path / "conda-meta").is_dir() or (path / "pyvenv.cfg").is_file()
    except OSError:
        return False
