"""Lines that make a text no environment: merge conflicts and templates that nobody has filled in."""

from __future__ import annotations

import re

from envpack.errors import Location, Problem

_CONFLICT = re.compile(r"(<<<<<<<|>>>>>>>)( |$)|(=======|\|\|\|\|\|\|\|)$")
_TEMPLATE = re.compile(r"\{\{[^{}\n]{0,200}\}\}|\{%[^{}\n]{0,200}%\}")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')
_LIST_ROW = re.compile(r"\S+ +v?\d\S* +\S*\d\S*( +\S+)?\s*$")
_LIST_HEAD = re.compile(r"#\s*(packages in environment at |Name\s+Version\s+Build)")


def problems(text: str, shown: str) -> list[Problem]:
    """Every committed conflict and every template in ``text``, with its line; comments are left alone."""
    found = []
    conflict = "<<<<<<<" in text
    for number, line in enumerate(text.split("\n"), 1):
        where = Location(shown, number)
        if conflict and _CONFLICT.match(line):
            what = f"{line.split(' ', 1)[0]} is the mark of a merge conflict"
            hint = "Choose between the two sides, and remove the marks."
            found.append(Problem(what, where, "the file was committed half merged", hint))
        elif template := _template(line):
            what = f"{template[0][:80]} is a template that is not filled in"
            hint = "Render the file first (conda devenv, cookiecutter, jinja), then lock the result."
            found.append(Problem(what, where, "its value is known only to the tool it was written for", hint))
    return found


def _template(line: str) -> re.Match[str] | None:
    """The first template of a line that is no comment; a quoted text may hold what looks like one."""
    if "{" not in line or line.lstrip().startswith("#"):
        return None
    return _TEMPLATE.search(_QUOTED.sub("", line))


def pasted_list(text: str) -> int | None:
    """The line where rows of ``conda list`` begin in ``text``, which begins as something else."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if _LIST_HEAD.match(line) and any(_LIST_ROW.match(row) for row in lines[number : number + 3]):
            return number
        if line[:1].strip() and line[0] not in "#-" and _LIST_ROW.match(line) and ":" not in line:
            return number
    return None
