"""``envpack lock``: source -> specification -> solution -> base image -> lock."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envpack import atomic, lockfile
from envpack.cache import Cache
from envpack.config import Config
from envpack.errors import BaseImageError, SolveError, SourceError, UsageError
from envpack.image import parse_reference
from envpack.ledger import Action, Ledger
from envpack.lockfile import BasePin, BuildPins, PlatformPin, valid_prefix
from envpack.pipeline.project import lock_path
from envpack.pipeline.settings import base_difference, differences, read_settings
from envpack.platforms import DEFAULT_PLATFORM, PLATFORMS, Platform
from envpack.platforms import get as get_platform
from envpack.progress import Progress, Quiet
from envpack.spec import EnvSpec

if TYPE_CHECKING:
    from envpack.bases.choose import Choice
    from envpack.bases.manifest import Manifest
    from envpack.bases.registry import Registry
    from envpack.locking import Solution
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
class LockedPlatform:
    """The lock of one platform in numbers; ``download`` in bytes, of all archives whose size is known."""

    subdir: str
    requested: tuple[RequestedPackage, ...]
    packages: int
    download: int


@dataclass(frozen=True, slots=True)
class Locked:
    """What :func:`lock` wrote, or found to be right. ``base`` is one sentence: which image, and why."""

    name: str
    path: Path
    changed: bool
    base: str
    platforms: tuple[LockedPlatform, ...]

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
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    keep: bool = False,
    today: datetime.date | None = None,
) -> Locked:
    """Resolve ``source`` (see :func:`envpack.sources.read`) and write ``lockfiles/NAME.conda-lock.yml``.

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
    from envpack import locking, sources
    from envpack.bases import choose, distribution
    from envpack.bases.registry import Registry
    from envpack.download import Downloader
    from envpack.recipes.validation import variable_problems

    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    valid_prefix(prefix)
    spec = sources.read(source, directory=directory, stdin=stdin, name=name, python=python, ledger=ledger)
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
        return _kept(path, spec, subdirs, settings)
    cache = Cache(config.cache)
    cache.prepare()
    with Downloader(config, progress) as downloader:
        images = _BaseImages(Registry(config, downloader, cache))
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
        )
        needed = {subdir: solution.glibc.get(subdir) for subdir in subdirs}
        choice = choose.choose(needed, requested=base, family=family, today=today)
        pins = BuildPins(
            name=spec.name,
            prefix=prefix,
            epoch=_epoch(solution),
            platforms={
                subdir: PlatformPin(images.pin(choice, subdir, needed), solution.requested[subdir])
                for subdir in subdirs
            },
            variables=spec.variables,
            settings=settings.image,
            system_python=python_there and python_there.rpartition(".")[0],
        )
    before = path.read_bytes() if path.is_file() else None
    locking.write(solution, pins, path)
    own = [f"its own python is {pins.system_python}"] if pins.system_python else []
    because = "; ".join([choice.reason, *own, *choice.notes])
    return Locked(spec.name, path, before != path.read_bytes(), because, _summary(solution))


def check(
    source: str | Path | None = None,
    *,
    directory: Path,
    stdin: bytes | None = None,
    name: str | None = None,
    platforms: Sequence[str] = (),
    python: str | None = None,
    ledger: Ledger | None = None,
) -> Checked:
    """See whether the lock of ``source`` still answers it, without solving and without the network.

    Raises :class:`CheckFailed` saying what differs, :class:`LockError` when there is
    no lock.
    """
    from envpack import locking, sources

    ledger = Ledger() if ledger is None else ledger
    spec = sources.read(source, directory=directory, stdin=stdin, name=name, python=python, ledger=ledger)
    path = lock_path(directory, spec.name)
    lock = lockfile.read(path)
    problems = []
    if lock.pins is not None:
        settings = read_settings(directory, lock.pins.prefix, ledger)
        problems = [*differences(settings, lock.pins.settings), *base_difference(settings, lock.pins)]
    locking.check(lock, spec, _platforms(spec, platforms, ledger), problems)
    return Checked(path)


def _kept(path: Path, spec: EnvSpec, subdirs: Sequence[str], settings: ProjectSettings) -> Locked:
    """The lock at ``path`` with new settings and variables."""
    from envpack import locking

    lock = lockfile.read(path)
    kept = spec if lock.pins is None else replace(spec, variables=dict(lock.pins.variables))
    problems = base_difference(settings, lock.pins) if lock.pins else []
    locking.check(lock, kept, subdirs, problems)
    assert lock.pins is not None  # as was just checked
    before = path.read_bytes()
    pins = replace(lock.pins, variables=spec.variables, settings=settings.image)
    locking.rewrite(path, pins)
    base = "; ".join(sorted({pin.base.reference.familiar for pin in pins.platforms.values()}))
    return Locked(spec.name, path, before != path.read_bytes(), f"{base}: kept as it was locked", ())


class _BaseImages:
    """The base images of one lock: each is asked for once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._manifests: dict[tuple[str, str], Manifest] = {}
        self._glibc: dict[tuple[str, str], str] = {}

    def offered(self, base: str | None, subdirs: Sequence[str]) -> Mapping[str, str]:
        """The glibc that packages may count on: that of ``base``, or the newest of the catalogue's."""
        from envpack.bases import catalog

        if base is not None:
            reference = parse_reference(base)
            known = catalog.find(reference)
            return {s: known.glibc if known else self._read_glibc(base, s) for s in subdirs}
        newest = {}
        for subdir in subdirs:
            versions = [image.glibc for image in catalog.load() if subdir in image.platforms]
            if not versions:
                raise BaseImageError(f"no known base image exists for {subdir}", hint="Name one with --base.")
            newest[subdir] = max(versions, key=catalog.version)
        return newest

    def pin(self, choice: Choice, subdir: str, needed: Mapping[str, tuple[str, str] | None]) -> BasePin:
        """The chosen image of one platform, by digest."""
        from envpack.bases import choose

        name = str(choice.reference)
        glibc = choice.known.glibc if choice.known else self._read_glibc(name, subdir)
        choose.check_glibc(choice.reference, glibc, subdir, needed)
        return BasePin(choice.reference, self._resolve(name, get_platform(subdir)).digest, glibc)

    def python(self, name: str, subdirs: Sequence[str]) -> str:
        """The version of the python that the image's distribution has, the same on all platforms."""
        from envpack.bases import distribution
        from envpack.content import rootfs

        found = {}
        for subdir in subdirs:
            layers = self._registry.pull(self._resolve(name, get_platform(subdir)))
            text = rootfs.read_file(layers, distribution.OS_RELEASE)
            found[subdir] = distribution.identify(text, parse_reference(name).familiar)
        if len(set(found.values())) > 1:
            raise BaseImageError(
                f"{name} is another distribution on each platform",
                why=", ".join(f"{known} on {subdir}" for subdir, known in found.items()),
                hint="Lock one platform at a time, or name another base (--base).",
            )
        return found[subdirs[0]].python

    def _resolve(self, name: str, platform: Platform) -> Manifest:
        reference = parse_reference(name)
        key = (str(reference), platform.subdir)
        if key not in self._manifests:
            self._manifests[key] = self._registry.resolve(reference, platform)
        return self._manifests[key]

    def _read_glibc(self, name: str, subdir: str) -> str:
        """The glibc of an image that the catalogue does not know, read from its layers."""
        from envpack.content import rootfs

        key = (str(parse_reference(name)), subdir)
        if key not in self._glibc:
            found = rootfs.glibc_version(self._registry.pull(self._resolve(name, get_platform(subdir))))
            if found is None:
                raise BaseImageError(
                    f"{name} has no glibc",
                    why="conda packages for Linux need it, and images made with musl or from scratch lack it",
                    hint="Choose a base made from Ubuntu, Debian, Rocky Linux or the like.",
                )
            self._glibc[key] = found
        return self._glibc[key]


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
        found.append(LockedPlatform(subdir, rows, len(packages), download))
    return tuple(found)
