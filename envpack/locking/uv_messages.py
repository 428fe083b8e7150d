"""What uv says when it fails, read for its cause.

uv explains itself in English sentences (PubGrub's derivations) on standard error; which requirement is to
blame is found by the few phrases that end all of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name

from envpack.errors import NetworkError, Problem, SolveError
from envpack.locking.failures import first_url, network_problem, without_secrets
from envpack.locking.names import conda_names, project_of
from envpack.spec import Requirement

ABSENT = "is not on the index"
# The project that asks for what has an index of its own: that it asks for something means that the user does.
PROJECT = "envpack-indexes"
_NAME = r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_FILE = re.compile(rf"{_NAME}(?P<extras>\[[^\]]*\])? @ file://\S+\.whl")
# What uv appends to a name: the condition under which it is needed, e.g. evdev{'linux' in sys_platform}.
_CONDITION = re.compile(r"(?<=[A-Za-z0-9])\{[^{}]*\}")
_NO_EXTRA = re.compile(
    rf"The package `{_NAME} @ file://[^`]*` does not have an extra named `(?P<extra>[^`]+)`"
)
_ABSENT = re.compile(rf"\b{_NAME} was not found in ")
_NO_WHEEL = re.compile(
    rf"\b{_NAME}(?P<version>[=<>!~]=?[^\s,]*(?:,[=<>!~]=?[^\s,]*)*)? ha(?:s|ve) no (?:usable )?wheels"
)
_NO_VERSION = re.compile(rf"\bthere (?:is|are) no versions? of {_NAME}(?P<version>[=<>!~]\S*)?")
_TOO_NEW = re.compile(rf"`{_NAME}` was filtered by `exclude-newer`")
# uv goes on without an index that refuses it, and says so in a hint only.
_NETWORK = ("Failed to fetch", "could not be queried", "returned a 403")


def requirements_by_name(requirements: Sequence[Requirement]) -> dict[str, Requirement]:
    """The requirements by normalised name."""
    return {project_of(r): r for r in requirements}


def blames(problem: Problem, requirement: Requirement) -> bool:
    """Whether ``problem``, one of a :func:`failure`, is of ``requirement``: a line may hold several."""
    return problem.where == requirement.where and _name_in(problem) == project_of(requirement)


def _name_in(problem: Problem) -> str:
    """The normalised name of the package that ``problem`` is of."""
    found = re.match(_NAME, problem.what)
    return canonicalize_name(found["name"]) if found else ""


def names_in(why: str) -> set[str]:
    """Every word of an explanation that may be a package's name, normalised."""
    return {canonicalize_name(match["name"]) for match in re.finditer(_NAME, why)}


def extras_not_there(said: str) -> list[tuple[str, str]]:
    """The (package, extra) pairs that were asked of stand-in wheels, which have none."""
    return [(match["name"], match["extra"]) for match in _NO_EXTRA.finditer(said)]


def _plain(said: str) -> str:
    """What uv ``said`` as if there were no project and no wheels of this machine, without conditions."""
    said = said.replace(f"{PROJECT} depends on", "you require")
    return _CONDITION.sub("", _FILE.sub(lambda match: match["name"], said))


def network_failure(text: str) -> Problem | None:
    """What is wrong with the network if that is what uv's ``text`` tells of, with the next step."""
    if not any(mark in text for mark in _NETWORK):
        return None
    url = first_url(text)
    subject = f"the package index at {urlsplit(url).hostname}" if url else "the package index"
    return network_problem(text, subject)


def without_wheels(said: str) -> dict[str, str]:
    """The packages that uv blames for having no wheels: normalised name, and a version that will do."""
    found: dict[str, str] = {}
    for match in _NO_WHEEL.finditer(_explanation(_plain(said))):
        version = re.match(r"(?:==|>=|~=)([^,*]+)", match["version"] or "")
        found[canonicalize_name(match["name"])] = version[1].rstrip(".") if version else "99999"
    return found


def build_hint(names: Sequence[str], otherwise: str, of_conda: Collection[str], platform: str) -> str:
    """What to do about packages that have no wheel: build them, ask conda, or ``otherwise``.

    ``of_conda`` are the names of the packages that the channels have for ``platform``.
    """
    wanted = sorted({canonicalize_name(name) for name in names})
    options = " ".join(f"--build-sdist {name}" for name in wanted)
    found = (next((there for there in conda_names(name) if there in of_conda), None) for name in wanted)
    conda = [name for name in found if name]
    ask = f" The channels have {', '.join(conda)} for {platform}." if conda else ""
    return (
        f"If they have their source on the index, `envpack lock {options}` builds wheels of it, which runs "
        f"the packages' own build code on this machine.{ask} {otherwise}"
    )


def failure(
    said: str,
    requirements: Sequence[Requirement],
    given: Mapping[str, str],
    *,
    python: str,
    platform: str,
    remedy: str,
    indexes: Mapping[str, str],
) -> SolveError | NetworkError:
    """What uv ``said`` as an error: by cause, and without the paths of stand-in wheels.

    ``given`` are the names and versions that conda gives, ``remedy`` is what to do about packages that
    cannot be had. The problems of a :class:`SolveError` are the packages to blame, with their places where
    they were asked for directly; ``indexes`` has the URLs of those that are asked of one index alone.
    """
    text = _plain(said)
    if problem := network_failure(text):
        return NetworkError(problem.what, why=problem.why, hint=problem.hint)
    why = _explanation(text)
    no_wheel = f"has no wheel for python {python} on {platform}"
    problems = _to_blame(why, requirements, no_wheel, indexes)
    named = [name for name in given if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", why)]
    why += "".join(f"\n{name} {given[name]} is conda's choice" for name in named)
    hint = "Relax one of the versions named here."
    if problems or "Python version" in why:
        hint = remedy
    if newer := list(dict.fromkeys(match["name"] for match in _TOO_NEW.finditer(text))):
        why += "".join(
            f"\n{name} is there, but was uploaded after exclude-newer, or its index does not say when"
            for name in newer
        )
        free = ", ".join(f"{name} = false" for name in newer)
        hint = f"To have it anyway: exclude-newer-package = {{ {free} }} in [tool.uv]."
    return SolveError(
        f"the pip requirements cannot be met on {platform}", problems=problems, why=why, hint=hint
    )


def _to_blame(
    why: str, requirements: Sequence[Requirement], no_wheel: str, indexes: Mapping[str, str]
) -> list[Problem]:
    asked = requirements_by_name(requirements)
    problems: list[Problem] = []
    for pattern, told in (
        (_ABSENT, ABSENT),
        (_NO_WHEEL, no_wheel),
        (_NO_VERSION, "has no such version on the index"),
    ):
        for match in pattern.finditer(why):
            name = canonicalize_name(match["name"])
            requirement = asked.get(name)
            alone = f"it is asked of {without_secrets(indexes[name])} alone" if name in indexes else None
            what = f"{_FILE.sub(_named, requirement.text) if requirement else match['name']} {told}"
            problem = Problem(what, requirement.where if requirement else None, alone)
            if problem not in problems:
                problems.append(problem)
    return problems


def _named(found: re.Match[str]) -> str:
    return found["name"] + (found["extras"] or "")


def _explanation(text: str) -> str:
    """The explanation in what uv said, without labels, advice and progress lines."""
    lines = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("hint:", "Resolved ", "warning:")) or not stripped:
            continue
        lines.append(re.sub(r"^(error|cause|Caused by):\s*|^[^\w`]+", "", stripped))
    return without_secrets("\n".join(lines))
