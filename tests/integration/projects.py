"""Small projects of a user's own, as packages of theirs."""

from __future__ import annotations

from pathlib import Path

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "0.1"
requires-python = ">=3.9"
"""


def of_hatchling(folder: Path) -> None:
    """Write a project into ``folder``, called as that is, whose module says ``answer = 42``."""
    module = folder / folder.name
    module.mkdir(parents=True)
    (module / "__init__.py").write_text("answer = 42\n")
    (folder / "pyproject.toml").write_text(_PROJECT.format(name=folder.name))
