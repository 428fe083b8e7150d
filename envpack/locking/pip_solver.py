"""Pip's part, chosen by uv: wheels with url and sha256, for a target that is not this machine.

``uv pip compile`` writes a ``pylock.toml`` (PEP 751) from the requirements, constrained by what conda has
chosen (:mod:`envpack.locking.stubs`). Nothing is built here: a package without a fitting wheel is an error,
unless it may be built from its sdist (:mod:`envpack.locking.local_wheels`).
"""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from envpack import platforms as _platforms
from envpack import process
from envpack.errors import NetworkError, Problem, SolveError
from envpack.http_client import SECRET_PARTS, url_text
from envpack.ledger import Action, Ledger
from envpack.locking import stubs, wheels
from envpack.locking.channels import expand, unset_variables
from envpack.locking.names import project_of
from envpack.locking.solver import CondaRecord
from envpack.locking.uv_messages import (
    PROJECT,
    blames,
    build_hint,
    extras_not_there,
    failure,
    requirements_by_name,
    without_wheels,
)
from envpack.spec import PipOptions, Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECONDS = 900
# The glibc minor versions among uv's --python-platform values; the nearest below the target's is used.
_UV_MINORS = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
_UV_MACHINES = ("x86_64", "aarch64")
# Unknown names and packages without wheels come one a run; this many are looked for.
MAX_ROUNDS = 25
_TOKEN = re.compile(r"/t/(?P<token>\$[^/]+)(?=/|\Z)")


@dataclass(frozen=True, slots=True)
class PipRecord:
    """One chosen wheel. ``size`` in bytes, ``timestamp`` of its upload in seconds since 1970.

    Of the other kinds it is an ``sdist`` of an index, or a wheel that is a ``file`` of this machine.
    """

    name: str
    version: str
    url: str
    sha256: str
    size: int | None
    timestamp: int | None
    kind: Literal["wheel", "sdist", "file"] = "wheel"


@dataclass(frozen=True, slots=True)
class Target:
    """What the wheels shall run on: a python and the system it runs on.

    ``system_python``: it is the base image's own, and there is no conda to ask. ``sdists`` are the names of
    packages that may be built from source, ``all`` for all. ``of_conda`` are the names of the packages that
    the channels have for the platform, where they were asked.
    """

    platform: str
    python: str
    threaded: str
    glibc: str
    system_python: bool = False
    sdists: frozenset[str] = frozenset()
    of_conda: Collection[str] = field(default=(), repr=False, compare=False)

    @property
    def glibc_pair(self) -> tuple[int, int]:
        """``glibc`` as numbers."""
        major, minor = (int(part) for part in self.glibc.split(".")[:2])
        return major, minor

    @property
    def machine(self) -> str:
        """What ``uname -m`` prints there."""
        return _platforms.get(self.platform).machine

    @property
    def remedy(self) -> str:
        """What to do about a package that cannot be had for this target."""
        if self.system_python:
            return "Ask for another version, or choose a base image with another python (--base)."
        return "Ask conda for these packages, or for another version or python."

    def without_wheels(self, names: Sequence[str]) -> str:
        """What to do about packages of these ``names``, which have no wheel for this target."""
        return build_hint(names, self.remedy, self.of_conda, self.platform)


def target(platform: str, records: Sequence[CondaRecord], glibc: str) -> Target:
    """The target that conda's chosen python makes; :class:`SolveError` where there is none."""
    for record in records:
        if record.name == "python":
            threaded = "t" if re.search(r"_cp\d+t\b", record.build) else ""
            return Target(platform, record.version, threaded, glibc)
    raise SolveError(
        f"there are pip requirements but no python for {platform}",
        hint="Ask for python in the dependencies, for instance python=3.12.",
    )


def solve(
    requirements: Sequence[Requirement],
    options: PipOptions,
    records: tuple[CondaRecord, ...],
    aim: Target,
    ledger: Ledger,
) -> tuple[PipRecord, ...]:
    """The wheels that ``requirements`` need beside conda's ``records``, sorted by name.

    Raises :class:`SolveError` for a conflict, an unknown name or a package without wheels,
    :class:`NetworkError` for an index that does not answer.
    """
    _check_variables(options)
    if aim.machine not in _UV_MACHINES:
        raise SolveError(
            f"pip requirements cannot be resolved for {aim.platform}",
            why="uv knows no such platform",
            hint="Lock for others." if aim.system_python else "Ask conda for these packages.",
        )
    given = stubs.from_conda(records)
    asked = replace(
        options, constraints=_not_of(given, options.constraints), overrides=_not_of(given, options.overrides)
    )
    with tempfile.TemporaryDirectory(prefix="envpack-pip-") as name:
        folder = Path(name)
        (folder / "conda.txt").write_text("".join(f"{x}\n" for x in stubs.write(given, folder)), "utf-8")
        code, said = _compile(folder, requirements, asked, aim)
        if code != 0:
            raise _all_failures(said, folder, requirements, asked, given, aim)
        data = tomllib.loads((folder / "pylock.envpack.toml").read_text("utf-8"))
    _note_extras(said, requirements, ledger)
    for lines in (requirements, options.constraints, options.overrides):
        _note_given(lines, given, ledger)
    return _chosen(data, given, aim, options)


def attempt(requirements: Sequence[Requirement], options: PipOptions, aim: Target) -> tuple[bool, str]:
    """Whether ``requirements`` can be had for ``aim``, with nothing of conda's, and what uv said."""
    with tempfile.TemporaryDirectory(prefix="envpack-pip-") as name:
        (Path(name) / "conda.txt").touch()
        code, said = _compile(Path(name), requirements, options, aim)
        return code == 0, said


def _compile(
    folder: Path, requirements: Sequence[Requirement], options: PipOptions, aim: Target
) -> tuple[int, str]:
    """Run uv in ``folder``; gives its exit code and what it said."""
    own = {one.name for one in options.own_indexes}
    by_index = [r for r in requirements if project_of(r) in own]
    others = [r for r in requirements if r not in by_index]
    inputs = {
        "requirements.in": _requirements_text(others, options),
        "constraints.txt": _lines(options.constraints),
        "overrides.txt": _lines(options.overrides),
        "indexes/pyproject.toml": _project_text(by_index, options),
    }
    (folder / "indexes").mkdir(mode=0o700, exist_ok=True)  # what is in it may hold a password
    for name, text in inputs.items():
        (folder / name).write_text(text, "utf-8")
    done = process.run(_command(folder, aim, options), env=environment(options), cwd=folder, timeout=SECONDS)
    return done.returncode, done.stderr.decode("utf-8", "replace")


def _all_failures(
    said: str,
    folder: Path,
    requirements: Sequence[Requirement],
    options: PipOptions,
    given: Mapping[str, str],
    aim: Target,
) -> SolveError | NetworkError:
    """The failure that uv ``said``, with those that it would say next.

    uv stops at the first requirement that nothing can meet: leave that out and ask again, as long as it
    names another one. In the place of a package without wheels it is given a stand-in, for others may need
    that package, too.
    """

    def told(said: str, asked: Sequence[Requirement]) -> SolveError | NetworkError:
        indexes = {one.name: one.url for one in options.own_indexes}
        return failure(
            said, asked, given, python=aim.python, platform=aim.platform, remedy=aim.remedy, indexes=indexes
        )

    first = told(said, requirements)
    problems = list(first.problems)
    bare = without_wheels(said)
    blamed = _blamed(problems, requirements, bare)
    while problems and len(bare) + len(blamed) < MAX_ROUNDS:
        left = [r for r in requirements if r not in blamed]
        if not left:
            break
        there = stubs.write({**given, **bare}, folder)
        (folder / "conda.txt").write_text("".join(f"{line}\n" for line in there), "utf-8")
        code, said = _compile(folder, left, options, aim)
        if code == 0:
            break
        found = told(said, left).problems
        more = {name: version for name, version in without_wheels(said).items() if name not in bare}
        others = _blamed(found, left, more)
        if not others and not more:
            break
        problems += [p for p in found if p.where is not None or p.what.split(" ", 1)[0] in more]
        blamed += others
        bare |= more
    hint = aim.without_wheels(list(bare)) if bare and isinstance(first, SolveError) else first.hint
    return type(first)(first.what, problems=problems, why=first.why, hint=hint)


def _blamed(
    problems: Sequence[Problem], requirements: Sequence[Requirement], bare: Mapping[str, str]
) -> list[Requirement]:
    """The ``requirements`` that have ``problems``, but for packages that get a stand-in."""
    others = _not_of(bare, requirements)
    return [r for r in others if any(blames(problem, r) for problem in problems)]


def _command(folder: Path, aim: Target, options: PipOptions) -> list[str | Path]:
    from uv import find_uv_bin

    minor = max((m for m in _UV_MINORS if m <= aim.glibc_pair[1]), default=_UV_MINORS[0])
    command: list[str | Path] = [find_uv_bin(), "pip", "compile", folder / "requirements.in"]
    if options.own_indexes:
        command += [folder / "indexes" / "pyproject.toml"]
    command += ["--constraint", folder / "conda.txt"]
    if options.constraints:
        command += ["--constraint", folder / "constraints.txt"]
    if options.overrides:
        command += ["--override", folder / "overrides.txt"]
    command += ["--format", "pylock.toml", "--output-file", folder / "pylock.envpack.toml"]
    command += ["--python", sys.executable, "--python-version", aim.python]
    command += ["--python-platform", f"{aim.machine}-manylinux_2_{minor}"]
    command += ["--no-header", "--color", "never", "--no-progress"]
    if "all" not in aim.sdists:
        command += ["--only-binary", ":all:"]
        for name in sorted(aim.sdists):
            command += ["--no-binary", name]
    if options.exclude_newer:
        command += ["--exclude-newer", options.exclude_newer]
    for name, date in options.exclude_newer_package:
        command += ["--exclude-newer-package", f"{name}={date}"]
    if options.pre:
        command += ["--prerelease", "allow"]
    if options.extra_index_urls and not options.first_index:
        # What the file's author had from pip: all indexes are equal, the best version wins.
        command += ["--index-strategy", "unsafe-best-match"]
    return command


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
    """The input for uv; URLs keep their ``${VARIABLES}``, which uv fills in."""
    lines = [f"--extra-index-url {url}" for url in options.extra_index_urls]
    lines += [f"--find-links {url}" for url in options.find_links]
    return "".join(f"{line}\n" for line in lines) + _lines(requirements)


def _lines(requirements: Sequence[Requirement]) -> str:
    return "".join(f"{requirement.text}\n" for requirement in requirements)


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
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """``text`` as a value of TOML, whose escapes are JSON's."""
    return json.dumps(text)


def _check_variables(options: PipOptions) -> None:
    problems = [
        Problem(f"the variable {name} in {url} is not set")
        for url in options.addresses
        for name in unset_variables(url, os.environ)
    ]
    if problems:
        raise SolveError(
            "package indexes need variables that are not set",
            problems=problems,
            hint="Set them in the environment, then run the same command again.",
        )


def _chosen(
    data: Mapping[str, Any], given: Mapping[str, str], aim: Target, options: PipOptions
) -> tuple[PipRecord, ...]:
    """The wheels of a parsed pylock.toml, without what conda gives; every package that has none is named."""
    tags = wheels.supported_tags(aim.python, aim.machine, aim.glibc_pair, aim.threaded)
    records, problems = [], []
    for package in data.get("packages", []):
        name = canonicalize_name(package["name"])
        if name in given:
            continue
        if file := package.get("archive", {}).get("path"):
            digest = package["archive"]["hashes"]["sha256"]
            records.append(
                PipRecord(name, package["version"], Path(file).as_uri(), digest, None, None, "file")
            )
            continue
        offered = {wheel["url"]: wheel for wheel in package.get("wheels", []) if "url" in wheel}
        url = wheels.best(list(offered), tags)
        label = f"{name} {package.get('version', '')}".strip()
        source = package.get("sdist", {})
        kind: Literal["wheel", "sdist"] = "wheel"
        if url is None and "url" in source and aim.sdists & {name, "all"}:
            url, kind = source["url"], "sdist"
            offered[url] = source
        if url is None:
            problems.append(Problem(f"{label} has no wheel for python {aim.python} on {aim.platform}"))
            continue
        wheel = offered[url]
        sha256 = wheel.get("hashes", {}).get("sha256")
        if not sha256:
            problems.append(Problem(f"{label}: the index gives no sha256"))
            continue
        uploaded = wheel.get("upload-time")
        records.append(
            PipRecord(
                name=name,
                version=package["version"],
                url=_without_secrets(url, options),
                sha256=sha256,
                size=wheel.get("size"),
                timestamp=int(uploaded.timestamp()) if isinstance(uploaded, datetime.datetime) else None,
                kind=kind,
            )
        )
    if problems:
        bare = [p.what.split(" ", 1)[0] for p in problems if " has no wheel " in p.what]
        hint = aim.without_wheels(bare) if bare else aim.remedy
        raise SolveError("pip packages cannot be locked", problems=problems, hint=hint)
    return tuple(sorted(records, key=lambda record: record.name))


def _without_secrets(url: str, options: PipOptions) -> str:
    """``url`` as a lock may have it: without user name and password, with tokens as the variables that
    ``options`` name, which the download fills in again.
    """
    parts = urlsplit(url)
    public = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    for variable in (match["token"] for address in options.addresses for match in _TOKEN.finditer(address)):
        for token in {expand(variable), url_text(expand(variable))} - {""}:
            public = public.replace(f"/t/{token}/", f"/t/{variable}/")
    return public


def _not_of(given: Mapping[str, str], requirements: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """The ``requirements`` for what ``given``, by normalised name, does not have."""
    return tuple(r for r in requirements if project_of(r) not in given)


def _note_given(requirements: Sequence[Requirement], given: Mapping[str, str], ledger: Ledger) -> None:
    for name, requirement in requirements_by_name(requirements).items():
        if name in given:
            ledger.add(
                Action.REPLACED,
                requirement.text,
                f"conda already gives {name} {given[name]}",
                where=requirement.where,
            )


def _note_extras(said: str, requirements: Sequence[Requirement], ledger: Ledger) -> None:
    """Extras of packages that conda gives: which packages these mean, conda does not say."""
    asked = requirements_by_name(requirements)
    for name, extra in extras_not_there(said):
        requirement = asked.get(canonicalize_name(name))
        ledger.add(
            Action.NEEDS_YOU,
            f"{name}[{extra}]",
            f"{name} comes from conda, whose packages have no extras",
            where=requirement.where if requirement else None,
            remedy=f"Ask for the packages that {name}[{extra}] needs by name.",
        )
