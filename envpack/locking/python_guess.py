"""Questions to pip's index before anything is solved: which python fits, and is a package there at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from packaging.utils import canonicalize_name

from envpack.ledger import Action, Ledger
from envpack.locking import pip_solver
from envpack.locking.names import project_of
from envpack.locking.target import Target
from envpack.spec import EnvSpec, PipOptions, Requirement

# Newest first; each try takes uv about a second.
PYTHONS = ("3.13", "3.12", "3.11", "3.10", "3.9", "3.8", "3.7", "3.6")
TRIES = 5
MAX_RUNS = 15
_REMEDY = "Give the version with --python."
_NAME = r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
# Failures that another python does not mend.
_NOT_THERE = re.compile(
    rf"\b{_NAME} was not found in |\bthere (?:is|are) no versions? of {_NAME.replace('name', 'of')}"
)
_NO_WHEEL = re.compile(rf"\b{_NAME}(?P<version>[=<>!~]=?[^\s,]*)? has no (?:usable )?wheels")
_ABI = re.compile(r"`cp3(?P<minor>\d+)m?`")
_ONLY_FOR = "with the following Python ABI tag"


def on_index(options: PipOptions, *, platform: str, glibc: str) -> Callable[[str], bool]:
    """What tells whether pip's index has a wheel for a requirement, be it for another python."""

    def answer(text: str) -> bool:
        aim = Target(platform, f"{PYTHONS[1]}.0", "", glibc)
        found, said = pip_solver.attempt([Requirement(text)], options, aim)
        return found or _ONLY_FOR in said

    return answer


def settle(
    spec: EnvSpec, *, platform: str, glibc: str, ledger: Ledger, pythons: Sequence[str] = PYTHONS
) -> EnvSpec:
    """``spec`` with a python for pip's pins, where nobody said which and nothing else is asked of conda.

    See :func:`python_for`. That nobody said which, and that any is taken then, is said in ``ledger``, too.
    """
    if spec.system_python:
        return spec
    allowed = pythons if spec.pip else ()
    if any(requirement.text != "python" for requirement in spec.conda):
        allowed = _in_range(spec, allowed)
    if allowed:
        options, pythons = spec.pip_options, allowed
        found = python_for(spec.pip, options, platform=platform, glibc=glibc, ledger=ledger, pythons=pythons)
        if found is not None:
            return replace(spec, conda=(Requirement(f"python ={found}"),))
    if Requirement("python") in spec.conda:  # which the reader added: it is on no line
        reason = "the source does not say its version, and its packages do not tell: the newest is taken"
        ledger.add(Action.GUESSED, "python", reason, remedy=_REMEDY)
    return spec


def _in_range(spec: EnvSpec, pythons: Sequence[str]) -> tuple[str, ...]:
    """Those of ``pythons`` that a lock of pip's packages allows; none where it says one, and for others."""
    from rattler import MatchSpec, Version, VersionSpec

    if not spec.complete or len(spec.conda) > 1 or not spec.conda[0].text.startswith("python "):
        return ()
    text = str(MatchSpec(spec.conda[0].text).version or "")
    if text[:1] not in "<>!":
        return ()
    allowed = VersionSpec(text)
    return tuple(p for p in pythons if any(allowed.matches(Version(f"{p}.{patch}")) for patch in (0, 99)))


def python_for(
    requirements: Sequence[Requirement],
    options: PipOptions,
    *,
    platform: str,
    glibc: str,
    ledger: Ledger,
    pythons: Sequence[str] = PYTHONS,
) -> str | None:
    """The newest of ``pythons`` (newest first) for which the index has wheels of all of ``requirements``.

    At most :data:`TRIES` are tried. What no python mends (a name that is not there) is not looked at. Where
    none of those tried will do for the whole list, the newest that one of its versions allows. Said in
    ``ledger``; ``None`` where the versions do not tell.
    """
    left = [r for r in requirements if "==" in r.text]
    if not left:
        return None
    candidates = list(pythons)
    because: dict[str, str] = {}
    bound: tuple[str, str] | None = None
    tries = runs = 0
    while candidates and tries < TRIES and runs < MAX_RUNS and left:
        python = candidates[0]
        found, said = pip_solver.attempt(left, options, Target(platform, f"{python}.0", "", glibc))
        runs += 1
        if found:
            _say(python, because, ledger)
            return python
        if absent := _absent(said):
            kept = [r for r in left if project_of(r) not in absent]
            if len(kept) < len(left):
                left = kept
                continue
        tries += 1
        blamed = _NO_WHEEL.search(said)
        because[python] = f"{blamed['name']}{blamed['version'] or ''}" if blamed else "the requirements"
        newest = max((int(m["minor"]) for m in _ABI.finditer(said.partition(_ONLY_FOR)[2])), default=None)
        candidates = [p for p in candidates[1:] if newest is None or int(p.partition(".")[2]) <= newest]
        if newest is not None and candidates:
            bound = candidates[0], because[python]
    if bound is not None:
        reason = (
            f"{bound[1]} has wheels for no newer one; for the whole list no python was found that will do"
        )
        _add(bound[0], reason, ledger)
        return bound[0]
    return None


def _say(python: str, because: dict[str, str], ledger: Ledger) -> None:
    reason = "the newest that the list's versions have wheels for"
    if because:
        newer, blamed = list(because.items())[-1]
        reason += f" ({blamed} has none for {newer})"
    _add(python, reason, ledger)


def _add(python: str, reason: str, ledger: Ledger) -> None:
    ledger.add(Action.GUESSED, f"python {python}", reason, remedy=_REMEDY)


def _absent(said: str) -> set[str]:
    return {canonicalize_name(match["name"] or match["of"]) for match in _NOT_THERE.finditer(said)}
