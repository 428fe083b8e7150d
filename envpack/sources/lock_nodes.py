"""The YAML nodes of other tools' locks, as far as they are what they should be.

A lock is written by a program: what is of another shape than expected is as good as absent.
"""

from __future__ import annotations

from typing import Any

from envpack.yaml_nodes import is_null, scalar


def fields(node: Any) -> dict[str, Any]:
    """The value nodes of a mapping by key."""
    if node is None or node.id != "mapping":
        return {}
    return {key: value for key_node, value in node.value if (key := scalar(key_node)) is not None}


def items(node: Any) -> list[Any]:
    """The nodes of a sequence."""
    return list(node.value) if node is not None and node.id == "sequence" else []


def text(node: Any) -> str | None:
    """The text of a scalar that is not empty."""
    return None if node is None or is_null(node) else scalar(node)
