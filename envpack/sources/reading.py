"""Which reader reads a source."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Ledger
from envpack.sources import (
    conda_explicit,
    conda_list,
    conda_lock_yml,
    environment_yml,
    environments,
    pip_freeze,
    pipfile,
    pipfile_lock,
    pixi_lock,
    pixi_toml,
    poetry_lock,
    prefix,
    pylock,
    pyproject,
    uv_lock,
)
from envpack.sources.rooted import Tree
from envpack.sources.text import decode, read_text
from envpack.spec import EnvSpec, valid_name

DEFAULT_FILES = ("environment.yml", "environment.yaml")
STDIN = "-"
_OTHER_FILES = ("pixi.toml", "pyproject.toml", "requirements.txt", "conda-lock.yml", "pixi.lock")
_YAML_KEY = re.compile(r"^(name|channels|dependencies|prefix)\s*:", re.MULTILINE)
_LOCKS = {
    "pdm.lock": "pdm export -o requirements.txt",
    "setup.py": "pip freeze > requirements.txt",
    "setup.cfg": "pip freeze > requirements.txt",
}
_OF_PIP = {"uv.lock": uv_lock, "poetry.lock": poetry_lock, "Pipfile": pipfile, "Pipfile.lock": pipfile_lock}


def read(
    source: str | Path | None,
    *,
    directory: Path,
    stdin: bytes | None = None,
    name: str | None = None,
    python: str | None = None,
    platforms: Sequence[str] = (),
    ledger: Ledger,
) -> EnvSpec:
    """Read what ``source`` asks for.

    ``source`` is a file, relative to ``directory``, or the folder of an environment or of a sandbox; ``"-"``
    for ``stdin``; ``None`` for the ``environment.yml`` of ``directory``. ``name`` replaces the source's own
    name; ``python`` is the version for a source that names none (``3.11``), or ``system`` for the base
    image's own; ``platforms`` are wanted, of a source that says other things for others. Whatever was
    guessed or dropped goes into ``ledger``. Raises :class:`SourceError` with every problem,
    :class:`UsageError` for a wrong ``python``.
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
    kind = _kind(path, text, shown)
    if kind not in (pip_freeze, pyproject, pylock, *_OF_PIP.values()):
        _refuse_system(python, shown)
    if kind is environment_yml:
        return environment_yml.read(
            text, shown=shown, path=path, directory=directory, name=name, folder=folder, ledger=ledger
        )
    if kind is conda_list:
        return conda_list.read(text, shown=shown, path=path, name=name, folder=folder, ledger=ledger)
    if kind is conda_explicit:
        return conda_explicit.read(text, shown=shown, path=path, name=name, folder=folder, ledger=ledger)
    if kind is conda_lock_yml:
        return conda_lock_yml.read(
            text, shown=shown, path=path, name=name, folder=folder, platforms=platforms, ledger=ledger
        )
    if kind is pixi_lock:
        return pixi_lock.read(
            text, shown=shown, path=path, name=name, folder=folder, platforms=platforms, ledger=ledger
        )
    if kind is pixi_toml:
        return pixi_toml.read(
            text, shown=shown, path=path, directory=directory, name=name, folder=folder,
            platforms=platforms, ledger=ledger,
        )  # fmt: skip
    if kind is pipfile:
        return pipfile.read(
            text, shown=shown, path=path, directory=directory, name=name, folder=folder, python=python,
            ledger=ledger,
        )  # fmt: skip
    if kind in (pylock, uv_lock, poetry_lock, pipfile_lock):
        found: EnvSpec = kind.read(
            text, shown=shown, path=path, name=name, folder=folder, python=python, ledger=ledger
        )
        return found
    if kind is pyproject:
        return pyproject.read(
            text, shown=shown, path=path, directory=directory, name=name, folder=folder, python=python,
            platforms=platforms, ledger=ledger,
        )  # fmt: skip
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


def from_env(
    name_or_path: str,
    *,
    directory: Path,
    environ: Mapping[str, str],
    name: str | None = None,
    ledger: Ledger,
) -> EnvSpec:
    """What is installed in an environment of this machine, by its name (``base`` too) or its folder.

    ``environ`` is the user's environment, which says where environments are. Raises :class:`SourceError`
    with all places that were looked at, and as :func:`read` does for a folder.
    """
    path = environments.find(name_or_path, directory, environ)
    own = environments.name_of(path, name_or_path)
    return prefix.read(
        path, shown=_shown(path, directory), name=name or own, folder=_folder_name(path.name), ledger=ledger
    )


def from_image(
    tree: Tree, *, shown: str, name: str | None = None, place: str | None = None, ledger: Ledger
) -> EnvSpec:
    """What is installed in an image whose files are ``tree`` and which messages call ``shown``.

    ``place`` is the environment's path in the image, if it has no usual one. Raises :class:`SourceError`.
    """
    folder = _folder_name(Path(shown).name.removesuffix(".sif").removesuffix(".sqfs"))
    return prefix.read_image(tree, shown=shown, name=name, folder=folder, place=place, ledger=ledger)


def _default(directory: Path) -> Path:
    for name in DEFAULT_FILES:
        if os.path.lexists(directory / name):
            return directory / name
    others = [name for name in _OTHER_FILES if os.path.lexists(directory / name)]
    hint = "Name a source: an environment.yml, a requirements file, or - for the output of pip freeze."
    raise SourceError(
        f"there is no {' or '.join(DEFAULT_FILES)} in {directory.resolve()}",
        hint=f"Name what is there: envpack lock {others[0]}" if others else hint,
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


def _kind(path: Path | None, text: str, shown: str) -> ModuleType:
    """The reader of ``text``. Raises :class:`SourceError` for what is no source, and says how to get one."""
    file = path.name if path else ""
    suffix = path.suffix.lower() if path else ""
    if file in _LOCKS:
        hint = f"Make a list for pip: {_LOCKS[file]}"
        raise SourceError(f"{shown} is no source that envpack reads", hint=hint)
    if file in _OF_PIP:
        return _OF_PIP[file]
    if re.match(r"pylock\..*toml\Z", file):
        return pylock
    if suffix == ".toml":
        return _toml_kind(file, text, shown)
    if conda_explicit.is_explicit(text):
        return conda_explicit
    if text.lstrip().startswith("{"):
        return environment_yml
    if text.lstrip().startswith("[") and '"dist_name"' in text:
        return conda_list
    if re.search(r"^version\s*:", text, re.MULTILINE) and not re.search(
        r"^dependencies\s*:", text, re.MULTILINE
    ):
        if re.search(r"^environments\s*:", text, re.MULTILINE):
            return pixi_lock
        if re.search(r"^package\s*:", text, re.MULTILINE):
            return conda_lock_yml
    if _YAML_KEY.search(text) is None and conda_list.is_list(text):
        return conda_list
    if suffix in (".yml", ".yaml"):
        return environment_yml
    if suffix not in (".txt", ".in") and _YAML_KEY.search(text):
        return environment_yml
    if suffix in (".lock", ".json", ".cfg", ".py"):
        raise SourceError(
            f"{shown} is a {suffix} file, which envpack does not read",
            hint="Write an environment.yml: conda env export --from-history > environment.yml",
        )
    return pip_freeze


def _toml_kind(file: str, text: str, shown: str) -> ModuleType:
    if file == "envpack.toml":
        raise SourceError(
            f"{shown} says how an image is made, not what is installed in it",
            hint="Name the environment.yml, or leave the source out.",
        )
    if file == "pixi.toml":
        return pixi_toml
    if file == "pyproject.toml" or re.search(r"^\[tool\.|^\[build-system\]", text, re.MULTILINE):
        return pyproject
    if re.search(r"^\[(workspace|project)\]", text, re.MULTILINE) and "channels" in text:
        return pixi_toml
    return pyproject


def _refuse_system(python: str | None, shown: str) -> None:
    if python == pip_freeze.SYSTEM:
        raise UsageError(
            f"{shown} cannot be installed on the base image's own python",
            why="its packages are conda's, which are made for conda's python",
            hint="Leave --python system out, or give a list for pip: requirements.txt, or pip freeze.",
        )


def _folder_name(name: str) -> str:
    """A folder's name as a valid environment name: other characters become dashes."""
    cleaned = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.+")
    return cleaned[:128] or "environment"
