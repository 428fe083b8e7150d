"""Requirements that cannot be met on Linux because their packages are for another system, or are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from envpack.errors import NetworkError
from envpack.ledger import Action, Ledger
from envpack.locking.nearest import nearest
from envpack.locking.solver import CondaSolver
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from rattler import RepoDataRecord

OTHERS = ("osx-arm64", "osx-64", "win-64")
_SYSTEMS = {"osx": "macOS", "win": "Windows", "linux": "Linux"}
_NOT_HERE = {"__osx": "macOS", "__win": "Windows"}


def name_of(requirement: Requirement) -> str:
    """The name of the package that the match spec ``requirement`` asks for."""
    from rattler import MatchSpec

    return str(MatchSpec(requirement.text).name.normalized)


def listed_whole(spec: EnvSpec) -> bool:
    """Whether a tool wrote the list, so that nobody asked for each line of it."""
    return spec.complete or spec.exported_from is not None


def with_names(
    spec: EnvSpec,
    requirements: Sequence[Requirement],
    platforms: Sequence[str],
    solver: CondaSolver,
    ledger: Ledger,
) -> Mapping[str, tuple[Requirement, ...]]:
    """The ``requirements`` whose names the channels have, by platform; the others are said in ``ledger``.

    Other systems are asked about names that are missing, and only then. Raises :class:`SolveError` with all
    names that nobody has, where somebody wrote them, and for a python that does not exist;
    :class:`NetworkError`.
    """
    known = {platform: solver.names(platform) for platform in platforms}
    asked = [(r, name_of(r)) for r in requirements]
    lacking = {
        name: tuple(p for p in platforms if name not in known[p])
        for _, name in asked
        if not name.startswith("__")
    }
    missing = {name for name, where in lacking.items() if where}
    whole = listed_whole(spec)
    systems = _systems(missing, [*_first(spec.exported_from), *OTHERS], solver) if missing else {}
    refused = {
        name
        for name in missing
        if name == "python" or (not whole and (name not in systems or lacking[name] != tuple(platforms)))
    }
    if refused or (missing and missing == {name for _, name in asked}):
        solver.check_names(platforms, [r for r, name in asked if name in (refused or missing)])
    every = set().union(*known.values())
    for requirement, name in asked:
        if name not in missing:
            continue
        if name in systems:
            _for_others(requirement, name, systems[name], lacking[name], ledger, whole=whole)
            continue
        close = nearest(name, every - {name})
        ledger.add(
            Action.NEEDS_YOU,
            requirement.text,
            f"no channel has {name} for {', '.join(lacking[name])}: left out",
            where=requirement.where,
            remedy=f"Ask for {' or '.join(close)}, if that is meant, or add the channel that has {name}."
            if close
            else f"Add the channel that has {name}, or remove it.",
        )
    return {
        platform: tuple(r for r, name in asked if platform not in lacking.get(name, ()))
        for platform in platforms
    }


def usable(records: Sequence[RepoDataRecord]) -> list[RepoDataRecord]:
    """The ``records`` that do not need another system; ``noarch`` packages may."""
    return [r for r in records if not _needs(r)]


def drop_unusable(
    requirement: Requirement, name: str, records: Sequence[RepoDataRecord], platform: str, ledger: Ledger, *,
    whole: bool,
) -> None:  # fmt: skip
    """Say in ``ledger`` that all packages of this ``name``, its ``records``, need another system."""
    systems = " and ".join(sorted({system for record in records for system in _needs(record)}))
    _for_others(requirement, name, systems, (platform,), ledger, whole=whole)


def _for_others(
    requirement: Requirement, name: str, system: str, lacking: Sequence[str], ledger: Ledger, *, whole: bool
) -> None:
    reason = f"{name} is for {system}: there is none for {', '.join(lacking)}"
    if whole:
        ledger.add(Action.DROPPED, requirement.text, reason, where=requirement.where)
    else:
        remedy = f"Remove {name}, or ask for what does the same on Linux."
        ledger.add(
            Action.NEEDS_YOU, requirement.text, f"{reason}: left out", where=requirement.where, remedy=remedy
        )


def _systems(names: Collection[str], subdirs: Sequence[str], solver: CondaSolver) -> dict[str, str]:
    """For those of ``names`` that exist for another system: its name. A channel without it has none."""
    found: dict[str, str] = {}
    for subdir in dict.fromkeys(subdirs):
        left = set(names) - set(found)
        if not left:
            break
        try:
            there = solver.names(subdir)
        except NetworkError:
            continue
        found |= {name: f"{_SYSTEMS[subdir.partition('-')[0]]} ({subdir})" for name in left & there}
    return found


def _first(subdir: str | None) -> list[str]:
    return [subdir] if subdir and subdir.partition("-")[0] in _SYSTEMS else []


def _needs(record: RepoDataRecord) -> list[str]:
    return [_NOT_HERE[word] for d in record.depends if (word := d.split(" ", 1)[0]) in _NOT_HERE]
