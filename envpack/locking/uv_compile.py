"""``uv pip compile``: the files it is given, its command line and its environment.

    requirements.in            what is asked for, with the indexes and pages of links for everything
    indexes/pyproject.toml     what has an index of its own, which only a project can tell uv
    conda.txt                  stand-ins for what conda gives (:mod:`envpack.locking.stubs`)
    constraints.txt, overrides.txt

Manual: https://docs.astral.sh/uv/reference/cli/#uv-pip-compile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from envpack import process
from envpack.http_client import SECRET_PARTS, url_text
from envpack.locking.channels import expand, unset_variables
from envpack.locking.names import project_of
from envpack.locking.target import Target
from envpack.locking.uv_messages import PROJECT
from envpack.spec import PipOptions, Requirement

SECONDS = 900
OUTPUT = "pylock.envpack.toml"
# The glibc minor versions among uv's --python-platform values; the nearest below the target's is used.
_UV_MINORS = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)


def run(
    folder: Path,
    requirements: Sequence[Requirement],
    options: PipOptions,
    aim: Target,
    given: Sequence[str] = (),
) -> tuple[int, str]:
    """Run uv in ``folder``, which then has :data:`OUTPUT`; gives its exit code and what it said.

    ``given`` are lines that constrain it to what conda gives.
    """
    arguments = [*_inputs(folder, requirements, options, given), *_settings(folder, options, aim)]
    done = process.run(
        [_program(), "pip", "compile", *arguments], env=environment(options), cwd=folder, timeout=SECONDS
    )
    return done.returncode, done.stderr.decode("utf-8", "replace")


def _program() -> str:
    from uv import find_uv_bin

    return find_uv_bin()


def _inputs(
    folder: Path, requirements: Sequence[Requirement], options: PipOptions, given: Sequence[str]
) -> list[str | Path]:
    """Write uv's input into ``folder``; gives the arguments that name it."""
    own = {one.name for one in options.own_indexes}
    by_index = [r for r in requirements if project_of(r) in own]
    others = [r for r in requirements if r not in by_index]

    def written(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)  # an index may hold a password
        path.write_text(text, "utf-8")
        return path

    arguments: list[str | Path] = [written("requirements.in", _requirements_text(others, options))]
    if own:
        arguments += [written("indexes/pyproject.toml", _project_text(by_index, options))]
    arguments += ["--constraint", written("conda.txt", _text(given))]
    if options.constraints:
        arguments += ["--constraint", written("constraints.txt", _text(r.text for r in options.constraints))]
    if options.overrides:
        arguments += ["--override", written("overrides.txt", _text(r.text for r in options.overrides))]
    return arguments


def _settings(folder: Path, options: PipOptions, aim: Target) -> list[str | Path]:
    """The arguments beside the input."""
    minor = max((m for m in _UV_MINORS if m <= aim.glibc_pair[1]), default=_UV_MINORS[0])
    arguments: list[str | Path] = ["--format", "pylock.toml", "--output-file", folder / OUTPUT]
    arguments += ["--python", sys.executable, "--python-version", aim.python]
    arguments += ["--python-platform", f"{aim.machine}-manylinux_2_{minor}"]
    arguments += ["--no-header", "--color", "never", "--no-progress"]
    if "all" not in aim.sdists:
        arguments += ["--only-binary", ":all:"]
        for name in sorted(aim.sdists):
            arguments += ["--no-binary", name]
    if options.exclude_newer:
        arguments += ["--exclude-newer", options.exclude_newer]
    for name, date in options.exclude_newer_package:
        arguments += ["--exclude-newer-package", f"{name}={date}"]
    if options.pre:
        arguments += ["--prerelease", "allow"]
    if options.extra_index_urls and not options.first_index:
        # What the file's author had from pip: all indexes are equal, the best version wins.
        arguments += ["--index-strategy", "unsafe-best-match"]
    return arguments


def environment(options: PipOptions) -> dict[str, str]:
    """The user's environment, with uv kept from fetching an interpreter of its own.

    The index goes this way because uv's own variables would win over one in the requirements; unlike an
    argument it is not shown to other users, and it may hold a password by now.
    """
    found = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    for part in (part for url in options.addresses for part in SECRET_PARTS.findall(url)):
        for name in unset_variables(f"://{part}", {}):  # uv fills these in as they are
            found[name] = url_text(os.environ[name])
    if options.index_url:
        found["UV_DEFAULT_INDEX"] = expand(options.index_url)
    return found


def _requirements_text(requirements: Sequence[Requirement], options: PipOptions) -> str:
    """What is asked for; URLs keep their ``${VARIABLES}``, which uv fills in."""
    lines = [f"--extra-index-url {url}" for url in options.extra_index_urls]
    lines += [f"--find-links {url}" for url in options.find_links]
    return _text([*lines, *(r.text for r in requirements)])


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _project_text(requirements: Sequence[Requirement], options: PipOptions) -> str:
    """The ``requirements`` that have an index of their own, which only a project can tell uv.

    Variables of URLs are filled in: here uv does not.
    """
    names = {url: f"index-{number}" for number, url in enumerate(options.addresses)}
    names |= {one.url: one.index for one in options.own_indexes if one.index}
    markers: dict[tuple[str, str], list[str]] = {}
    for one in options.own_indexes:
        markers.setdefault((one.name, one.url), []).append(one.marker)
    sources: dict[str, list[str]] = {}
    for (name, url), wanted in markers.items():
        joined = " or ".join(f"({marker})" for marker in dict.fromkeys(wanted))
        marker = f", marker = {_quoted(joined)}" if all(wanted) else ""
        sources.setdefault(name, []).append(f"{{ index = {_quoted(names[url])}{marker} }}")
    lines = ["[project]", f'name = "{PROJECT}"', 'version = "0"']
    lines += [f"dependencies = [{', '.join(_quoted(r.text) for r in requirements)}]"]
    for url in dict.fromkeys(one.url for one in options.own_indexes):
        lines += ["[[tool.uv.index]]", f"name = {_quoted(names[url])}"]
        lines += [f"url = {_quoted(expand(url))}", "explicit = true"]
    lines += ["[tool.uv.sources]", *(f"{name} = [{', '.join(x)}]" for name, x in sources.items())]
    return _text(lines)


def _quoted(text: str) -> str:
    """``text`` as a value of TOML, whose escapes are JSON's."""
    return json.dumps(text)
