"""What pixi.toml and pyproject.toml have in common: tables, each line of which has a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources import local_package
from envpack.sources.requirements import PipLines, read_lines, settle
from envpack.sources.toml_text import Lines
from envpack.sources.urls import without_secrets
from envpack.spec import EnvSpec, LocalPackage, Requirement, valid_name

DEFAULT_CHANNEL = "conda-forge"
WHEELS_ONLY = "only finished wheels are taken, each with its sha256"
_LONGEST_COMMENT = 50  # lines between two items of a list
Key = tuple[str, ...]


@dataclass(slots=True)
class Manifest:
    """One reading of one manifest; collects problems so that all are told at once."""

    text: str
    shown: str
    ledger: Ledger
    directory: Path
    conda: dict[str, Requirement] = field(default_factory=dict)
    pip: dict[str, tuple[str, Location]] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    platforms: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: PipLines = field(init=False)
    _lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        """Lines for pip are read by pip's reader."""
        self._lines = Lines(self.text)
        self.lines = PipLines(self.ledger, self.directory, problems=self.problems)

    def at(self, *key: str) -> Location:
        """Where ``key`` is written."""
        return Location(self.shown, self._lines.of(key))

    def say(self, action: Action, key: Key, subject: str, reason: str, remedy: str | None = None) -> None:
        """Record what became of ``key``."""
        self.ledger.add(action, subject, reason, where=self.at(*key), remedy=remedy)

    def drop(self, key: Key, value: object, above: Key, reason: str, remedy: str | None = None) -> None:
        """Record that ``key`` is not taken, or each line of it if it has several.

        ``above`` is what all keys of the file begin with, and messages leave out.
        """
        if isinstance(value, dict) and {self.at(*key, *leaf) for leaf in _leaves(value)} - {self.at(*key)}:
            for part, child in value.items():
                self.drop((*key, part), child, above, reason, remedy)
        else:
            self.say(Action.DROPPED, key, ".".join(key[len(above) :]), reason, remedy)

    def wrong(self, key: Key, what: str, why: str | None = None, hint: str | None = None) -> None:
        """Record a problem with ``key``."""
        self.problems.append(Problem(what, self.at(*key), why, hint))

    def table(self, parent: Mapping[str, Any], key: Key) -> dict[str, Any]:
        """The table ``key``, whose last part is looked up in ``parent``; empty where there is none."""
        value = parent.get(key[-1], {})
        if isinstance(value, dict):
            return value
        self.wrong(key, f"{'.'.join(key)} is not a table")
        return {}

    def texts(self, parent: Mapping[str, Any], key: Key) -> list[str]:
        """The list of texts ``key``, whose last part is looked up in ``parent``."""
        value = parent.get(key[-1], [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.wrong(key, f"{'.'.join(key)} is not a list of texts")
        return []

    def items(self, key: Key, texts: Sequence[str]) -> Iterator[tuple[str, Location]]:
        """``texts`` of the list ``key`` with their places: lines of their own, if they have any."""
        start = self._lines.of(key)
        number = start or 1
        lines = self.text.split("\n")
        for text in texts:
            ahead = range(number, min(number + _LONGEST_COMMENT, len(lines) + 1))
            found = next((n for n in ahead if text in lines[n - 1].replace('\\"', '"')), None)
            number = found or number
            yield text, Location(self.shown, found or start)

    def local(
        self, key: Key, label: str, target: str, name: str, extras: Sequence[str] = (), marker: str = ""
    ) -> None:
        """Take the package ``name`` that is at the path ``target`` of this machine, or say why not."""
        folder = self.directory / Path(self.shown).parent
        where = self.at(*key)
        wanted = tuple(sorted(set(extras)))
        found = local_package.at(target, folder, name=name, extras=wanted, marker=marker, where=where)
        if isinstance(found, LocalPackage):
            self.say(Action.KEPT, key, label, local_package.IS_THERE)
            self.lines.local.append(found)
        else:
            remedy = "Mend it, or remove the line: your own code can stay outside the image."
            self.say(Action.NEEDS_YOU, key, label, found or local_package.NOT_HERE, remedy)

    def name(self, own: object, key: Key, chosen: str | None, folder: str) -> str:
        """The environment's name: ``chosen`` by the user, ``own`` of the file's ``key``, or ``folder``."""
        if chosen is not None:
            if isinstance(own, str):
                action = Action.KEPT if own == chosen else Action.REPLACED
                self.say(action, key, f"name: {own}", "by --name")
            return valid_name(chosen)
        if isinstance(own, str):
            try:
                name = valid_name(own)
            except SourceError:
                pass
            else:
                self.say(Action.KEPT, key, f"name: {own}", "as it is written")
                return name
        self.ledger.add(
            Action.GUESSED,
            f"name: {folder}",
            "the file gives no name that a file can have: the folder's is taken",
            where=Location(self.shown),
            remedy="Give another one with --name.",
        )
        return folder

    def spec(self, name: str, path: Path | None, *, system_python: bool = False) -> EnvSpec:
        """The environment. Raises :class:`SourceError` with all problems."""
        read_lines(self.lines, self.pip.values())
        settle(self.lines)
        if self.problems:
            raise SourceError(
                f"{self.shown} says something that cannot be",
                problems=self.problems,
                hint="Change these lines, then run the same command again.",
            )
        if not self.conda and not self.lines.requirements and not self.lines.local:
            raise SourceError(
                f"{self.shown} asks for no packages",
                hint="Name another source, or list packages under dependencies.",
            )
        channels = () if system_python else tuple(self.channels) or (DEFAULT_CHANNEL,)
        return EnvSpec(
            name=name,
            channels=channels,
            conda=(*self.conda.values(), *self.lines.conda),
            pip=tuple(self.lines.requirements),
            local=tuple(self.lines.local),
            pip_options=self.lines.options,
            platforms=tuple(self.platforms),
            variables=self.variables,
            sources=(path.resolve(),) if path else (),
            system_python=system_python,
        )


def _leaves(table: Mapping[str, Any]) -> list[Key]:
    """The keys of all values in ``table`` that are no tables, relative to it."""
    found: list[Key] = []
    for key, value in table.items():
        found += [(key, *leaf) for leaf in _leaves(value)] if isinstance(value, dict) and value else [(key,)]
    return found


def inline(value: object) -> str:
    """A value as it is written in a manifest, more or less, without secrets."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{without_secrets(value)}"' if isinstance(value, str) else str(value)
