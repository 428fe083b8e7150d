"""A ``pixi.toml``, or ``[tool.pixi]`` of a pyproject.toml: the default environment for one platform.

    [workspace]                          # or [project]
    channels = ["conda-forge"]
    platforms = ["linux-64", "osx-arm64"]

    [dependencies]
    python = ">=3.12,<3.13"
    pytorch = { version = "2.5.*", build = "cuda*", channel = "conda-forge" }

    [target.linux-64.dependencies]       # also target.linux and target.unix
    [pypi-dependencies]
    rich = { version = ">=13", extras = ["jupyter"] }

    [feature.test.dependencies]          # only as far as the default environment has it
    [environments]

Format: https://pixi.sh/latest/reference/pixi_manifest/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.platforms import DEFAULT_PLATFORM, PLATFORMS
from envpack.sources.manifest import WHEELS_ONLY, Key, Manifest, inline
from envpack.sources.requirements import read_lines
from envpack.sources.toml_text import parsed
from envpack.sources.urls import channel_problem, index_problem
from envpack.spec import EnvSpec, OwnIndex, Requirement

_CONDA_TABLES = ("dependencies", "host-dependencies", "build-dependencies")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
_ELSEWHERE = ("git", "path", "url")
# Of a layer: what is read, and why the rest is not.
_READ = {
    *_CONDA_TABLES, "pypi-dependencies", "pypi-options", "target", "activation", "workspace", "project",
    "feature", "environments", "channels", "platforms",
}  # fmt: skip
_WHY_NOT = {
    "tasks": ("they are commands for the project's folder", "Run them with `envpack run`."),
    "system-requirements": (
        "the base image and the machine where the image runs decide what there is",
        "Choose a base image with --base.",
    ),
    "package": ("it is how a package is built of the project", "Put the finished package into a channel."),
    "dev": ("they are what packages are built with", "Write what is needed into [dependencies]."),
}


def read(
    text: str,
    *,
    shown: str,
    path: Path | None,
    directory: Path,
    name: str | None,
    folder: str,
    platforms: Sequence[str],
    ledger: Ledger,
) -> EnvSpec:
    """The default environment of the manifest ``text`` for the first of ``platforms``, else for linux-64.

    ``name`` is the user's, ``folder`` a valid last resort. Raises :class:`SourceError` with all problems.
    """
    manifest = Manifest(text, shown, ledger, directory)
    data = parsed(text, shown)
    add(manifest, data, (), platforms)
    own = (data.get("workspace") or data.get("project") or {}) if isinstance(data, dict) else {}
    title = own.get("name") if isinstance(own, dict) else None
    key = ("workspace" if "workspace" in data else "project", "name")
    return manifest.spec(manifest.name(title, key, name, folder), path)


def add(manifest: Manifest, data: Mapping[str, Any], above: Key, platforms: Sequence[str]) -> None:
    """Add what the table ``data``, written below ``above``, asks for."""
    kind = "workspace" if "workspace" in data else "project"
    head = manifest.table(data, (*above, kind))
    _channels(manifest, head, (*above, kind))
    listed = manifest.texts(head, (*above, kind, "platforms"))
    _platforms(manifest, listed, (*above, kind, "platforms"))
    platform = next((p for p in platforms if p in PLATFORMS), None)
    if platform is None:
        there = manifest.platforms or [DEFAULT_PLATFORM]
        platform = DEFAULT_PLATFORM if DEFAULT_PLATFORM in there else there[0]
    _left_out(manifest, head, (*above, kind), {"channels", "name", "platforms"}, above)
    features, base = _default_environment(manifest, data, above)
    if base:
        _layer(manifest, data, above, platform, above)
    every = manifest.table(data, (*above, "feature"))
    for feature in every:
        key = (*above, "feature", feature)
        if feature in features:
            layer = manifest.table(every, key)
            _channels(manifest, layer, key)
            _layer(manifest, layer, key, platform, above)
        else:
            manifest.drop(
                key,
                every[feature],
                above,
                "the default environment, which is the one that is taken, does not have it",
                "Write what is needed into [dependencies].",
            )
    # One file of one environment: what is for other platforms is never the solver's affair.
    if len(manifest.platforms) > 1 and _has_targets(data):
        manifest.say(
            Action.GUESSED,
            (*above, "target"),
            f"platform {platform}",
            "what is asked for differs by platform, and one lock answers one of them",
            "Choose another one with --platform.",
        )
        manifest.platforms = [platform]


def _has_targets(data: Mapping[str, Any]) -> bool:
    target = data.get("target")
    return isinstance(target, dict) and any(name in PLATFORMS for name in target)


def _channels(manifest: Manifest, table: Mapping[str, Any], above: Key) -> None:
    value = table.get("channels", [])
    key = (*above, "channels")
    if not isinstance(value, list):
        manifest.wrong(key, "channels is not a list")
        return
    names = []
    for item in value:
        channel = item.get("channel") if isinstance(item, dict) else item
        if not isinstance(channel, str):
            manifest.wrong(key, "a channel is not a text")
        elif problem := channel_problem(channel, manifest.at(*key)):
            manifest.problems.append(problem)
        else:
            names.append(channel)
            manifest.say(Action.KEPT, key, f"channel {channel}", "as it is")
    # Those of a feature come before the workspace's.
    manifest.channels = list(dict.fromkeys([*names, *manifest.channels]))


def _platforms(manifest: Manifest, listed: Sequence[str], key: Key) -> None:
    for platform in listed:
        if platform in PLATFORMS:
            manifest.platforms.append(platform)
            manifest.say(Action.KEPT, key, f"platform {platform}", "as it is")
        else:
            manifest.say(Action.DROPPED, key, f"platform {platform}", "images are made for Linux")


def _default_environment(manifest: Manifest, data: Mapping[str, Any], above: Key) -> tuple[list[str], bool]:
    """The features of the default environment, and whether it has what is outside of features."""
    every = manifest.table(data, (*above, "environments"))
    features: list[str] = []
    base = True
    for environment, value in every.items():
        key = (*above, "environments", environment)
        if environment == "default":
            found = value.get("features", []) if isinstance(value, dict) else value
            if isinstance(found, list) and all(isinstance(feature, str) for feature in found):
                features = found
                manifest.say(Action.KEPT, key, "environment default", "as it is")
            else:
                manifest.wrong(key, "the features of an environment are a list of texts")
            base = not (isinstance(value, dict) and value.get("no-default-feature") is True)
        else:
            manifest.say(
                Action.DROPPED,
                key,
                f"environment {environment}",
                "one image has one environment, and the default one is taken",
                f"For that one: pixi workspace export conda-environment -e {environment} > environment.yml",
            )
    return features, base


def _layer(manifest: Manifest, layer: Mapping[str, Any], above: Key, platform: str, root: Key) -> None:
    """What is asked for outside of features, or in one of them; more special targets override."""
    _packages(manifest, layer, above)
    targets = manifest.table(layer, (*above, "target"))
    wanted = ("unix", "linux", platform)
    for target in sorted(targets, key=lambda t: wanted.index(t) if t in wanted else -1):
        key = (*above, "target", target)
        if target in wanted:
            _packages(manifest, manifest.table(targets, key), key)
        else:
            remedy = "Choose another platform with --platform." if target in PLATFORMS else None
            manifest.drop(key, targets[target], root, f"the image is for {platform}", remedy)
    _left_out(manifest, layer, above, _READ, root)


def _left_out(manifest: Manifest, table: Mapping[str, Any], above: Key, known: set[str], root: Key) -> None:
    for part, value in table.items():
        if part in known or (part == "tool" and not above):
            continue
        why, remedy = _WHY_NOT.get(part, ("it says nothing of what is installed", None))
        manifest.drop((*above, part), value, root, why, remedy)


def _packages(manifest: Manifest, table: Mapping[str, Any], above: Key) -> None:
    for kind in _CONDA_TABLES:
        for name, value in manifest.table(table, (*above, kind)).items():
            _conda(manifest, (*above, kind, name), name, value)
    for name, value in manifest.table(table, (*above, "pypi-dependencies")).items():
        _pypi(manifest, (*above, "pypi-dependencies", name), name, value)
    options = manifest.table(table, (*above, "pypi-options"))
    for option, value in options.items():
        _pypi_option(manifest, (*above, "pypi-options", option), value)
    activation = manifest.table(table, (*above, "activation"))
    for name, value in manifest.table(activation, (*above, "activation", "env")).items():
        key = (*above, "activation", "env", name)
        if _VARIABLE.match(name) and isinstance(value, str):
            manifest.variables[name] = value
            manifest.say(Action.KEPT, key, f"{name}={value}", "set on activation")
        else:
            manifest.wrong(key, f"{name!r} cannot be an environment variable")
    for script in manifest.texts(activation, (*above, "activation", "scripts")):
        manifest.say(
            Action.NEEDS_YOU,
            (*above, "activation", "scripts"),
            script,
            "it is a script of the project that pixi runs on activation",
            "Set variables in [environment] of envpack.toml instead.",
        )


def _conda(manifest: Manifest, key: Key, name: str, value: object) -> None:
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    table = value if isinstance(value, dict) else {"version": value}
    label = f"{name} = {inline(value)}"
    if any(place in table for place in _ELSEWHERE):
        _elsewhere(manifest, key, label, "Put the package into a channel, or name one that a channel has.")
        return
    version, build, channel = table.get("version", ""), table.get("build", ""), table.get("channel", "")
    if not (
        isinstance(version, str) and isinstance(build, str) and isinstance(channel, str) and _NAME.match(name)
    ):
        manifest.wrong(key, f"{label} is no package and version")
        return
    version = "".join(version.split())
    if re.match(r"\d[^*]*\Z", version) and not re.search(r"[,|<>=!~]", version):
        version = f"=={version}"  # as pixi has it
    if build and version in ("", "*"):
        version = "*"
    text = f"{name} {'' if version == '*' and not build else version} {build}"
    text = " ".join(text.split())
    if channel:
        if problem := channel_problem(channel, manifest.at(*key)):
            manifest.problems.append(problem)
            return
        if channel not in manifest.channels:
            manifest.channels.append(channel)
        text = f"{channel}::{text}"
    try:
        MatchSpec(text)
    except InvalidMatchSpecError as error:
        manifest.wrong(key, f"{label} is no match spec", str(error).partition("\n")[0])
        return
    if unread := sorted(set(table) - {"version", "build", "channel"}):
        manifest.say(
            Action.RELAXED,
            key,
            label,
            f"{', '.join(unread)} is not asked for",
            "Write it as version and build.",
        )
    else:
        manifest.say(Action.KEPT, key, label, "as it is")
    if before := manifest.conda.get(name.lower()):
        _overridden(manifest, before.text, before.where, text)
    manifest.conda[name.lower()] = Requirement(text, manifest.at(*key))


def _overridden(manifest: Manifest, before: str | None, where: Location | None, text: str) -> None:
    """Say it where a more special table takes the place of what was asked for already."""
    if before is not None and before != text:
        why = f"a table that counts for more asks for {text}"
        manifest.ledger.add(Action.REPLACED, before, why, where=where)


def _pypi(manifest: Manifest, key: Key, name: str, value: object) -> None:
    table = value if isinstance(value, dict) else {"version": value}
    label = f"{name} = {inline(value)}"
    if any(place in table for place in _ELSEWHERE) and not isinstance(table.get("path"), str):
        _elsewhere(manifest, key, label, "Name a released version, or put a wheel on an index.")
        return
    version, extras, index = table.get("version", "*"), table.get("extras", []), table.get("index")
    marker, path = table.get("env-markers", ""), table.get("path")
    if not isinstance(version, str) or not isinstance(extras, list) or not isinstance(marker, str):
        manifest.wrong(key, f"{label} is no package and version")
        return
    extras = [str(extra) for extra in extras]
    normal = canonicalize_name(name)
    before, where = manifest.pip.get(normal, (None, None))
    for one in [one for one in manifest.lines.local if one.name == normal]:
        manifest.lines.local.remove(one)
        before, where = one.text, one.where
    own = [one for one in manifest.lines.options.own_indexes if one.name != normal]
    if isinstance(index, str) and path is None:
        if problem := index_problem(index, manifest.at(*key)):
            manifest.problems.append(problem)
        own.append(OwnIndex(normal, index))
    manifest.lines.options = replace(manifest.lines.options, own_indexes=tuple(own))
    if isinstance(path, str):
        _overridden(manifest, before, where, path)
        manifest.pip.pop(normal, None)
        manifest.local(key, label, path, name, extras, marker)
        return
    version = "" if version.strip() == "*" else version.strip()
    if re.match(r"\d", version):
        version = f"=={version}"
    bracket = f"[{','.join(extras)}]" if extras else ""
    text = f"{name}{bracket}{version}" + (f"; {marker}" if marker else "")
    _overridden(manifest, before, where, text)
    manifest.pip[normal] = text, manifest.at(*key)


def _pypi_option(manifest: Manifest, key: Key, value: object) -> None:
    option = key[-1]
    if option == "index-url" and isinstance(value, str):
        read_lines(manifest.lines, [(f"--index-url {value}", manifest.at(*key))])
    elif option == "extra-index-urls" and isinstance(value, list):
        read_lines(manifest.lines, [(f"--extra-index-url {url}", manifest.at(*key)) for url in value])
    elif option == "find-links" and isinstance(value, list):
        for link in value:
            url = link.get("url") if isinstance(link, dict) else None
            if isinstance(url, str):
                read_lines(manifest.lines, [(f"--find-links {url}", manifest.at(*key))])
            else:
                _elsewhere(manifest, key, option, "Put the files on an index.")
    else:
        manifest.say(Action.DROPPED, key, option, WHEELS_ONLY)


def _elsewhere(manifest: Manifest, key: Key, label: str, remedy: str) -> None:
    why = "it is from no channel or index, and the image is made of finished packages only"
    manifest.say(Action.NEEDS_YOU, key, label, why, remedy)
