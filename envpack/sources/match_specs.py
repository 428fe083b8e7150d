"""conda's match specs as people and ``conda env export`` write them, in the form that solvers read.

https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html#package-match-specifications
and CEP 29. Exact ones become ``name ==version build``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envpack.errors import Location, Problem
from envpack.ledger import Action, Ledger
from envpack.sources.urls import channel_problem, is_local, without_secrets
from envpack.spec import Requirement

AS_IT_IS = "as it is written"
_SUBDIR = re.compile(r"/(?:noarch|(?:linux|osx|win|freebsd|emscripten|wasi)-[a-z0-9]+)\Z")
_EXACT = re.compile(
    r"(?P<name>[A-Za-z0-9_][\w.-]*)\s*={1,2}\s*"
    r"(?P<version>(?:\d+!)?[^=\s,|<>!~*\[\]]+)\s*=\s*(?P<build>[^=\s,|\[\]]+)\Z"
)
_VERSION = re.compile(
    r"(?P<head>(?:\S+::)?[A-Za-z0-9_][\w.-]*)\s*={1,2}\s*(?P<version>(?:\d+!)?[^=\s,|<>!~*\[\]]+)\Z"
)
_EXTRAS = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)\[(?P<extras>[A-Za-z0-9_., -]+)\](?P<rest>.*)\Z")
_ARCHIVE = re.compile(
    r"(?P<channel>https?://\S+?)/(?P<subdir>noarch|[a-z]+-[a-z0-9]+)/"
    r"(?P<name>[A-Za-z0-9_][\w.-]*)-(?P<version>[^-/\s]+)-(?P<build>[^-/\s]+)\.(?:conda|tar\.bz2)(?:#\S*)?\Z"
)
_HINT = "Match specs look like numpy, numpy=1.26, numpy >=1.26,<2 or conda-forge::numpy."
_NOT_HERE = "it is a folder or file of the machine where the list was made"


@dataclass(frozen=True, slots=True)
class MatchSpecLine:
    """A match spec and what it says: ``exact`` is an exact version, ``built`` an exact build too."""

    requirement: Requirement
    name: str
    exact: bool
    built: bool


def read(text: str, where: Location, ledger: Ledger, problems: list[Problem]) -> MatchSpecLine | None:
    """The match spec ``text``, or ``None`` where it cannot be used: then ``ledger`` or ``problems`` says why.

    A subdir before ``::`` is left out: the image's platform decides.
    """
    if archive := _ARCHIVE.match(text):
        return _archive(archive, text, where, ledger, problems)
    head, separator, rest = text.rpartition("::") if "::" in text.partition("[")[0] else ("", "", text)
    rest = rest.strip()
    if is_local(text) or (separator and is_local(head)):
        remedy = "Put the package into a channel that has an address, and name that."
        ledger.add(Action.NEEDS_YOU, without_secrets(text), _NOT_HERE, where=where, remedy=remedy)
        return None
    action, reason, remedy_ = Action.KEPT, AS_IT_IS, None
    channel = head.strip()
    if separator:
        if subdir := _SUBDIR.search(channel):
            channel = channel[: subdir.start()]
            if subdir[0] not in ("/noarch", "/linux-64"):
                action, reason = (
                    Action.TRANSLATED,
                    f"{subdir[0][1:]} is left out: the image has its own platform",
                )
        if problem := channel_problem(channel, where):
            problems.append(problem)
            return None
    if (extras := _EXTRAS.match(rest)) and "=" not in extras["extras"]:
        rest = (extras["name"] + extras["rest"]).rstrip()
        action, reason = Action.RELAXED, f"conda packages have no extras: [{extras['extras']}] is left out"
        remedy_ = "Name the packages that the extra stands for, or move the line to the pip section."
    exact = _EXACT.match(rest)
    if exact:
        rest = f"{exact['name']} =={exact['version']} {exact['build']}"
    written = f"{channel}::{rest}" if separator else rest
    parsed = _parsed(written, text, where, problems)
    if parsed is None:
        return None
    name, plain, lost = parsed
    if plain and plain != written:
        written = plain if "::" in plain or not separator else f"{channel}::{plain}"
        action, reason = (
            (action, reason) if action is Action.RELAXED else (Action.TRANSLATED, "without brackets")
        )
        if lost:
            action, reason = Action.RELAXED, f"{', '.join(lost)} is left out"
    ledger.add(action, without_secrets(text), reason, where=where, remedy=remedy_)
    pinned = _VERSION.match(rest) or re.match(r"\S+ ={0,2}\d[^\s*|,<>]*\Z", rest)
    built = bool(exact) and "*" not in rest
    return MatchSpecLine(Requirement(written, where), name, built or bool(pinned), built)


def pinned(requirement: Requirement) -> Requirement:
    """``requirement`` with ``=1.2`` as ``==1.2``: in a list of what is installed they mean the same."""
    found = _VERSION.match(requirement.text)
    if not found:
        return requirement
    return Requirement(f"{found['head']} =={found['version']}", requirement.where)


def _parsed(
    written: str, text: str, where: Location, problems: list[Problem]
) -> tuple[str, str | None, list[str]] | None:
    """Name, the form without brackets (if it has any), and the keys that this loses."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    what = f"{without_secrets(text)!r} is not a match spec"
    try:
        spec = MatchSpec(written)
    except InvalidMatchSpecError as error:
        problems.append(Problem(what, where, str(error).partition("\n")[0], _HINT))
        return None
    version, build = str(spec.version or ""), str(spec.build or "")
    # rattler takes `pip install x` for a version and a build
    if spec.name is None or re.search(r"\s", build) or (version and not re.search(r"[0-9*]", version)):
        problems.append(Problem(what, where, "that is no version", _HINT))
        return None
    name = spec.name.normalized
    if "[" not in written:
        return name, None, []
    lost = sorted(
        set(re.findall(r"[\[,]\s*([a-z_0-9]+)\s*=", written)) - {"version", "build", "channel", "subdir"}
    )
    plain = " ".join(part for part in (name, version or ("*" if build else ""), build) if part)
    keyed = re.search(r"channel\s*=\s*['\"]?([^'\",\]]+)", written)
    if keyed:
        if problem := channel_problem(_SUBDIR.sub("", keyed[1]), where):
            problems.append(problem)
            return None
        plain = f"{_SUBDIR.sub('', keyed[1])}::{plain}"
    return name, plain, lost


def _archive(
    archive: re.Match[str], text: str, where: Location, ledger: Ledger, problems: list[Problem]
) -> MatchSpecLine | None:
    """The address of a package: asked for by name, version and build from that channel."""
    channel = archive["channel"]
    if problem := channel_problem(channel, where):
        problems.append(problem)
        return None
    written = f"{channel}::{archive['name']} =={archive['version']} {archive['build']}"
    if _parsed(written, text, where, problems) is None:
        return None
    reason = "asked for by name, version and build"
    ledger.add(Action.TRANSLATED, without_secrets(text), reason, where=where)
    return MatchSpecLine(Requirement(written, where), archive["name"].lower(), True, True)
