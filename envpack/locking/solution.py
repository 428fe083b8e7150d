"""What a solve found, before it is written as a lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envpack.errors import Location
from envpack.lockfile import Manager
from envpack.locking.local_wheels import BuiltWheel
from envpack.spec import EnvSpec

if TYPE_CHECKING:
    from conda_lock.lockfile.v2prelim.models import Lockfile as CondaLockfile


@dataclass(frozen=True, slots=True)
class SolvedPackage:
    """One chosen package.

    ``size`` is that of the archive in bytes, ``timestamp`` when it was built (conda) or uploaded (pip) in
    seconds since 1970; each is ``None`` where the channel or index does not say. ``build`` is conda's build
    string. ``glibc`` is the oldest glibc the package runs on, where it says so.
    """

    name: str
    version: str
    manager: Manager
    platform: str
    url: str
    sha256: str
    size: int | None
    timestamp: int | None
    build: str | None = None
    glibc: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One requirement that could not be met as it was: its text, what was chosen (``1.11.3 py27_0``), why."""

    wanted: str
    got: str
    why: str
    platform: str
    where: Location | None = None


@dataclass(frozen=True, slots=True)
class Solution:
    """The packages chosen for every platform, in the lock's order.

    ``requested`` are the tokens ``conda:NAME`` and ``pip:NAME`` of what was asked for and is there, by
    platform, sorted; ``asked`` is the text of the request by token. ``lock`` is conda-lock's own object,
    which :func:`envpack.locking.write` writes. ``relaxed`` is what was not taken as it was asked for.
    ``carried`` are the wheels that no index has, by platform: they are among ``packages``, without a URL, and
    not in ``lock``.
    """

    spec: EnvSpec
    platforms: tuple[str, ...]
    packages: tuple[SolvedPackage, ...]
    requested: Mapping[str, tuple[str, ...]]
    asked: Mapping[str, str]
    lock: CondaLockfile
    relaxed: tuple[Relaxation, ...] = ()
    carried: Mapping[str, tuple[BuiltWheel, ...]] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """The newest package's timestamp, seconds since 1970; 0 where no package has one."""
        return max((p.timestamp for p in self.packages if p.timestamp is not None), default=0)

    @property
    def glibc(self) -> Mapping[str, tuple[str, str]]:
        """By platform: the oldest glibc that will do, and the package that needs it (``numpy 1.26.4``).

        A platform none of whose packages says so is absent.
        """
        needs = {}
        for platform in self.platforms:
            asking = [p for p in self.packages if p.platform == platform and p.glibc is not None]
            if asking:
                most = max(asking, key=lambda p: (p.glibc or (0, 0), p.manager, p.name))
                major, minor = most.glibc or (0, 0)
                needs[platform] = (f"{major}.{minor}", f"{most.name} {most.version}")
        return needs
