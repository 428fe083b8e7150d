"""What the user has (an ``environment.yml``, a list for pip, an environment itself) becomes an
:class:`~envpack.spec.EnvSpec`.

A reader is a module with one function ``read``. Which one reads a file is decided here, by its name or, where
the name does not say, by its first lines; a folder is an environment.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Ledger
from envpack.sources import environment_yml, pip_freeze, prefix
from envpack.sources.text import decode, read_text
from envpack.spec import EnvSpec, valid_name

DEFAULT_FILES = ("environment.yml", "environment.yaml")
STDIN = "-"
_YAML_KEY = re.compile(r"^(name|channels|dependencies|prefix)\s*:", re.MULTILINE)
_CONDA_EXPORT = re.compile(r"^[a-z0-9_.-]+=[^=\s]+=[^=\s]+\s*$", re.MULTILINE | re.IGNORECASE)


def read(
    source: str | Path | None,
    *,
    directory: Path,
    stdin: bytes | None = None,
    name: str | None = None,
    python: str | None = None,
    ledger: Ledger,
) -> EnvSpec:
    """Read what ``source`` asks for.

    ``source`` is a file, relative to ``directory``, or the folder of an environment or of a sandbox; ``"-"``
    for ``stdin``; ``None`` for the ``environment.yml`` of ``directory``. ``name`` replaces the source's own
    name; ``python`` is the version for a source that names none (``3.11``), or ``system`` for the base
    image's own. Whatever was guessed or dropped goes into ``ledger``. Raises :class:`SourceError` with every
    problem, :class:`UsageError` for a wrong ``python``.
    """
    if source == STDIN:
        if not stdin or not stdin.strip():
            raise SourceError(
                "nothing came on standard input", hint="Pipe a list in: pip freeze | envpack lock -"
            )
        path, shown, text = None, "<stdin>", decode(stdin, "<stdin>")
    else:
        path = _default(directory) if source is None else directory / source
        shown = _shown(path, directory)
        if source is not None and os.path.isdir(path):  # noqa: PTH112 is_dir() raises where it may not look
            _refuse_system(python, shown)
            return prefix.read(
                path, shown=shown, name=name, folder=_folder_name(path.resolve().name), ledger=ledger
            )
        text = read_text(path, shown)
    folder = _folder_name((path.parent if path else directory).resolve().name)
    if _is_environment(path, text):
        _refuse_system(python, shown)
        return environment_yml.read(
            text, shown=shown, path=path, directory=directory, name=name, folder=folder, ledger=ledger
        )
    _refuse_others(path, text, shown)
    if name is None:
        ledger.add(
            Action.GUESSED,
            f"name: {folder}",
            "a list for pip gives no name: the folder's is taken",
            remedy="Give another one with --name.",
        )
    return pip_freeze.read(
        text,
        shown=shown,
        path=path,
        directory=directory,
        name=folder if name is None else valid_name(name),
        python=python,
        ledger=ledger,
    )


def _default(directory: Path) -> Path:
    for name in DEFAULT_FILES:
        if os.path.lexists(directory / name):
            return directory / name
    raise SourceError(
        f"there is no {' or '.join(DEFAULT_FILES)} in {directory.resolve()}",
        hint="Name a source: an environment.yml, a requirements file, or - for the output of pip freeze.",
    )


def _shown(path: Path, directory: Path) -> str:
    """How messages call ``path``: relative to ``directory`` where it is below it."""
    try:
        # not resolve(): a link keeps its own name
        return str(
            Path(os.path.normpath(path.absolute())).relative_to(os.path.normpath(directory.absolute()))
        )
    except ValueError:
        return str(path)


def _is_environment(path: Path | None, text: str) -> bool:
    if path is not None and path.suffix.lower() in (".yml", ".yaml"):
        return True
    if path is not None and path.suffix.lower() in (".txt", ".in"):
        return False
    return _YAML_KEY.search(text) is not None


def _refuse_system(python: str | None, shown: str) -> None:
    if python == pip_freeze.SYSTEM:
        raise UsageError(
            f"{shown} cannot be installed on the base image's own python",
            why="its packages are conda's, which are made for conda's python",
            hint="Leave --python system out, or give a list for pip: requirements.txt, or pip freeze.",
        )


def _refuse_others(path: Path | None, text: str, shown: str) -> None:
    """Name the formats that look like a list for pip but are none."""
    kind = None
    if re.search(r"^@EXPLICIT\s*$", text, re.MULTILINE):
        kind = "an explicit list of conda packages"
    elif path is not None and path.suffix.lower() in (".toml", ".lock", ".json", ".cfg", ".py"):
        kind = f"a {path.suffix} file"
    elif _CONDA_EXPORT.search(text):
        kind = "the output of `conda list --export`"
    if kind:
        raise SourceError(
            f"{shown} is {kind}, which envpack does not read",
            hint="Write an environment.yml: conda env export --from-history > environment.yml",
        )


def _folder_name(name: str) -> str:
    """A folder's name as a valid environment name: other characters become dashes."""
    cleaned = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.+")
    return cleaned[:128] or "environment"
