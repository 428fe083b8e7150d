"""YAML as a tree of nodes that know where they are written. Nothing is expanded and nothing is executed.

A few lines of aliases can stand for terabytes of values. As nodes they are shared, and cost nothing as long
as only those are looked at that a reader looks for. The parser in pure Python bounds its own depth.

A node is ruamel.yaml's, whose types say less than it holds: ``id``, ``tag``, ``value`` and ``start_mark``.
"""

from __future__ import annotations

from typing import Any

from envpack.errors import EnvpackError, Location

_HINT = (
    "Look at this line and the one before: indent with spaces, start the items of a list in one column, and "
    "put quotes around a text that holds ': ' or ' #'."
)


def compose(text: str, shown: str, kind: type[EnvpackError], hint: str = _HINT) -> Any:
    """The root node of YAML ``text``; ``None`` if there is nothing in it.

    ``shown`` is what errors call the file. Raises ``kind`` with line, column and ``hint`` for what is no
    YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = Location(shown, mark.line + 1, mark.column + 1) if mark else Location(shown)
        parts = [part for part in (error.context, error.problem) if part]
        why = ", ".join(parts) or None
        raise kind("not valid YAML", where=where, why=why, hint=hint) from None
    except RecursionError:
        why = "lists in lists, or keys below keys, by the hundred"
        raise kind("nested too deeply", where=Location(shown), why=why, hint=hint) from None
    except (YAMLError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise kind("not valid YAML", where=Location(shown), why=why, hint=hint) from None


def at(node: Any, shown: str) -> Location:
    """Where ``node`` begins."""
    return Location(shown, node.start_mark.line + 1, node.start_mark.column + 1)


def scalar(node: Any) -> str | None:
    """The text of a scalar node as it was written; ``None`` for any other node."""
    return str(node.value) if node.id == "scalar" else None


def is_null(node: Any) -> bool:
    """Whether a node is an empty value, ``~`` or ``null``."""
    return bool(node.id == "scalar" and node.tag.endswith(":null"))
