"""uv's workspaces: projects in the folders of a tree, whose root lists them.

    [tool.uv.workspace]
    members = ["packages/*"]                              # each with a pyproject.toml, and the root itself
    exclude = ["packages/old"]

Format: https://docs.astral.sh/uv/concepts/projects/workspaces/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envpack.errors import SourceError
from envpack.sources.pip_lock import table, text
from envpack.sources.text import MAX_LIST_BYTES, read_text
from envpack.sources.toml_text import parsed

_MOST_MEMBERS = 1000
_MOST_ABOVE = 5  # folders in which a root is looked for


class Workspace:
    """A workspace. ``uv`` is its root's ``[tool.uv]``; ``up`` leads there from where it was looked for:
    ``./`` with as many ``../`` as it takes.
    """

    def __init__(self, root: Path, up: str, uv: Mapping[str, Any]) -> None:
        """``root`` is absolute."""
        self.up = up
        self.uv = uv
        self._root = root

    @cached_property
    def members(self) -> list[Path]:
        """The folders of its projects, absolute."""
        listed = table(self.uv.get("workspace"))
        left_out = {folder for pattern in _texts(listed.get("exclude")) for folder in self._matches(pattern)}
        found = [folder for pattern in _texts(listed.get("members")) for folder in self._matches(pattern)]
        return [self._root, *(folder for folder in found if folder not in left_out)]

    def find(self, name: str) -> str:
        """The path to the project ``name`` from where the workspace was looked for; empty if it has none."""
        folder = self._by_name.get(canonicalize_name(name))
        return f"{self.up}{folder.relative_to(self._root)}" if folder else ""

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self.members:
            name = text(table(_project(folder).get("project")).get("name"))
            found.setdefault(canonicalize_name(name), folder)
        return found

    def _matches(self, pattern: str) -> list[Path]:
        found = []
        try:
            for folder in self._root.glob(pattern):
                found.append(folder)
                if len(found) == _MOST_MEMBERS:
                    break
        except (ValueError, NotImplementedError, OSError):
            return []  # it is no pattern below the root
        return sorted(found)


def around(folder: Path, uv: Mapping[str, Any]) -> Iterator[Workspace]:
    """The workspaces whose root is the absolute ``folder``, which has ``uv``, or above it: nearest first."""
    for above, root in enumerate((folder, *folder.parents)[:_MOST_ABOVE]):
        tables = table(table(_project(root).get("tool")).get("uv")) if above else uv
        if table(tables.get("workspace")):
            yield Workspace(root, f"./{'../' * above}", tables)


def _project(folder: Path) -> Mapping[str, Any]:
    """The pyproject.toml in ``folder``; empty where there is none that can be read."""
    path = folder / "pyproject.toml"
    try:
        return parsed(read_text(path, str(path), MAX_LIST_BYTES), str(path))
    except SourceError:
        return {}  # who asks for that package is told that it is not there


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
