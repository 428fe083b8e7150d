"""``[tool.uv]`` of a ``pyproject.toml``: where the packages of its dependencies come from.

    [tool.uv]
    constraint-dependencies = ["numpy<2"]                 # override-dependencies, prerelease, …
    exclude-newer = "2024-01-01"

    [tool.uv.sources]
    torch = { index = "pytorch" }                         # of that index and no other
    mine = { path = "../mine", editable = true }
    other = { workspace = true }                          # a folder of [tool.uv.workspace]
    fork = { git = "https://host.example/fork", tag = "v1" }
    big = [{ url = "https://…", marker = "sys_platform == 'linux'" }, { index = "usual", marker = "…" }]

    [[tool.uv.index]]
    name = "pytorch"
    url = "https://download.pytorch.org/whl/cpu"
    explicit = true                                       # asked for what sources name alone

Formats: https://docs.astral.sh/uv/reference/settings/ and
https://docs.astral.sh/uv/concepts/projects/dependencies/#dependency-sources.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.errors import Location, Problem
from envpack.ledger import Action
from envpack.markers import on_linux
from envpack.sources import uv_workspace
from envpack.sources.manifest import WHEELS_ONLY, Key, Manifest, inline
from envpack.sources.match_specs import AS_IT_IS
from envpack.sources.pip_lock import places, table, tables, text
from envpack.sources.requirements import OF_ONE_MACHINE, SERVED, read_lines
from envpack.sources.urls import index_problem, is_local
from envpack.sources.uv_workspace import Workspace
from envpack.spec import OwnIndex, Requirement

_ABOVE: Key = ("tool", "uv")
_READ = {"sources", "index", "workspace"}
_GROUPS = ("dev-dependencies", "dependency-groups", "default-groups")
# What changes uv's choice, and is not asked of it here.
_UNREAD = {
    "conflicts", "dependency-metadata", "exclude-dependencies", "fork-strategy", "prerelease", "resolution",
}  # fmt: skip
# What holds for all members of a workspace where its root says it.
_OF_ROOT = {"constraint-dependencies", "index", "override-dependencies", "sources", *_UNREAD}
_LOCK = "For uv's own choice, name its lock as the source: envpack lock uv.lock"
_INDEX_NAME = re.compile(r"[A-Za-z0-9._-]+\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?\Z")
Line = tuple[str, Location]


def apply(manifest: Manifest, uv: Mapping[str, Any], lines: Iterable[Line]) -> list[Line]:
    """The dependencies ``lines`` with what the table ``uv`` says of them; its options go to ``manifest``."""
    folder = Path(os.path.abspath((manifest.directory / manifest.shown).parent))  # noqa: PTH100 resolve() would follow links
    workspaces = list(uv_workspace.around(folder, uv))
    _said_by_root(manifest, folder, workspaces)
    if not uv:
        return list(lines)
    indexes = _indexes(manifest, uv)
    sources = manifest.table(uv, (*_ABOVE, "sources"))
    by_name = {canonicalize_name(name): name for name in sources}
    found: list[Line] = []
    asked: set[str] = set()
    for line, where in lines:
        try:
            requirement = Pep508(line)
        except (InvalidRequirement, RecursionError):
            found.append((line, where))  # pip's reader says what is wrong
            continue
        name = by_name.get(canonicalize_name(requirement.name))
        if name is None or requirement.url:
            found.append((line, where))
            continue
        asked.add(name)
        entries = sources[name] if isinstance(sources[name], list) else [sources[name]]
        rest = True
        for entry in entries:
            rest = _source(manifest, name, entry, requirement, indexes, workspaces) and rest
        if rest:
            found.append((line, where))
    for name in (name for name in sources if name not in asked):
        reason = "none of the dependencies that are taken asks for it by name"
        manifest.drop((*_ABOVE, "sources", name), sources[name], _ABOVE, reason)
    _options(manifest, uv)
    return found


def _indexes(manifest: Manifest, uv: Mapping[str, Any]) -> dict[str, str]:
    """The URLs of the indexes that have a name; those that are asked for every package go to ``manifest``.

    A page of links is asked for every package, and has no URL here.
    """
    found: dict[str, str] = {}
    listed = tables(uv.get("index"))
    wheres = places(manifest.text, manifest.shown, r"tool\s*\.\s*uv\s*\.\s*index", len(listed))
    for index, where in zip(listed, wheres, strict=True):
        name, url = text(index.get("name")), text(index.get("url"))
        if not url or (name and not _INDEX_NAME.match(name)):
            what = "has no url" if not url else "has a name that uv does not take"
            manifest.problems.append(Problem(f"the index {name[:100]!r} {what}", where))
            continue
        flat = index.get("format") == "flat"
        if name:
            found[name] = "" if flat else url
        if flat:
            read_lines(manifest.lines, [(f"--find-links {url}", where)])
        elif index.get("explicit") is not True:
            option = "--index-url" if index.get("default") is True else "--extra-index-url"
            read_lines(manifest.lines, [(f"{option} {url}", where)])
    return found


def _source(
    manifest: Manifest,
    name: str,
    entry: object,
    asked: Pep508,
    indexes: Mapping[str, str],
    workspaces: Sequence[Workspace],
) -> bool:
    """Take one source of the package ``name``; gives whether its line is for pip all the same."""
    key = (*_ABOVE, "sources", name)
    label = f"{name} = {inline(entry)}"
    source = table(entry)
    if "extra" in source or "group" in source:
        manifest.say(Action.DROPPED, key, label, "it is of an extra or a group, which are not taken")
        return True
    marker = text(source.get("marker"))
    try:
        holds = on_linux(Marker(marker)) if marker else True
    except (InvalidMarker, RecursionError) as error:
        manifest.wrong(key, f"{marker[:100]!r} is not a marker", str(error).partition("\n")[0])
        return True
    if holds is False:
        manifest.say(Action.DROPPED, key, label, "it is for other systems than Linux")
        return True
    marker = "" if holds else marker
    joined = " and ".join(f"({one})" for one in (str(asked.marker or ""), marker) if one)
    if "index" in source:
        own = OwnIndex(canonicalize_name(name), "", marker, text(source["index"]))
        _own_index(manifest, key, label, own, indexes)
        return True
    path = text(source.get("path"))
    if source.get("workspace") is True:
        path = next(filter(None, (workspace.find(name) for workspace in workspaces)), "")
    if path or "workspace" in source or "path" in source:
        manifest.local(key, label, path or f"./{name}", name, sorted(asked.extras), joined)
    elif "git" in source or "url" in source:
        bracket = f"[{','.join(sorted(asked.extras))}]" if asked.extras else ""
        target = f"git+{text(source['git'])}" if "git" in source else text(source["url"])
        line = f"{name}{bracket} @ {target}" + (f" ; {joined}" if joined else "")
        read_lines(manifest.lines, [(line, manifest.at(*key))])
    else:
        manifest.wrong(key, f"{label} is no source", hint="Sources have index, path, workspace, git or url.")
    return not holds


def _own_index(manifest: Manifest, key: Key, label: str, own: OwnIndex, indexes: Mapping[str, str]) -> None:
    """Have the package of ``own``, which has no URL yet, of its index alone."""
    url = indexes.get(own.index)
    if url is None:
        hint = f'Name it: [[tool.uv.index]] with name = "{own.index}", url and explicit = true.'
        manifest.wrong(key, f"there is no index {own.index!r}", hint=hint)
    elif not url:
        manifest.say(Action.RELAXED, key, label, "its page of files is asked, and so are all indexes")
    elif is_local(url):
        manifest.say(Action.NEEDS_YOU, key, label, f"its index is {OF_ONE_MACHINE}", SERVED)
    elif problem := index_problem(url, manifest.at(*key)):
        if problem.what not in {p.what for p in manifest.problems}:
            manifest.problems.append(problem)
    else:
        manifest.say(Action.KEPT, key, label, "asked of this index alone")
        options = manifest.lines.options
        own = replace(own, url=url)
        manifest.lines.options = replace(options, own_indexes=(*options.own_indexes, own))


def _said_by_root(manifest: Manifest, folder: Path, workspaces: Sequence[Workspace]) -> None:
    """Say it where the project is a member of a workspace whose root has more to say of its packages."""
    for workspace in (w for w in workspaces if w.up != "./" and folder in w.members):
        if more := sorted(_OF_ROOT & workspace.uv.keys()):
            manifest.ledger.add(
                Action.NEEDS_YOU,
                f"[tool.uv] of {workspace.up.removeprefix('./')}pyproject.toml",
                f"the workspace has {', '.join(more)} there, which is not read from here",
                where=Location(manifest.shown),
                remedy=_LOCK,
            )


def _options(manifest: Manifest, uv: Mapping[str, Any]) -> None:
    """What ``uv`` says of all packages."""
    for option, value in uv.items():
        key = (*_ABOVE, option)
        if option in _READ:
            continue
        if option == "index-url" and isinstance(value, str):
            read_lines(manifest.lines, [(f"--index-url {value}", manifest.at(*key))])
        elif option in ("extra-index-url", "find-links"):
            urls = manifest.texts(uv, key)
            read_lines(manifest.lines, ((f"--{option} {url}", manifest.at(*key)) for url in urls))
        elif option == "constraint-dependencies":
            read_lines(manifest.lines, manifest.items(key, manifest.texts(uv, key)), constraints=True)
        elif option == "override-dependencies":
            _overrides(manifest, key, manifest.texts(uv, key))
        elif option == "prerelease" and value == "allow":
            read_lines(manifest.lines, [("--pre", manifest.at(*key))])
        elif option == "exclude-newer":
            _exclude_newer(manifest, key, value)
        elif option == "exclude-newer-package":
            for package, limit in manifest.table(uv, key).items():
                _exclude_newer(manifest, (*key, package), limit)
        elif option in _UNREAD:
            manifest.say(
                Action.RELAXED, key, f"{option} = {inline(value)}"[:200], "it is not asked for", _LOCK
            )
        elif option == "pip":
            manifest.drop(key, value, _ABOVE, "it is for `uv pip` alone")
        elif option.startswith(("no-build", "no-binary")):
            manifest.drop(key, value, _ABOVE, WHEELS_ONLY)
        elif option in _GROUPS:
            reason = "only what the project always needs is taken"
            manifest.drop(key, value, _ABOVE, reason, "Copy what is needed of it to dependencies.")
        elif option != "index-strategy":
            manifest.drop(key, value, _ABOVE, "it says nothing of what is installed")
    strategy = uv.get("index-strategy", "first-index")
    manifest.lines.options = replace(manifest.lines.options, first_index=strategy == "first-index")
    if "index-strategy" in uv:
        key = (*_ABOVE, "index-strategy")
        if strategy in ("first-index", "unsafe-best-match"):
            manifest.say(Action.KEPT, key, f"index-strategy {strategy}", AS_IT_IS)
        else:
            reason = "the best version of all indexes is taken"
            manifest.say(Action.RELAXED, key, f"index-strategy {inline(strategy)}", reason)


def _exclude_newer(manifest: Manifest, key: Key, value: object) -> None:
    """A limit to the dates of pip's packages, of all or of the one that ``key`` ends with."""
    label = f"{key[-1]} = {inline(value)}"
    package = key[-1] if len(key) > len(_ABOVE) + 1 else ""
    # TOML has dates of its own.
    written = value.isoformat() if isinstance(value, date) else text(value)
    if package and value is False:
        manifest.say(Action.KEPT, key, label, "of any date")
        _limit(manifest, package, "false")
    elif not _DATE.match(written):
        manifest.say(Action.RELAXED, key, label, "it is no date, and means another one each day", _LOCK)
    elif package:
        manifest.say(Action.KEPT, key, label, AS_IT_IS)
        _limit(manifest, package, written)
    else:
        manifest.say(Action.KEPT, key, label, "of pip's packages; conda's may be newer")
        manifest.lines.options = replace(manifest.lines.options, exclude_newer=written)


def _limit(manifest: Manifest, package: str, day: str) -> None:
    options = manifest.lines.options
    limits = {**dict(options.exclude_newer_package), canonicalize_name(package): day}
    manifest.lines.options = replace(options, exclude_newer_package=tuple(sorted(limits.items())))


def _overrides(manifest: Manifest, key: Key, lines: list[str]) -> None:
    for line, where in manifest.items(key, lines):
        try:
            override = Pep508(line)
        except (InvalidRequirement, RecursionError) as error:
            manifest.wrong(key, f"{line[:100]!r} is not a requirement", str(error).partition("\n")[0])
            continue
        if override.url:
            manifest.say(Action.NEEDS_YOU, key, line, "it is a file outside of any index", "Name a version.")
            continue
        manifest.say(Action.KEPT, key, line, "in the place of what any package asks for")
        options = manifest.lines.options
        manifest.lines.options = replace(options, overrides=(*options.overrides, Requirement(line, where)))
