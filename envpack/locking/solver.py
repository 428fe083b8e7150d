"""Conda packages, chosen in this process by rattler.

Repodata is fetched by rattler's gateway (sharded where the channel has it, CEP 16) and cached; the solve is
for a machine with the virtual packages that are given, not for this one.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import re
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from envpack import platforms as _platforms
from envpack.cache import cannot_write
from envpack.config import Config
from envpack.errors import BaseImageError, NetworkError, Problem, SolveError
from envpack.locking import channels as _channels
from envpack.locking.failures import SLOW, cleaned, disk_failure, network_problem
from envpack.locking.nearest import nearest
from envpack.spec import Requirement

if TYPE_CHECKING:
    from rattler import Gateway, GenericVirtualPackage, MatchSpec, RepoDataRecord

T = TypeVar("T")

REQUEST_SECONDS = 300  # for one whole download: conda-forge's unsharded repodata is some 40 MB
ANSWER_SECONDS = (
    330  # for all that a channel has to say: what failed at once is tried again, not what was slow
)
SOLVE_SECONDS = 600
RETRIES = 3
_GLIBC = re.compile(r"__glibc\s.*?>=\s*(?P<major>\d+)\.(?P<minor>\d+)")
_ANY_GLIBC = "2.999"


@dataclass(frozen=True, slots=True)
class CondaRecord:
    """One package as the repodata describes it. ``timestamp`` in seconds since 1970, ``size`` in bytes."""

    name: str
    version: str
    build: str
    url: str
    md5: str | None
    sha256: str | None
    size: int | None
    timestamp: int | None
    depends: tuple[str, ...]
    constrains: tuple[str, ...] = ()


def glibc_needed(record: CondaRecord) -> tuple[int, int] | None:
    """The oldest glibc that ``record`` says it runs with, if it says so."""
    needs = [
        (int(match["major"]), int(match["minor"]))
        for constraint in (*record.depends, *record.constrains)
        if (match := _GLIBC.match(constraint))
    ]
    return max(needs, default=None)


class CondaSolver:
    """Solves against a fixed list of channels; repodata is fetched once for all platforms."""

    def __init__(
        self,
        channels: Sequence[str],
        requirements: Sequence[Requirement],
        config: Config,
        *,
        cuda: str | None = None,
        like: CondaSolver | None = None,
    ) -> None:
        """``channels`` as the user names them, in order of priority; ``requirements`` are match specs.

        ``cuda`` is the CUDA version (``12.4``) that the driver of the target offers, if it has a GPU.
        ``like`` is a solver with the same channels and configuration, whose repodata is used.

        Raises :class:`SolveError` for a match spec that cannot be read or a variable that is not set.
        """
        self._requirements = requirements
        self._specs = _match_specs(requirements)
        named = [spec.channel.base_url for spec in self._specs if spec.channel is not None]
        self._named = (*channels, *named)
        self._channels = list(_channels.urls(self._named))
        self._config = config
        self._cuda = cuda
        self._known: dict[str, set[str]] = {}
        secret = any(_channels.expand(channel) != channel for channel in channels)
        self._gateway: Gateway = like._gateway if like else _gateway(config, secret=secret)
        if like and like._channels == self._channels:
            self._known = like._known

    def check_names(
        self, platforms: Sequence[str], requirements: Sequence[Requirement] | None = None
    ) -> None:
        """See that every name asked for exists for every platform, before anything is solved.

        ``requirements`` are others than those of this solver.

        Raises :class:`NetworkError` with every channel that did not answer, :class:`SolveError` with every
        name that no channel has, each with its place and the nearest names.
        """
        names = {platform: self.names(platform) for platform in platforms}
        every = set().union(*names.values())
        problems: list[Problem] = []
        asked = self._requirements if requirements is None else requirements
        for requirement, spec in zip(asked, _match_specs(asked), strict=True):
            name = spec.name.normalized
            lacking = [platform for platform in platforms if name not in names[platform]]
            if not lacking or name.startswith("__"):
                continue
            what = name if len(lacking) == len(platforms) else f"{name} (for {', '.join(lacking)})"
            close = nearest(name, every - {name})
            hint = f"Did you mean {' or '.join(close)}?" if close else None
            problems.append(Problem(f"no channel has {what}", requirement.where, hint=hint))
        if problems:
            raise SolveError(
                "packages that are asked for do not exist",
                problems=problems,
                why=cleaned(f"channels: {', '.join(self._channels)}"),
                hint="Correct the names, or add the channel that has them.",
            )

    def names(self, platform: str) -> set[str]:
        """Every name that the channels have for ``platform``, also one that is no target.

        Raises :class:`NetworkError` with every channel that did not answer.
        """
        if platform not in self._known:
            self._known[platform] = _run(self._names(platform))
        return self._known[platform]

    def candidates(self, platform: str, specs: Sequence[str]) -> list[RepoDataRecord]:
        """Every package of the channels that one of the match specs ``specs`` takes, on its own.

        Raises :class:`NetworkError`.
        """
        return _run(self._candidates(platform, _match_specs([Requirement(spec) for spec in specs])))

    def solve(
        self,
        platform: str,
        glibc: str,
        requirements: Sequence[Requirement] | None = None,
        seconds: float = SOLVE_SECONDS,
    ) -> tuple[CondaRecord, ...]:
        """The packages for ``platform`` on a system with this ``glibc`` (``2.36``), sorted by name.

        ``requirements`` are others than those of this solver, whose channels they may name.
        Raises :class:`SolveError` with the solver's explanation, :class:`BaseImageError` when a newer
        ``glibc`` is all that is missing, :class:`NetworkError`.
        """
        specs = self._specs if requirements is None else _match_specs(requirements)
        try:
            found = _run(self._solve(platform, glibc, specs, seconds))
        except SolveError as conflict:
            if "__glibc" not in (conflict.why or ""):
                raise
            raise self._with_newer_glibc(platform, glibc, specs, conflict) from None
        return tuple(sorted((_record(r, self._named) for r in found), key=lambda r: r.name))

    def _with_newer_glibc(
        self, platform: str, glibc: str, specs: Sequence[MatchSpec], conflict: SolveError
    ) -> SolveError | BaseImageError:
        """What to say of a ``conflict`` that involves glibc: is it the base image that is in the way?"""
        try:
            answer = _run(self._solve(platform, _ANY_GLIBC, specs, SOLVE_SECONDS))
            found = [_record(r, self._named) for r in answer]
        except SolveError:
            return conflict
        version, name = max((needed, r.name) for r in found if (needed := glibc_needed(r)) is not None)
        return BaseImageError(
            f"the base image is too old: it has glibc {glibc}, and {name} needs "
            f"{version[0]}.{version[1]} on {platform}",
            why=conflict.why,
            hint="Choose a newer base image with --base, or leave --base away.",
        )

    async def _names(self, platform: str) -> set[str]:
        answers = await asyncio.gather(
            *(self._channel_names(channel, platform) for channel in self._channels), return_exceptions=True
        )
        problems, names = [], set()
        for channel, answer in zip(self._channels, answers, strict=True):
            if isinstance(answer, set):
                names |= answer
            elif failure := disk_failure(str(answer), self._config.cache):
                raise cannot_write(self._config.cache, failure)
            elif isinstance(answer, asyncio.TimeoutError):
                what = f"the channel {cleaned(channel)} did not answer within {ANSWER_SECONDS:g} s"
                problems.append(Problem(what, hint=SLOW))
            elif problem := network_problem(str(answer), f"the channel {cleaned(channel)}"):
                problems.append(problem)
            else:
                raise answer
        if len(problems) == 1:
            raise NetworkError(problems[0].what, why=problems[0].why, hint=problems[0].hint)
        if problems:
            raise NetworkError("channels cannot be used", problems=problems, hint=problems[0].hint)
        return names

    async def _channel_names(self, channel: str, platform: str) -> set[str]:
        from rattler import Channel

        asked = self._gateway.names(
            [Channel(channel)], [_subdir(platform), _subdir("noarch")], channel_relations="disabled"
        )
        return {name.normalized for name in await asyncio.wait_for(asked, ANSWER_SECONDS)}

    async def _candidates(self, platform: str, specs: list[MatchSpec]) -> list[RepoDataRecord]:
        from rattler import Channel
        from rattler.exceptions import GatewayError

        try:
            found = await self._gateway.query(
                [Channel(channel) for channel in self._channels],
                [_subdir(platform), _subdir("noarch")],
                specs,
                recursive=False,
                channel_relations="disabled",
            )
        except GatewayError as error:
            raise self._unanswered(error) from None
        return [one for part in found for one in part]

    async def _solve(
        self, platform: str, glibc: str, specs: Sequence[MatchSpec], seconds: float
    ) -> list[RepoDataRecord]:
        from rattler import Channel, solve
        from rattler.exceptions import GatewayError, SolverError

        try:
            return await solve(
                [Channel(channel) for channel in self._channels],
                specs,
                gateway=self._gateway,
                platforms=[_subdir(platform), _subdir("noarch")],
                virtual_packages=virtual_packages(platform, glibc, self._cuda),
                timeout=datetime.timedelta(seconds=seconds),
                channel_relations="disabled",
            )
        except SolverError as error:
            raise _conflict(str(error), platform) from None
        except GatewayError as error:
            raise self._unanswered(error) from None

    def _unanswered(self, error: Exception) -> Exception:
        """What a failure to get repodata means; ``error`` itself where that is not known."""
        if failure := disk_failure(str(error), self._config.cache):
            return cannot_write(self._config.cache, failure)
        problem = network_problem(str(error), "a channel")
        return NetworkError(problem.what, why=problem.why, hint=problem.hint) if problem else error


def virtual_packages(platform: str, glibc: str, cuda: str | None = None) -> list[GenericVirtualPackage]:
    """What the target offers: Linux, this glibc, the plainest processor, a driver for ``cuda`` (CEP 30)."""
    from rattler import GenericVirtualPackage, PackageName, Version
    from rattler.package import BuildString

    system = {
        "__linux": ("5.10", "0"),
        "__unix": ("0", "0"),
        "__glibc": (glibc, "0"),
        "__archspec": ("1", _platforms.get(platform).machine),
    }
    if cuda is not None:
        system["__cuda"] = (cuda, "0")
    return [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
        for name, (version, build) in system.items()
    ]


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, also where an event loop is already running (in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _gateway(config: Config, *, secret: bool) -> Gateway:
    """What fetches repodata and caches it: with ``secret`` addresses, which it writes down, for us alone."""
    from rattler import Config as RattlerConfig
    from rattler import Gateway
    from rattler.networking import Client

    settings = RattlerConfig.from_toml(_channels.rattler_toml(config))
    client = Client.from_config(settings, max_retries=RETRIES, timeout=REQUEST_SECONDS)
    cache = config.cache / "repodata" / _channels.cache_key(config)
    if secret:
        cache = cache.with_name(f"{cache.name}-{os.getuid()}")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            cache.chmod(0o700)
        except OSError as error:
            raise cannot_write(config.cache, error) from error
    return Gateway.from_config(settings, cache_dir=cache, client=client)


def _match_specs(requirements: Sequence[Requirement]) -> list[MatchSpec]:
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    specs, problems = [], []
    for requirement in requirements:
        try:
            specs.append(MatchSpec(_channels.with_defaults_spelled_out(requirement.text)))
        except InvalidMatchSpecError as error:
            problems.append(
                Problem(f"{requirement.text!r} is not a match spec", requirement.where, cleaned(str(error)))
            )
    if problems:
        raise SolveError("match specs cannot be read", problems=problems)
    return specs


def _subdir(platform: str) -> Any:
    from rattler import Subdir

    return Subdir(platform)


def _record(record: RepoDataRecord, channels: Sequence[str]) -> CondaRecord:
    return CondaRecord(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        url=_channels.in_variables(record.url, channels),
        md5=record.md5.hex() if record.md5 else None,
        sha256=record.sha256.hex() if record.sha256 else None,
        size=record.size,
        timestamp=int(record.timestamp.timestamp()) if record.timestamp else None,
        depends=tuple(record.depends),
        constrains=tuple(record.constrains),
    )


def _conflict(text: str, platform: str) -> SolveError:
    """The solver's explanation as an error; its first words say what the error's sentence says."""
    tree = text.removeprefix("Cannot solve the request because of:").strip()
    hint = "Relax one of the versions named here."
    if "__cuda" in tree:
        hint = "Say which CUDA version the GPU's driver shall offer, for instance with --cuda 12.4."
    elif "__glibc" in tree:
        hint = "Choose a base image with a newer glibc (--base)."
    return SolveError(f"the packages asked for do not fit together on {platform}", why=tree, hint=hint)
