"""From what is asked for to what is installed: a solve for every platform, and the lock that records it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack import atomic
from envpack.config import Config
from envpack.errors import CheckFailed, OutputError, Problem, SolveError
from envpack.ledger import Ledger
from envpack.lockfile import BuildPins, Lockfile
from envpack.locking import (
    arrange,
    conda_lock,
    default_index,
    elsewhere,
    pins,
    pip_relax,
    pip_solver,
    request,
    unindexed,
    wheels,
)
from envpack.locking import cuda as gpu
from envpack.locking.external import ExternalSolver
from envpack.locking.local_wheels import BuiltWheel, LocalWheels, WheelBuilder
from envpack.locking.names import project_of
from envpack.locking.pins import Pinning
from envpack.locking.pip_solver import PipRecord
from envpack.locking.preference import Prefer
from envpack.locking.request import Answer
from envpack.locking.solution import Relaxation, Solution, SolvedPackage
from envpack.locking.solver import CondaRecord, CondaSolver, glibc_needed
from envpack.locking.target import Target, target
from envpack.locking.unindexed import Instead
from envpack.progress import Progress, Quiet
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from conda_lock.lockfile.v2prelim.models import Lockfile as CondaLockfile

__all__ = [
    "BuiltWheel",
    "Pinning",
    "Prefer",
    "Relaxation",
    "Solution",
    "SolvedPackage",
    "WheelBuilder",
    "check",
    "rewrite",
    "solve",
    "write",
]


def solve(
    spec: EnvSpec,
    *,
    platforms: Sequence[str],
    glibc: Mapping[str, str] | str,
    config: Config,
    ledger: Ledger,
    progress: Progress | None = None,
    solver: Path | None = None,
    system_python: str | None = None,
    cuda: str | None = None,
    prefer: Prefer | None = None,
    pin: Pinning = "exact",
    seconds: float = request.SECONDS,
    builder: WheelBuilder | None = None,
) -> Solution:
    """Choose packages for every platform (conda subdirs) on a system with this ``glibc`` (``2.36``).

    ``solver`` is a conda, mamba or micromamba to use in place of the solver in this process.
    ``system_python`` is the version (``3.8.10``) of the base image's own python, for a ``spec`` that wants
    that one: no channel is asked then. ``cuda`` is the CUDA version (``12.4``) that the driver of the target
    offers, or ``none``; without it the request decides. What conda and pip both have is asked of the one
    that ``prefer`` names, else of whom it is written for. Exact pins are kept, kept to
    their minor version or not kept, as ``pin`` says; those that do not fit together are relaxed, as few and
    as little as it takes, within ``seconds`` a platform (not with another ``solver``). ``builder`` makes the
    wheels of what is on no index; without one, that is left out. Deviations go into
    ``ledger``. Raises :class:`SolveError` (unknown names, conflicts, packages without a sha256),
    :class:`BaseImageError` when only a newer ``glibc`` is missing, :class:`NetworkError`, and
    :class:`ProgramError` for a ``solver`` that cannot be started.
    """
    progress = progress or Quiet()
    wanted = tuple(sorted(set(platforms)))
    versions = {platform: glibc if isinstance(glibc, str) else glibc[platform] for platform in wanted}
    as_written = arrange.written(spec)
    spec = default_index.left_out(spec, ledger)
    spec, driver, read = arrange.arrange(
        spec, platforms=wanted, glibc=versions, config=config, ledger=ledger, progress=progress,
        solver=solver, prefer=prefer, gpu=cuda,
    )  # fmt: skip

    local = LocalWheels(spec, builder)

    def conda_of(spec: EnvSpec, said: Ledger) -> Callable[[str, str], Answer]:
        with _temporary_files():
            conda_lock.check(spec, wanted)
        pinned = replace(spec, conda=pins.apply(spec, pin, said))
        return _conda_solver(pinned, wanted, config, said, progress, solver, driver, seconds, read)

    def attempt(instead: Instead, said: Ledger) -> _Chosen:
        ask = None if spec.system_python else conda_of(instead.spec, said)
        return _chosen(instead, wanted, versions, ask, local, system_python, said, progress)

    spec, found = unindexed.solve(spec, wanted, read, attempt, ledger=ledger, progress=progress)
    lock, chosen, wheels_of = found.lock, found.conda, found.pip
    # Of the request as it was written, so that it can be compared without the network.
    with _temporary_files():
        lock.metadata.content_hash = conda_lock.content_hash(as_written, wanted)
    urls = {(p.platform, p.manager, p.name): p.url for p in lock.package}
    packages = [
        _from_conda(record, platform, urls[platform, "conda", record.name])
        for platform in wanted
        for record in chosen[platform]
    ]
    packages += [_from_pip(record, platform) for platform in wanted for record in wheels_of[platform]]
    packages += [_from_here(wheel, platform) for platform in wanted for wheel in found.carried[platform]]
    for platform in wanted:
        here = [package for package in packages if package.platform == platform]
        gpu.check(spec, here, ledger, platform=platform, wanted=cuda)
    spec = _with_leaves(spec, found.answers)
    relaxed = tuple(one for answer in found.answers for one in answer.relaxed)
    asked_for = _asked(spec, packages)
    for wheel in (wheel for platform in wanted for wheel in found.carried[platform]):
        if wheel.asked is not None:
            asked_for[f"pip:{wheel.name}"] = wheel.asked
    requested = {p: _requested(asked_for, [x for x in packages if x.platform == p]) for p in wanted}
    return Solution(spec, wanted, tuple(packages), requested, asked_for, lock, relaxed, found.carried)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The packages by platform, the lock that conda-lock made of them, and what was relaxed for them.

    ``carried`` are wheels that no index has; the lock has all but these.
    """

    lock: CondaLockfile
    conda: dict[str, tuple[CondaRecord, ...]]
    pip: dict[str, tuple[PipRecord, ...]]
    carried: dict[str, tuple[BuiltWheel, ...]]
    answers: list[Answer]


def _chosen(
    instead: Instead,
    platforms: Sequence[str],
    glibc: Mapping[str, str],
    ask: Callable[[str, str], Answer] | None,
    local: LocalWheels,
    system_python: str | None,
    ledger: Ledger,
    progress: Progress,
) -> _Chosen:
    """Solve what ``instead`` has for all platforms: conda's part by ``ask``, if there is one, then pip's."""
    spec = instead.spec
    chosen: dict[str, tuple[CondaRecord, ...]] = dict.fromkeys(platforms, ())
    wheels_of: dict[str, tuple[PipRecord, ...]] = dict.fromkeys(platforms, ())
    carried: dict[str, tuple[BuiltWheel, ...]] = dict.fromkeys(platforms, ())
    answers: list[Answer] = []
    aims: dict[str, Target] = {}
    requirements = spec.pip
    if ask is None:
        assert system_python is not None
        aims = {p: Target(p, system_python, "", glibc[p], True, local.sdists) for p in platforms}
        # What installs the others: a distribution's is too old for many wheels. pip knows those for glibc
        # 2.18 and newer (manylinux_2_28) since 20.3, and Ubuntu 20.04 has 20.0.
        requirements = (Requirement("pip"), *spec.pip)

    def conda(platform: str) -> tuple[CondaRecord, ...]:
        assert ask is not None
        with progress.step(f"Solving conda packages for {platform}"):
            answers.append(ask(platform, glibc[platform]))
            chosen[platform] = _checked(answers[-1].records)
        if spec.has_pip:
            aim = target(platform, chosen[platform], glibc[platform])
            aims[platform] = replace(aim, sdists=local.sdists, of_conda=instead.names(platform))
        return chosen[platform]

    def pip(platform: str) -> tuple[PipRecord, ...]:
        aim = aims[platform]
        wanted = (*requirements, *local.requirements(aim, chosen[platform], ledger))
        if not wanted:
            return ()
        with progress.step(f"Solving pip packages for {platform}"):
            if spec.complete:
                found, loosened = pip_relax.solve(
                    wanted, spec.pip_options, chosen[platform], aim, ledger, instead
                )
                answers.append(Answer((), loosened))
            else:
                try:
                    found = pip_solver.solve(wanted, spec.pip_options, chosen[platform], aim, ledger)
                except SolveError as error:
                    instead.failed(error, aim)
                    raise
        wheels_of[platform], carried[platform] = local.carried(found, aim, ledger)
        return wheels_of[platform]

    with _temporary_files():
        lock = conda_lock.make_lock(spec, platforms, None if ask is None else conda, pip)
    return _Chosen(lock, chosen, wheels_of, carried, answers)


def write(solution: Solution, pins: BuildPins, path: Path) -> None:
    """Write the lock to ``path``, whole or not at all; the same solution and pins give the same bytes.

    Raises :class:`OutputError`.
    """
    with _temporary_files():
        data = conda_lock.render(solution.lock, path, solution.spec.sources, pins.to_metadata())
    atomic.write(path, data)


def rewrite(path: Path, pins: BuildPins) -> None:
    """Write the lock that is at ``path`` with other ``pins``. Raises :class:`OutputError`."""
    with _temporary_files():
        data = conda_lock.with_metadata(path, pins.to_metadata())
    atomic.write(path, data)


def check(lock: Lockfile, spec: EnvSpec, platforms: Sequence[str], found: Sequence[Problem] = ()) -> None:
    """See whether ``lock`` still answers ``spec``; asks no network. ``found`` was found to differ already.

    Raises :class:`CheckFailed` with everything that has changed: requirements or channels (conda-lock's
    content hash), platforms, name and variables.
    """
    problems = list(found)
    wanted = sorted(set(platforms))
    if missing := sorted(set(wanted) - set(lock.platforms)):
        problems.append(Problem(f"the lock has nothing for {', '.join(missing)}"))
    if surplus := sorted(set(lock.platforms) - set(wanted)):
        problems.append(Problem(f"the lock has {', '.join(surplus)}, which is not asked for"))
    common = [platform for platform in wanted if platform in lock.platforms]
    with _temporary_files():
        hashes = conda_lock.content_hash(arrange.written(spec), common)
    if changed := [p for p in common if hashes[p] != lock.content_hash.get(p)]:
        problems.append(Problem(f"requirements or channels have changed ({', '.join(changed)})"))
    if lock.pins is None:
        problems.append(Problem("the lock was not written by envpack: it names no base image"))
    else:
        if (lock.pins.system_python is not None) != spec.system_python:
            problems.append(Problem("the lock is for another python: conda's or the base image's own"))
        if lock.pins.name != spec.name:
            problems.append(Problem(f"the name has changed from {lock.pins.name} to {spec.name}"))
        if dict(lock.pins.variables) != spec.variables:
            problems.append(Problem("the variables have changed"))
    if problems:
        raise CheckFailed(
            "the lock no longer answers its source", problems=problems, hint="Run `envpack lock`."
        )


def _conda_solver(
    spec: EnvSpec,
    platforms: Sequence[str],
    config: Config,
    ledger: Ledger,
    progress: Progress,
    program: Path | None,
    cuda: str | None,
    seconds: float,
    read: CondaSolver | None,
) -> Callable[[str, str], Answer]:
    """What gives the conda packages for a platform and a glibc: ``program``, or the solver in here, which
    uses what another has ``read`` of the channels.
    """
    asked = conda_lock.requirements(spec)
    if program is not None:
        external = ExternalSolver(program, spec.channels, asked, config, cuda=cuda)
        return lambda platform, glibc: Answer(external.solve(platform, glibc))
    embedded = CondaSolver(spec.channels, asked, config, cuda=cuda, like=read)
    with progress.step("Looking for the names"):
        there = elsewhere.with_names(spec, asked, platforms, embedded, ledger)

    def ask(platform: str, glibc: str) -> Answer:
        return request.solve(
            spec,
            there[platform],
            platform,
            glibc,
            solver=embedded,
            ledger=ledger,
            progress=progress,
            seconds=seconds,
        )

    return ask


def _with_leaves(spec: EnvSpec, answers: Sequence[Answer]) -> EnvSpec:
    """``spec`` with what counts as asked for: all of pip's, and what no package needs on some platform."""
    found = [answer.leaves for answer in answers if answer.leaves is not None]
    if spec.asked is not None or not found:
        return spec
    tokens = {f"conda:{name}" for leaves in found for name in leaves}
    return replace(spec, asked=frozenset(tokens | {f"pip:{project_of(r)}" for r in spec.pip}))


@contextmanager
def _temporary_files() -> Iterator[None]:
    """conda-lock and uv work in temporary folders: say so when these cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write temporary files in {os.environ.get('TMPDIR', '/tmp')}",  # noqa: S108 its name
            why=error.strerror,
            hint="Free some space there, or name another folder with TMPDIR.",
        ) from error


def _checked(records: tuple[CondaRecord, ...]) -> tuple[CondaRecord, ...]:
    """``records`` if the bytes of all of them can be checked; else :class:`SolveError` naming the others."""
    bare = [r for r in records if not r.sha256]
    if bare:
        raise SolveError(
            "the channel does not say what the bytes of its packages are",
            problems=[Problem(f"{r.name} {r.version} has no sha256", why=r.url) for r in bare],
            hint="Index the channel anew with a current tool, or use another channel.",
        )
    return records


def _from_conda(record: CondaRecord, platform: str, url: str) -> SolvedPackage:
    """``url`` is the lock's, in which secrets are variables again."""
    return SolvedPackage(
        name=record.name,
        version=record.version,
        manager="conda",
        platform=platform,
        url=url,
        sha256=record.sha256 or "",
        size=record.size,
        timestamp=record.timestamp,
        build=record.build,
        glibc=glibc_needed(record),
    )


def _from_pip(record: PipRecord, platform: str) -> SolvedPackage:
    return SolvedPackage(
        name=record.name,
        version=record.version,
        manager="pip",
        platform=platform,
        url=record.url,
        sha256=record.sha256,
        size=record.size,
        timestamp=record.timestamp,
        glibc=wheels.needed_glibc(record.url),
    )


def _from_here(wheel: BuiltWheel, platform: str) -> SolvedPackage:
    return SolvedPackage(
        name=wheel.name,
        version=wheel.version,
        manager="pip",
        platform=platform,
        url="",
        sha256=wheel.sha256,
        size=wheel.file.stat().st_size,
        timestamp=None,
        glibc=wheel.glibc,
    )


def _asked(spec: EnvSpec, packages: Iterable[SolvedPackage]) -> dict[str, str]:
    """What was asked for: token to the text of the request, of several for pip one that ``packages`` meet."""
    from rattler import MatchSpec

    tokens = {f"conda:{MatchSpec(r.text).name.normalized}": r.text for r in spec.conda}
    chosen = {p.name: p.version for p in packages if p.manager == "pip"}
    for requirement in spec.pip:
        asked = Pep508(requirement.text)
        name = canonicalize_name(asked.name)
        met = name in chosen and asked.specifier.contains(chosen[name], prereleases=True)
        if met or f"pip:{name}" not in tokens:
            tokens[f"pip:{name}"] = requirement.text
    return {token: text for token, text in tokens.items() if spec.asked is None or token in spec.asked}


def _requested(asked: Iterable[str], packages: Iterable[SolvedPackage]) -> tuple[str, ...]:
    """Of the tokens ``asked`` for those that are there: a marker may have left a pip requirement out."""
    return tuple(sorted({f"{p.manager}:{p.name}" for p in packages}.intersection(asked)))
