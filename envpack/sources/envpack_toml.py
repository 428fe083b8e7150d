"""What a project says about its image: ``envpack.toml``, or ``[tool.envpack]`` in ``pyproject.toml``.

    base = "ubuntu:22.04"                       # as --base of `envpack lock`, which wins
    apt = ["libgl1", "git=1:2.34.1-1ubuntu1"]   # packages of a Debian-like base
    post = ["python -m nltk.downloader punkt"]  # shell commands, in the finished environment
    runscript = 'exec python -m mytool "$@"'    # instead of: exec python "$@"

    [environment]                               # variables that are set on activation
    OMP_NUM_THREADS = "1"

    [labels]
    "org.opencontainers.image.source" = "https://example.org/group/project"

    [files]                                     # files and folders of the project: where in the image
    "data/weights.bin" = "/opt/model/weights.bin"

TOML 1.0 (https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envpack.errors import Location, Problem, SourceError, UsageError
from envpack.image import Digest, parse_reference
from envpack.image_settings import CopiedPath, ImageSettings
from envpack.ledger import Action, Ledger
from envpack.sources.text import read_text
from envpack.sources.toml_text import Lines, parsed

FILENAME = "envpack.toml"
_PYPROJECT = "pyproject.toml"
_KNOWN = ("base", "apt", "post", "runscript", "environment", "labels", "files")
_UNKNOWN = Digest("sha256:" + "0" * 64)


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """``file`` is what was read, relative to the project's folder; ``None`` where there is nothing."""

    image: ImageSettings = field(default_factory=ImageSettings)
    base: str | None = None
    file: str | None = None


def read(directory: Path, digest: Callable[[Path, str], Digest], ledger: Ledger) -> ProjectSettings:
    """The settings of the project in ``directory``.

    ``digest`` gives that of a file or folder of the project (:func:`envpack.content.project_files.digest`).
    Where there are both files, ``envpack.toml`` counts and the other is reported. Raises
    :class:`SourceError` with everything that is wrong.
    """
    pyproject = _pyproject(directory)
    if (directory / FILENAME).exists():
        if pyproject is not None:
            line = Lines(read_text(directory / _PYPROJECT, _PYPROJECT)).of(("tool", "envpack"))
            ledger.add(
                Action.DROPPED,
                f"[tool.envpack] of {_PYPROJECT}",
                f"{FILENAME} beside it is what counts",
                where=Location(_PYPROJECT, line),
                remedy="Keep one of them.",
            )
        text = read_text(directory / FILENAME, FILENAME)
        return _Reader(FILENAME, text, (), directory, digest).read(parsed(text, FILENAME))
    if pyproject is None:
        return ProjectSettings()
    text = read_text(directory / _PYPROJECT, _PYPROJECT)
    return _Reader(_PYPROJECT, text, ("tool", "envpack"), directory, digest).read(pyproject)


def _pyproject(directory: Path) -> object | None:
    """``[tool.envpack]``. A pyproject.toml that does not name it is no affair of ours, broken or not."""
    path = directory / _PYPROJECT
    if not path.exists():
        return None
    text = read_text(path, _PYPROJECT)
    if "envpack" not in text:
        return None
    tool = parsed(text, _PYPROJECT).get("tool")
    return tool.get("envpack") if isinstance(tool, dict) else None


class _Reader:
    """One reading of one file; collects problems so that all are told at once."""

    def __init__(
        self,
        shown: str,
        text: str,
        above: tuple[str, ...],
        directory: Path,
        digest: Callable[[Path, str], Digest],
    ) -> None:
        self._shown, self._text, self._above = shown, text, above
        self._directory, self._digest = directory, digest
        self._problems: list[Problem] = []

    def read(self, data: object) -> ProjectSettings:
        """All settings; raises :class:`SourceError` if one is wrong."""
        table = self._table(data, ())
        for key in sorted(set(table) - set(_KNOWN)):
            self._wrong((key,), f"there is no setting {key!r}", f"known are {', '.join(_KNOWN)}")
        settings = ProjectSettings(
            ImageSettings(
                self._texts(table.get("apt", []), "apt"),
                self._map(table.get("environment", {}), "environment"),
                self._map(table.get("labels", {}), "labels"),
                self._files(table.get("files", {})),
                self._texts(table.get("post", []), "post"),
                self._optional(table, "runscript"),
            ),
            self._base(self._optional(table, "base")),
            self._shown,
        )
        if self._problems:
            raise SourceError(
                f"{self._shown} says something that cannot be",
                problems=self._problems,
                hint="Change these settings, then run the same command again.",
            )
        return settings

    def _base(self, name: str | None) -> str | None:
        if name is not None:
            try:
                parse_reference(name)
            except UsageError as error:
                self._wrong(("base",), error.what, error.hint)
        return name

    def _files(self, value: object) -> tuple[CopiedPath, ...]:
        found: dict[str, CopiedPath] = {}
        for source, destination in self._map(value, "files").items():
            key = ("files", source)
            try:
                plain = source.removeprefix("./").rstrip("/")
                # Into a folder, as cp has it.
                target = destination + (plain.rpartition("/")[2] if destination.endswith("/") else "")
                copied = CopiedPath(plain, target, _UNKNOWN)  # checks both before anything is read
                copied = replace(copied, digest=self._digest(self._directory, plain))
            except ValueError as error:
                self._wrong(key, str(error))
            except SourceError as error:
                self._wrong(key, error.what, error.why or error.hint)
            else:
                if target in found:
                    self._wrong(key, f"{found[target].source} is copied to {target} too")
                found[target] = copied
        return tuple(found[target] for target in sorted(found))

    def _optional(self, table: Mapping[str, object], key: str) -> str | None:
        return self._one(table[key], (key,)) if key in table else None

    def _texts(self, value: object, key: str) -> tuple[str, ...]:
        if not isinstance(value, list):
            self._wrong((key,), f"{key} is not a list of texts")
            return ()
        return tuple(self._one(item, (key,)) for item in value)

    def _map(self, value: object, key: str) -> dict[str, str]:
        return {name: self._one(item, (key, name)) for name, item in self._table(value, (key,)).items()}

    def _table(self, value: object, key: tuple[str, ...]) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(key, f"{'.'.join((*self._above, *key))} is not a table")
        return {}

    def _one(self, value: object, key: tuple[str, ...]) -> str:
        if isinstance(value, str):
            return value
        self._wrong(key, f"{'.'.join(key)} is not a text", f'write it in quotes: "{value}"')
        return ""

    def _wrong(self, key: tuple[str, ...], what: str, why: str | None = None) -> None:
        where = Location(self._shown, Lines(self._text).of((*self._above, *key)))
        self._problems.append(Problem(what, where, why.rstrip(".") if why else None))
