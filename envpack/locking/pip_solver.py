"""Pip's part, chosen by uv: wheels with url and sha256, for a target that is not this machine.

``uv pip compile`` writes a ``pylock.toml`` (PEP 751) from the requirements, constrained by what conda has
chosen (:mod:`envpack.locking.stubs`). Nothing is built here: a package without a fitting wheel is an error,
unless it may be built from its sdist (:mod:`envpack.locking.local_wheels`).
"""

from __future__ import annotations

import datetime
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from envpack.errors import NetworkError, Problem, SolveError
from envpack.http_client import url_text
from envpack.ledger import Action, Ledger
from envpack.locking import stubs, uv_compile, wheels
from envpack.locking.channels import expand, unset_variables
from envpack.locking.names import project_of
from envpack.locking.solver import CondaRecord
from envpack.locking.target import Target
from envpack.locking.uv_messages import (
    blames,
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
        code, said = uv_compile.run(folder, requirements, asked, aim, stubs.write(given, folder))
        if code != 0:
            raise _all_failures(said, folder, requirements, asked, given, aim)
        data = tomllib.loads((folder / uv_compile.OUTPUT).read_text("utf-8"))
    _note_extras(said, requirements, ledger)
    for lines in (requirements, options.constraints, options.overrides):
        _note_given(lines, given, ledger)
    return _chosen(data, given, aim, options)


def attempt(requirements: Sequence[Requirement], options: PipOptions, aim: Target) -> tuple[bool, str]:
    """Whether ``requirements`` can be had for ``aim``, with nothing of conda's, and what uv said."""
    with tempfile.TemporaryDirectory(prefix="envpack-pip-") as name:
        code, said = uv_compile.run(Path(name), requirements, options, aim)
        return code == 0, said


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
    indexes = {one.name: one.url for one in options.own_indexes}

    def told(said: str, asked: Sequence[Requirement]) -> SolveError | NetworkError:
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
        code, said = uv_compile.run(folder, left, options, aim, stubs.write({**given, **bare}, folder))
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
