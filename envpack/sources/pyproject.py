"""A ``pyproject.toml``: what a project needs at run time, from pip, and from conda where pixi is told so.

    [project]
    requires-python = ">=3.10"
    dependencies = ["numpy>=1.26", "rich"]

    [project.optional-dependencies]      # not taken, and said
    [dependency-groups]                  # not taken, and said
    [tool.pixi.dependencies]             # see pixi_toml
    [tool.uv.sources]                    # see uv_tables

Format: https://packaging.python.org/specifications/pyproject-toml/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from envpack.errors import Location, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources import pixi_toml, uv_tables
from envpack.sources.manifest import Key, Manifest, inline
from envpack.sources.pip_freeze import SYSTEM
from envpack.sources.requirements import read_lines
from envpack.sources.toml_text import parsed
from envpack.spec import EnvSpec, Requirement

_READ = {"name", "dependencies", "requires-python", "optional-dependencies", "dynamic"}
_LOCK = "Name poetry.lock as the source, which has all of it: envpack lock poetry.lock"
# Tools whose own tables say where packages come from, and what to read instead.
_ELSEWHERE = {
    "poetry": _LOCK,
    "pdm": "Name a list that PDM writes as the source: pdm export -o requirements.txt",
}
_PLACES = {"source", "git", "path", "url", "file"}


def read(
    text: str,
    *,
    shown: str,
    path: Path | None,
    directory: Path,
    name: str | None,
    folder: str,
    python: str | None,
    platforms: Sequence[str],
    ledger: Ledger,
) -> EnvSpec:
    """The environment that the project ``text`` needs.

    ``name`` is the user's, ``folder`` a valid last resort; ``python`` a version, or ``system`` for that of
    the base image's distribution. Raises :class:`SourceError` with all problems.
    """
    data = parsed(text, shown)
    tool = data.get("tool")
    tool = tool if isinstance(tool, dict) else {}
    if "project" not in data and "pixi" not in tool:
        poetry = "poetry" in tool
        raise SourceError(
            f"{shown} has no [project] and no [tool.pixi]",
            where=Location(shown, 1),
            why="Poetry's own tables are read by Poetry alone" if poetry else "it asks for no packages",
            hint=_LOCK if poetry else "Name another source.",
        )
    manifest = Manifest(text, shown, ledger, directory)
    project = manifest.table(data, ("project",))
    on_system = python == SYSTEM
    pixi = manifest.table(tool, ("tool", "pixi"))
    if pixi and on_system:
        raise SourceError(
            f"{shown} cannot be installed on the base image's own python",
            where=manifest.at("tool", "pixi"),
            why="[tool.pixi] asks for packages of conda's, which are made for conda's python",
            hint="Leave --python system out.",
        )
    if pixi:
        pixi_toml.add(manifest, pixi, ("tool", "pixi"), platforms)
    key = ("project", "dependencies")
    uv = manifest.table(tool, ("tool", "uv"))
    _elsewhere(manifest, tool)
    lines = uv_tables.apply(manifest, uv, manifest.items(key, manifest.texts(project, key)))
    read_lines(manifest.lines, lines)
    if not on_system:
        _python(manifest, project, python)
    _not_taken(manifest, data, project)
    head = manifest.table(pixi, ("tool", "pixi", "workspace")) or manifest.table(
        pixi, ("tool", "pixi", "project")
    )
    own = project.get("name") or head.get("name")
    place: Key = ("project", "name")
    if "name" not in project:
        place = ("tool", "pixi", "workspace" if "workspace" in pixi else "project", "name")
    return manifest.spec(manifest.name(own, place, name, folder), path, system_python=on_system)


def _python(manifest: Manifest, project: Mapping[str, Any], chosen: str | None) -> None:
    key = ("project", "requires-python")
    asked = project.get("requires-python")
    if chosen is not None:
        manifest.conda["python"] = Requirement(f"python ={chosen}")
        if asked is not None:
            manifest.say(Action.REPLACED, key, f"requires-python {asked}", f"--python {chosen} is asked for")
        return
    if asked is None:
        if "python" not in manifest.conda:
            manifest.conda["python"] = Requirement("python")
        return
    try:
        specifiers = SpecifierSet(asked if isinstance(asked, str) else "?")
    except InvalidSpecifier as error:
        manifest.wrong(key, f"{asked!r} is no range of python versions", str(error))
        return
    text = ",".join(sorted(_for_conda(str(specifier)) for specifier in specifiers))
    if before := manifest.conda.get("python"):
        # Both hold: conda's own range has the last word where it is the narrower one.
        manifest.say(Action.KEPT, key, f"requires-python {asked}", f"{before.text} is asked for as well")
        manifest.conda["python >="] = Requirement(f"python {text}".strip(), manifest.at(*key))
        return
    manifest.say(Action.TRANSLATED, key, f"requires-python {asked}", f"conda is asked for python {text}")
    manifest.conda["python"] = Requirement(f"python {text}".strip(), manifest.at(*key))


def _for_conda(specifier: str) -> str:
    """One clause of PEP 440 as conda has it."""
    specifier = specifier.replace("===", "==")
    return re.sub(r"\A==(.*\*)\Z", r"\1", specifier)


def _elsewhere(manifest: Manifest, tool: Mapping[str, Any]) -> None:
    """Say where tools whose tables are not read have packages from somewhere else."""
    for name, remedy in _ELSEWHERE.items():
        above: Key = ("tool", name)
        own = manifest.table(tool, above)
        packages = manifest.table(own, (*above, "dependencies")) if name == "poetry" else {}
        found: list[tuple[Key, object]] = [((*above, "source"), own["source"])] if "source" in own else []
        found += [
            ((*above, "dependencies", package), value)
            for package, value in packages.items()
            if isinstance(value, dict) and _PLACES & value.keys()
        ]
        for key, value in found:
            what = f"{key[-1]} = {inline(value)}"
            manifest.say(Action.NEEDS_YOU, key, what, f"only {name} itself reads this table", remedy)


def _not_taken(manifest: Manifest, data: Mapping[str, Any], project: Mapping[str, Any]) -> None:
    """Say what of the file is not in the environment."""
    for above, what in (
        (("project", "optional-dependencies"), "extra"),
        (("dependency-groups",), "dependency group"),
    ):
        parent = project if len(above) > 1 else data
        for group in manifest.table(parent, above):
            manifest.say(
                Action.DROPPED,
                (*above, group),
                f"{what} {group}",
                "only what the project always needs is taken",
                "Copy what is needed of it to dependencies, or into a requirements file that is the source.",
            )
    dynamic = project.get("dynamic", [])
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        manifest.say(
            Action.NEEDS_YOU,
            ("project", "dynamic"),
            "dynamic dependencies",
            "they are known only after a build of the project",
            "Name the file that lists them, or write them into dependencies.",
        )
    for part, value in project.items():
        if part not in _READ:
            manifest.drop(("project", part), value, (), "it says nothing of what is installed")
    name = project.get("name")
    if isinstance(name, str) and canonicalize_name(name) not in {p.name for p in manifest.lines.local}:
        manifest.say(
            Action.DROPPED,
            ("project",),
            f"the project {name} itself",
            "what it needs is taken, and its code can stay outside the image",
            "To have it as a package: a requirements.txt with the line -e . as the source. To have its files "
            "as they are: [files] in envpack.toml.",
        )
    if "build-system" in data:
        manifest.drop(("build-system",), data["build-system"], (), "it is what the project is built with")
