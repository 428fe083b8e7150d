"""conda's ``environment.yml``.

The keys are conda's (https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html):
``name``, ``channels``, ``dependencies`` with a nested ``pip:``, ``variables``, ``prefix``; and conda-lock's
``platforms``. The file is read as a tree of nodes, not as values: every node has its line and column, and a
version such as ``3.10`` stays text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envpack.errors import Location, Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.platforms import PLATFORMS
from envpack.sources.requirements import PipLines, read_lines
from envpack.sources.urls import channel_problem
from envpack.spec import EnvSpec, Requirement, valid_name
from envpack.yaml_nodes import at, compose, is_null, scalar

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

DEFAULT_CHANNEL = "conda-forge"
_KNOWN = ("name", "channels", "dependencies", "variables", "platforms", "prefix", "category")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_EXTRAS = re.compile(r"[A-Za-z0-9_.-]+\[[A-Za-z0-9_, -]+\]")


def read(
    text: str,
    *,
    shown: str,
    path: Path | None,
    directory: Path,
    name: str | None,
    folder: str,
    ledger: Ledger,
) -> EnvSpec:
    """The environment that the YAML ``text`` asks for.

    ``shown`` is how places call the file, ``path`` the file itself (``None`` for standard input),
    ``directory`` what ``shown`` and ``-r`` lines are relative to, ``name`` the user's choice of a name,
    ``folder`` a valid name to fall back on. Raises :class:`SourceError` with every problem of the file.
    """
    return _Reader(shown, directory, ledger).read(text, path, name, folder)


class _Reader:
    """One reading of one file; collects problems so that all are told at once."""

    def __init__(self, shown: str, directory: Path, ledger: Ledger) -> None:
        self.shown = shown
        self.ledger = ledger
        self.problems: list[Problem] = []
        self.conda: list[Requirement] = []
        self.pip = PipLines(ledger, directory)

    def read(self, text: str, path: Path | None, name: str | None, folder: str) -> EnvSpec:
        root = self._entries(_root(text, self.shown))
        channels = self._channels(root.get("channels"))
        self._dependencies(root.get("dependencies"))
        variables = self._variables(root.get("variables"))
        platforms = self._platforms(root.get("platforms"))
        found = self._name(root.get("name"), name, folder)
        if "prefix" in root:
            self.ledger.add(
                Action.DROPPED,
                "prefix",
                "the environment gets its own place in the image",
                where=self.at(root["prefix"]),
                remedy="Give another place with --prefix.",
            )
        for key, node in root.items():
            if key not in _KNOWN:
                self.ledger.add(Action.DROPPED, key, "no key that conda knows", where=self.at(node))
        self.problems += self.pip.problems
        if not self.problems and not self.conda and not self.pip.requirements:
            raise SourceError(
                f"{self.shown} asks for no packages", hint="List them under the key dependencies."
            )
        if self.problems:
            raise SourceError(
                f"{self.shown} cannot be used as it is",
                problems=sorted(self.problems, key=lambda p: (p.where.line or 0) if p.where else 0),
                hint="Change these places, then run the same command again.",
            )
        return EnvSpec(
            name=found,
            channels=channels,
            conda=tuple(self.conda),
            pip=tuple(self.pip.requirements),
            pip_options=self.pip.options,
            platforms=platforms,
            variables=variables,
            sources=tuple([path.resolve()] if path else []) + tuple(self.pip.sources),
        )

    def at(self, node: Node) -> Location:
        """Where ``node`` begins."""
        return at(node, self.shown)

    def wrong(self, node: Node, what: str, hint: str | None = None, why: str | None = None) -> None:
        """Record a problem at ``node``."""
        self.problems.append(Problem(what, self.at(node), why, hint))

    def _entries(self, node: Any) -> dict[str, Any]:
        """A mapping node as a dict of its value nodes; keys twice are problems, as they are for conda."""
        entries: dict[str, Any] = {}
        for key, value in node.value:
            text = scalar(key)
            if text is None:
                self.wrong(key, "a key is not a text")
            elif text in entries:
                self.wrong(key, f"{text} is written twice", "Join the two.")
            else:
                entries[text] = value
        return entries

    def _list(self, node: Any, what: str) -> list[Any]:
        """The items of a sequence node, none for an absent or empty value."""
        if node is None or is_null(node):
            return []
        if node.id != "sequence":
            self.wrong(node, f"{what} is not a list", "Write one item a line, each after a dash.")
            return []
        return [item for item in node.value if not is_null(item)]

    def _texts(self, node: Any, what: str) -> list[tuple[str, Any]]:
        texts = []
        for item in self._list(node, what):
            text = scalar(item)
            if text is None:
                self.wrong(item, f"an item of {what} is not a text")
            elif text.strip():
                texts.append((text.strip(), item))
        return texts

    def _name(self, node: Any, chosen: str | None, folder: str) -> str:
        if chosen is not None:
            return valid_name(chosen)
        text = None if node is None or is_null(node) else scalar(node)
        if node is not None and not is_null(node) and text is None:
            self.wrong(node, "name is not a text")
        if not text:
            self.ledger.add(
                Action.GUESSED,
                f"name: {folder}",
                "the file gives no name: the folder's is taken",
                where=Location(self.shown),
                remedy="Give another one with --name.",
            )
            return folder
        try:
            return valid_name(text.strip(), self.at(node))
        except SourceError as error:
            self.problems.append(Problem(error.what, error.where, error.why, error.hint))
            return folder

    def _channels(self, node: Any) -> tuple[str, ...]:
        channels: list[str] = []
        for text, item in self._texts(node, "channels"):
            if problem := channel_problem(text, self.at(item)):
                self.problems.append(problem)
            elif text != "nodefaults" and text not in channels:
                channels.append(text)
        if not channels and not self.problems:
            self.ledger.add(
                Action.GUESSED,
                f"channels: {DEFAULT_CHANNEL}",
                "the file names no channel",
                where=self.at(node) if node is not None else Location(self.shown),
                remedy="Name the channels in the file.",
            )
            channels = [DEFAULT_CHANNEL]
        return tuple(channels)

    def _dependencies(self, node: Any) -> None:
        for item in self._list(node, "dependencies"):
            if item.id == "mapping":
                self._section(item)
                continue
            text = scalar(item)
            if text is None:
                self.wrong(item, "a dependency is neither a match spec nor a pip section")
            elif text.strip():
                self._match_spec(text.strip(), item)

    def _match_spec(self, text: str, node: Any) -> None:
        from rattler import MatchSpec
        from rattler.exceptions import InvalidMatchSpecError

        try:
            MatchSpec(text)
        except InvalidMatchSpecError as error:
            if _EXTRAS.match(text):
                hint = (
                    "conda packages have no extras: name the packages, or move the line to the pip section."
                )
            else:
                hint = "Match specs look like numpy, numpy=1.26, numpy >=1.26,<2 or conda-forge::numpy."
            self.wrong(node, f"{text!r} is not a match spec", hint, str(error).partition("\n")[0])
            return
        self.conda.append(Requirement(text, self.at(node)))

    def _section(self, node: Any) -> None:
        for key, value in self._entries(node).items():
            if key == "pip":
                lines = [(text, self.at(item)) for text, item in self._texts(value, "the pip section")]
                read_lines(self.pip, lines)
            else:
                text = scalar(value)
                hint = f"Write it as one text: {key}={text}" if text else "The only section is pip."
                self.wrong(node, f"{key} is not a section of dependencies", hint)

    def _variables(self, node: Any) -> dict[str, str]:
        if node is None or is_null(node):
            return {}
        if node.id != "mapping":
            self.wrong(node, "variables is not a mapping", "Write NAME: value, one a line.")
            return {}
        variables = {}
        for name, value in self._entries(node).items():
            text = "" if is_null(value) else scalar(value)
            if not _VARIABLE.match(name):
                self.wrong(value, f"{name!r} cannot be an environment variable")
            elif text is None:
                self.wrong(value, f"the value of {name} is not a text")
            else:
                variables[name] = text
        return variables

    def _platforms(self, node: Any) -> tuple[str, ...]:
        platforms: list[str] = []
        for text, item in self._texts(node, "platforms"):
            if text in PLATFORMS:
                if text not in platforms:
                    platforms.append(text)
            else:
                self.ledger.add(
                    Action.DROPPED, f"platform {text}", "images are made for Linux", where=self.at(item)
                )
        return tuple(platforms)


def _root(text: str, shown: str) -> Any:
    """The root mapping node of YAML ``text``; :class:`SourceError` with line and column otherwise."""
    root = compose(text, shown, SourceError) if text.strip() else None
    if root is None or is_null(root):
        raise SourceError(f"{shown} is empty", hint="List packages under the key dependencies.")
    if root.id != "mapping":
        raise SourceError(
            "not an environment file: it does not consist of keys and values",
            where=at(root, shown),
            hint="An environment file has the keys name:, channels: and dependencies:.",
        )
    return root
