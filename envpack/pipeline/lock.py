"""``envpack lock``: source -> specification -> solution -> base image -> lock."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envpack import atomic, lockfile
from envpack.cache import Cache
from envpack.config import Config
from envpack.errors import SolveError, SourceError, UsageError
from envpack.ledger import Action, Finding, Ledger
from envpack.lockfile import BuildPins, PlatformPin, valid_prefix
from envpack.pipeline import carried, tools
from envpack.pipeline.base_images import BaseImages
from envpack.pipeline.project import lock_path
from envpack.pipeline.settings import base_difference, differences, read_settings
from envpack.platforms import DEFAULT_PLATFORM, PLATFORMS
from envpack.platforms import get as get_platform
from envpack.progress import Progress, Quiet
from envpack.spec import EnvSpec

if TYPE_CHECKING:
    from envpack.locking import Pinning, Prefer, Solution
    from envpack.sources.envpack_toml import ProjectSettings


@dataclass(frozen=True, slots=True)
class RequestedPackage:
    """One thing that was asked for and what was chosen; ``size`` of the archive in bytes, if known."""

    asked: str
    name: str
    version: str
    manager: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Relaxed:
    """One requirement that could not be met as it was: its text, what was chosen instead, and why."""

    wanted: str
    got: str
    why: str


@dataclass(frozen=True, slots=True)
class LockedPlatform:
    """The lock of one platform in numbers; ``download`` in bytes, of all archives whose size is known."""

    subdir: str
    requested: tuple[RequestedPackage, ...]
    packages: int
    download: int
    relaxed: tuple[Relaxed, ...] = ()


@dataclass(frozen=True, slots=True)
class Locked:
    """What :func:`lock` wrote, or found to be right. ``base`` is one sentence: which image, and why."""

    name: str
    path: Path
    changed: bool
    base: str
    platforms: tuple[LockedPlatform, ...]

    @property
    def tabulated(self) -> frozenset[str]:
        """The requests that :attr:`LockedPlatform.relaxed` lists."""
        return frozenset(one.wanted for platform in self.platforms for one in platform.relaxed)

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``; sizes in bytes."""
        return {
            "name": self.name,
            "lock": str(self.path),
            "changed": self.changed,
            "base": self.base,
            "platforms": {
                p.subdir: {
                    "packages": p.packages,
                    "download": p.download,
                    "relaxed": [{"wanted": r.wanted, "got": r.got, "why": r.why} for r in p.relaxed],
                    "requested": [
                        {
                            "asked": r.asked,
                            "name": r.name,
                            "version": r.version,
                            "manager": r.manager,
                            "size": r.size,
                        }
                        for r in p.requested
                    ],
                }
                for p in self.platforms
            },
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """A lock that answers its source."""

    path: Path

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {"lock": str(self.path), "answers": True}


def lock(
    source: str | Path | None = None,
    *,
    directory: Path,
    config: Config,
    stdin: bytes | None = None,
    name: str | None = None,
    platforms: Sequence[str] = (),
    base: str | None = None,
    prefix: str = "/opt/env",
    python: str | None = None,
    solver: Path | None = None,
    from_env: str | None = None,
    from_image: Path | None = None,
    cuda: str | None = None,
    prefer: Prefer | None = None,
    pin: Pinning = "exact",
    strict: bool = False,
    build_sdist: Sequence[str] = (),
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    keep: bool = False,
    today: datetime.date | None = None,
) -> Locked:
    """Resolve ``source`` (see :func:`envpack.sources.read`) and write ``lockfiles/NAME.conda-lock.yml``.

    In its place may be an environment of this machine, ``from_env`` (by name or folder), or what is
    installed in an image, ``from_image``. ``cuda``, ``prefer`` and ``pin`` are explained at
    :func:`envpack.locking.solve`; with ``strict`` nothing may be but as it was written.
    ``build_sdist`` are names of packages, or ``all``, that are built here from source where an index has no
    wheel of them; folders and files of this machine that the source names are always built. What is built is
    written to ``lockfiles/wheels/NAME/``.

    ``platforms`` are conda subdirs (default: the source's Linux ones, else ``linux-64``); ``base`` an image
    name (default: chosen); ``prefix`` the environment's absolute path in the image; ``python`` a version,
    or ``system`` for the base image's own; ``solver`` a conda, mamba or micromamba to use instead of the
    built-in one; ``today`` decides what is said about the base image's support. With ``keep`` packages and
    base image stay those of the lock that is there, and only what the project's ``envpack.toml`` and the
    variables say is recorded anew; nothing is asked of the network.

    Raises :class:`CheckFailed` where that lock does not answer the source, :class:`SourceError`,
    :class:`SolveError`, :class:`BaseImageError`,
    :class:`NetworkError`, :class:`OutputError`, :class:`UsageError` as the names say.
    """
    from packaging.utils import canonicalize_name

    from envpack import locking
    from envpack.bases import choose, distribution
    from envpack.bases.registry import Registry
    from envpack.download import Downloader
    from envpack.pipeline.specification import specification
    from envpack.recipes.validation import variable_problems

    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    valid_prefix(prefix)
    sdists = frozenset(canonicalize_name(sdist) for sdist in build_sdist)
    spec = specification(
        source, directory=directory, stdin=stdin, name=name, platforms=platforms, python=python,
        from_env=from_env, from_image=from_image, ledger=ledger,
    )  # fmt: skip
    settings = read_settings(directory, prefix, ledger)
    base = base or settings.base
    if problems := tuple(variable_problems(spec.variables)):
        raise SourceError(
            "the environment sets variables that an image cannot set",
            problems=problems,
            hint="Remove them from variables in the environment file.",
        )
    if spec.system_python and solver is not None:
        raise UsageError(
            "there are no conda packages to solve with --python system", hint="Leave --solver out."
        )
    subdirs = _platforms(spec, platforms, ledger)
    today = today or datetime.datetime.now(datetime.timezone.utc).date()
    path = lock_path(directory, spec.name)
    atomic.check(path)
    if keep:
        return _kept(path, directory, spec, subdirs, settings, ledger)
    cache = Cache(config.cache)
    cache.prepare()
    # The folder says from now on that the cache is in use.
    with cache.temporary() as folder, Downloader(config, progress) as downloader:
        images = BaseImages(Registry(config, downloader, cache))
        asked, family, python_there = base, None, None
        if spec.system_python:
            family = distribution.FAMILY
            asked = base or str(choose.choose(dict.fromkeys(subdirs), family=family, today=today).reference)
            python_there = images.python(asked, subdirs)
        solution = locking.solve(
            spec,
            platforms=subdirs,
            glibc=images.offered(asked, subdirs),
            config=config,
            ledger=ledger,
            progress=progress,
            solver=solver,
            system_python=python_there,
            cuda=cuda,
            prefer=prefer,
            pin=pin,
            builder=locking.WheelBuilder(
                folder, downloader, progress, sdists, carried.unusable, carried.place(spec.name)
            ),
        )
        if strict:
            _refuse_deviations(ledger)
        needed = {subdir: solution.glibc.get(subdir) for subdir in subdirs}
        wheels = carried.pins(directory, spec.name, solution)
        choice = choose.choose(needed, requested=base, family=family, today=today)
        pins = BuildPins(
            name=spec.name,
            prefix=prefix,
            epoch=_epoch(solution),
            platforms={
                subdir: PlatformPin(
                    images.pin(choice, subdir, needed), solution.requested[subdir], wheels.get(subdir, ())
                )
                for subdir in subdirs
            },
            variables=spec.variables,
            settings=settings.image,
            system_python=python_there and python_there.rpartition(".")[0],
            findings=tuple(_recorded(finding) for finding in ledger if finding.is_deviation),
            tools=tools.current(),
        )
        before = path.read_bytes() if path.is_file() else None
        carried.write(directory, spec.name, solution.carried)
        locking.write(solution, pins, path)
    own = [f"its own python is {pins.system_python}"] if pins.system_python else []
    because = "; ".join([choice.reason, *own, *choice.notes])
    return Locked(spec.name, path, before != path.read_bytes(), because, _summary(solution))


def _refuse_deviations(ledger: Ledger) -> None:
    """Raise :class:`SourceError` if anything is not as it was written."""
    found = [finding for finding in ledger if finding.is_deviation]
    if found:
        raise SourceError(
            f"{len(found)} things are not as they are written, and --strict allows none",
            why="they are listed above",
            hint="Change the source so that nothing needs to be changed, or leave --strict away.",
        )


def _recorded(finding: Finding) -> Finding:
    """``finding`` as locks have it: a file that is not the project's is known by its name alone."""
    where = finding.where
    if where is None or not Path(where.file).is_absolute():
        return finding
    return replace(finding, where=replace(where, file=Path(where.file).name))


def check(
    source: str | Path | None = None,
    *,
    directory: Path,
    stdin: bytes | None = None,
    name: str | None = None,
    platforms: Sequence[str] = (),
    python: str | None = None,
    from_env: str | None = None,
    from_image: Path | None = None,
    ledger: Ledger | None = None,
) -> Checked:
    """See whether the lock of ``source`` still answers it, without solving and without the network.

    Raises :class:`CheckFailed` saying what differs, :class:`LockError` when there is
    no lock.
    """
    from envpack import locking
    from envpack.pipeline.specification import specification

    ledger = Ledger() if ledger is None else ledger
    spec = specification(
        source, directory=directory, stdin=stdin, name=name, platforms=platforms, python=python,
        from_env=from_env, from_image=from_image, ledger=ledger,
    )  # fmt: skip
    path = lock_path(directory, spec.name)
    lock = lockfile.read(path)
    problems = []
    if lock.pins is not None:
        settings = read_settings(directory, lock.pins.prefix, ledger)
        problems = [*differences(settings, lock.pins.settings), *base_difference(settings, lock.pins)]
        problems += carried.problems(directory, lock)
    locking.check(lock, spec, _platforms(spec, platforms, ledger), problems)
    return Checked(path)


def _kept(
    path: Path,
    directory: Path,
    spec: EnvSpec,
    subdirs: Sequence[str],
    settings: ProjectSettings,
    ledger: Ledger,
) -> Locked:
    """The lock at ``path`` with new settings and variables."""
    from envpack import locking

    lock = lockfile.read(path)
    kept = spec if lock.pins is None else replace(spec, variables=dict(lock.pins.variables))
    problems = base_difference(settings, lock.pins) if lock.pins else []
    problems += carried.problems(directory, lock, sources=False)
    locking.check(lock, kept, subdirs, problems)
    assert lock.pins is not None  # as was just checked
    carried.say_outdated(directory, lock, ledger)
    before = path.read_bytes()
    pins = replace(lock.pins, variables=spec.variables, settings=settings.image, tools=tools.current())
    locking.rewrite(path, pins)
    base = "; ".join(sorted({pin.base.reference.familiar for pin in pins.platforms.values()}))
    return Locked(spec.name, path, before != path.read_bytes(), f"{base}: kept as it was locked", ())


def _platforms(spec: EnvSpec, asked: Sequence[str], ledger: Ledger) -> tuple[str, ...]:
    """What to lock for: asked for, or the source's own platforms as far as images exist for them."""
    if asked:
        return tuple(get_platform(subdir).subdir for subdir in dict.fromkeys(asked))
    for subdir in spec.platforms:
        if subdir not in PLATFORMS:
            ledger.add(Action.DROPPED, f"platform {subdir}", "containers run on Linux")
    return tuple(subdir for subdir in spec.platforms if subdir in PLATFORMS) or (DEFAULT_PLATFORM,)


def _epoch(solution: Solution) -> int:
    if not solution.packages:
        raise SolveError("the environment is empty", hint="Ask for at least one package.")
    return solution.epoch


def _summary(solution: Solution) -> tuple[LockedPlatform, ...]:
    found = []
    for subdir in solution.platforms:
        packages = [p for p in solution.packages if p.platform == subdir]
        by_token = {f"{p.manager}:{p.name}": p for p in packages}
        rows = tuple(
            RequestedPackage(solution.asked[token], p.name, p.version, p.manager, p.size)
            for token in solution.requested[subdir]
            if (p := by_token.get(token))
        )
        download = sum(p.size or 0 for p in packages)
        relaxed = tuple(Relaxed(r.wanted, r.got, r.why) for r in solution.relaxed if r.platform == subdir)
        found.append(LockedPlatform(subdir, rows, len(packages), download, relaxed))
    return tuple(found)
