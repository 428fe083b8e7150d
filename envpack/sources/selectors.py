"""Conditions on lines: ``- pywin32  # [win]`` (conda-build's and conda-lock's) and ``sel(win): pywin32``.

conda itself reads them as comments, so a condition that is not about a platform leaves its line in.
"""

from __future__ import annotations

import re

_COMMENT = re.compile(r"(?:^|\s)#\s*\[\s*(?P<condition>[^\[\]]{1,200}?)\s*\](?P<rest>.*)$")
_KEY = re.compile(r"sel\((?P<condition>[^()]{1,200})\)\Z")
_TRUE = frozenset({"linux", "unix", "linux64", "linux-64", "x86", "x86_64", "64", "true"})
_FALSE = frozenset(
    {"osx", "osx64", "osx-64", "osx-arm64", "mac", "macos", "darwin", "arm64", "linux32", "false"}
    | {"win", "win32", "win64", "win-64", "windows"}
)


def of_line(line: str) -> str | None:
    """The condition at the end of ``line``, if there is one."""
    found = _COMMENT.search(line)
    if not found or (found["rest"].strip() and holds(found["condition"]) is None):
        return None
    return found["condition"]


def of_key(key: str) -> str | None:
    """The condition that the key of a mapping is (``sel(linux)``), if it is one."""
    found = _KEY.match(key)
    return found["condition"].strip() if found else None


def holds(condition: str) -> bool | None:
    """Whether ``condition`` is true on Linux; ``None`` for what is no condition on platforms."""
    words = re.findall(r"[A-Za-z0-9_-]+|\S", condition.replace("(", " ").replace(")", " "))
    any_true = False
    for group in " ".join(words).split(" or "):
        all_true = True
        for term in group.split(" and "):
            word = term.strip().lower()
            negated = word.startswith("not ")
            word = word.removeprefix("not ").strip()
            if word not in _TRUE and word not in _FALSE:
                return None
            all_true = all_true and ((word in _TRUE) != negated)
        any_true = any_true or all_true
    return any_true
