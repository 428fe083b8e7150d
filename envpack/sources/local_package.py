"""What a line for pip or a lock names on this machine: a folder with a package's source, an sdist, a wheel.

The forms of lines are pip's: ``./pkg``, ``pkg/dist/NAME-1.0-py3-none-any.whl``, ``file:///home/me/pkg``,
``NAME[EXTRA] @ file:../pkg``, each with extras, a marker, and a fragment such as ``#subdirectory=python``.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, unquote

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from envpack.errors import Location
from envpack.sources.urls import is_local
from envpack.spec import LocalPackage

IS_THERE = "it is there: it gets into the lock as a wheel"
ABSENT = "it is a file or folder of the machine where the list was made"
NOT_HERE = "it is a folder or file that is not on this machine"
FILES = (".whl", ".tar.gz", ".zip")
_MAX = 4096
_NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\[\]]*\])?\s*@\s*(?P<target>file:.*)\Z"
)
_EXTRAS = re.compile(r"(?P<target>[^\[\]]+)(?P<extras>\[[A-Za-z0-9._,\s-]*\])\Z")
_PROJECT = ("pyproject.toml", "setup.py")


def find(line: str, folder: Path, *, editable: bool = False) -> LocalPackage | str | None:
    """What ``line`` names, seen from ``folder``; the reason if that is there and no package.

    ``None`` where it names nothing that is on this machine. An ``editable`` one may be a folder's bare name.
    """
    line = line.strip()
    if line[:1] in ("'", '"') and line[-1:] == line[:1]:
        line = line[1:-1]
    if len(line) > _MAX or "\0" in line:
        return None
    target, marker = line, None
    if parts := re.split(r"\s+;\s*|;\s+", line, maxsplit=1):
        target, marker = parts[0].rstrip(), parts[1] if len(parts) > 1 else None
    name, extras = None, ""
    if named := _NAMED.match(target):
        name, extras, target = canonicalize_name(named["name"]), named["extras"] or "", named["target"]
    target, _, fragment = target.partition("#")
    if not extras and (found := _EXTRAS.match(target)):
        target, extras = found["target"].rstrip(), found["extras"]
    path_like = is_local(target) or ("/" in target and "://" not in target) or target.endswith(FILES)
    if not path_like and not (editable and ":" not in target):
        return None
    path = _path(target, folder)
    if path is None:
        return None
    below = parse_qs(fragment).get("subdirectory", [""])[0]
    wanted = tuple(sorted({e.strip() for e in extras.strip("[]").split(",")} - {""}))
    return _package(LocalPackage(line, path / below, name, wanted, marker))


def at(
    target: str,
    folder: Path,
    *,
    name: str | None = None,
    extras: tuple[str, ...] = (),
    marker: str = "",
    where: Location | None = None,
) -> LocalPackage | str | None:
    """As :func:`find`, for a path or a ``file:`` address in a lock or a manifest: nothing but that.

    ``name``, ``extras`` and ``marker`` are what stands beside it.
    """
    path = _path(target, folder) if len(target) <= _MAX and "\0" not in target else None
    if path is None:
        return None
    normal = canonicalize_name(name) if name else None
    text = target if is_local(target) else f"./{target}"
    return _package(LocalPackage(text, path, normal, extras, marker or None, where))


def _package(asked: LocalPackage) -> LocalPackage | str | None:
    """What was asked for, with its path and marker normalised; else as :func:`find`."""
    path = Path(os.path.abspath(asked.path))  # noqa: PTH100 resolve() would follow links
    if (reason := _no_package(path)) is not None:
        return reason or None
    marker = asked.marker
    if marker is not None:
        try:
            marker = str(Marker(marker))
        except (InvalidMarker, RecursionError):
            return f"{marker[:100]!r} is not a marker"
    return replace(asked, path=path, marker=marker)


def _path(target: str, folder: Path) -> Path | None:
    """Where ``target`` leads; ``None`` for what only another machine can have."""
    if target[:5].lower() == "file:":
        target = unquote(re.sub(r"\A//(?:localhost)?(?=/|\.)", "", target[5:]))
    if "://" in target or target.startswith("//") or "\0" in target or "\\" in target:
        return None
    return folder / Path(target).expanduser() if target.startswith("~/") else folder / target


def _no_package(path: Path) -> str | None:
    """Why ``path`` is no package, ``""`` if it is not there at all; ``None`` if it is one."""
    try:
        if path.is_dir():
            if any((path / name).is_file() for name in _PROJECT):
                return None
            return "it is a folder without pyproject.toml and setup.py, which make a folder a package"
        return None if path.name.endswith(FILES) and path.is_file() else ""
    except (OSError, RuntimeError):  # a name that is too long, no permission; no home for ~
        return ""
