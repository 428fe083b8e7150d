"""Conda or pip: whose each installed package is, where pip worked over what conda had installed.

pip knows nothing of conda: it removes conda's files, puts its own in their place, and conda's record stays as
it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from envpack.sources.installed import CondaPackage, PipPackage


@dataclass(frozen=True, slots=True)
class Owners:
    """Which packages are conda's and which are pip's.

    ``pip`` are pip's own. ``replaced`` are the conda packages that pip installed over, ``gone`` those that it
    removed, ``needed_by`` what of conda needs one of either.
    """

    pip: tuple[PipPackage, ...]
    replaced: Mapping[str, PipPackage]
    gone: frozenset[str]
    needed_by: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(
        cls,
        records: Sequence[CondaPackage],
        pip: Sequence[PipPackage],
        site: str | None,
        there: frozenset[str],
    ) -> Owners:
        """Compare ``records`` and ``pip``, in whose folder ``site`` the folders ``there`` are."""
        by_name = {package.name: package for package in pip}
        replaced: dict[str, PipPackage] = {}
        gone = set()
        for record in records:
            projects = {n: f for n, f in record.projects.items() if site and f.startswith(f"{site}/")}
            newer = [by_name[n] for n in sorted(projects) if n in by_name]
            own = by_name.get(canonicalize_name(record.name)) if projects else None
            if own or (newer and len(newer) == len(projects)):
                replaced[record.name] = own or newer[0]
            elif projects and not newer and there.isdisjoint(projects.values()):
                gone.add(record.name)
        needed_by = _needed_by(records, {*replaced, *gone}, bool(pip))
        from_conda = {package.name for name, package in replaced.items() if name in needed_by}
        return cls(
            tuple(p for p in pip if p.name not in from_conda or p.origin is not None),
            replaced,
            frozenset(gone),
            needed_by,
        )


def _needed_by(
    records: Sequence[CondaPackage], doubtful: set[str], with_pip: bool
) -> dict[str, tuple[str, ...]]:
    """Of the names ``doubtful`` those that the other packages need, directly or not, and which these are.

    Whatever pip installs needs conda's pip.
    """
    found: dict[str, set[str]] = {}
    if with_pip and "pip" in doubtful:
        found["pip"] = {"every package of pip's"}
    ahead = [record for record in records if record.name not in doubtful or record.name in found]
    by_name = {record.name: record for record in records}
    while ahead:
        record = ahead.pop()
        for name in record.depends & doubtful:
            if name not in found:
                ahead.append(by_name[name])
            found.setdefault(name, set()).add(record.name)
    return {name: tuple(sorted(names)) for name, names in found.items()}
