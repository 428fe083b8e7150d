"""A YAML file of a source as keys, lists and texts, each with its place; all that is wrong is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envpack.errors import Location, Problem, SourceError
from envpack.sources import foreign_lines
from envpack.sources.text import MAX_LIST_BYTES, too_long
from envpack.yaml_nodes import at, compose, is_null, scalar

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node


class Document:
    """``shown`` is how places call the file; ``problems`` are told at once, in the end."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.problems: list[Problem] = []

    def at(self, node: Node) -> Location:
        """Where ``node`` begins."""
        return at(node, self.shown)

    def wrong(self, node: Node, what: str, hint: str | None = None, why: str | None = None) -> None:
        """Record a problem at ``node``."""
        self.problems.append(Problem(what, self.at(node), why, hint))

    def entries(self, node: Any) -> dict[str, Any]:
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

    def list_of(self, node: Any, what: str) -> list[Any]:
        """The items of a sequence node, none for an absent or empty value."""
        if isinstance(node, list):
            return node
        if node is None or is_null(node):
            return []
        if node.id != "sequence":
            self.wrong(node, f"{what} is not a list", "Write one item a line, each after a dash.")
            return []
        return [item for item in node.value if not is_null(item)]

    def texts(self, node: Any, what: str) -> list[tuple[str, Any]]:
        """The texts of a sequence node, each with its node."""
        texts = []
        for item in self.list_of(node, what):
            text = scalar(item)
            if text is None:
                self.wrong(item, f"an item of {what} is not a text")
            elif text.strip():
                texts.append((text.strip(), item))
        return texts

    def mapping(self, node: Any, what: str) -> list[tuple[str, Any, Location]]:
        """Names, values and places; an empty value is where its name is."""
        if node is None or is_null(node):
            return []
        if node.id != "mapping":
            self.wrong(node, f"{what} is not a mapping", "Write NAME: value, one a line.")
            return []
        keys = {scalar(key): key for key, _ in node.value if key.id == "scalar"}
        return [
            (name, value, self.at(keys[name] if is_null(value) else value))
            for name, value in self.entries(node).items()
        ]


def root_of(text: str, shown: str) -> Any:
    """The root mapping node of YAML ``text``; :class:`SourceError` with line and column otherwise."""
    if len(text) > MAX_LIST_BYTES:
        raise too_long(shown, MAX_LIST_BYTES)
    if foreign := foreign_lines.problems(text, shown):
        raise SourceError(
            f"{shown} cannot be used as it is",
            problems=foreign,
            hint="Change these places, then run the same command again.",
        )
    try:
        root = compose(text, shown, SourceError) if text.strip() else None
    except SourceError as error:
        if (row := foreign_lines.pasted_list(text)) is None:
            raise
        raise SourceError(
            "rows of conda list in an environment file",
            where=Location(shown, row),
            why=f"{error.what} at {error.where}",
            hint="Keep one of the two: the output of conda list is a source of its own.",
        ) from None
    if root is None or is_null(root):
        raise SourceError(f"{shown} is empty", hint="List packages under the key dependencies.")
    if root.id != "mapping":
        raise SourceError(
            "not an environment file: it does not consist of keys and values",
            where=at(root, shown),
            hint="An environment file has the keys name:, channels: and dependencies:.",
        )
    return root
