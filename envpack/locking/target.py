"""What pip's wheels shall run on."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from envpack import platforms as _platforms
from envpack.errors import SolveError
from envpack.locking.solver import CondaRecord
from envpack.locking.uv_messages import build_hint


@dataclass(frozen=True, slots=True)
class Target:
    """What the wheels shall run on: a python and the system it runs on.

    ``system_python``: it is the base image's own, and there is no conda to ask. ``sdists`` are the names of
    packages that may be built from source, ``all`` for all. ``of_conda`` are the names of the packages that
    the channels have for the platform, where they were asked.
    """

    platform: str
    python: str
    threaded: str
    glibc: str
    system_python: bool = False
    sdists: frozenset[str] = frozenset()
    of_conda: Collection[str] = field(default=(), repr=False, compare=False)

    @property
    def glibc_pair(self) -> tuple[int, int]:
        """``glibc`` as numbers."""
        major, minor = (int(part) for part in self.glibc.split(".")[:2])
        return major, minor

    @property
    def machine(self) -> str:
        """What ``uname -m`` prints there."""
        return _platforms.get(self.platform).machine

    @property
    def remedy(self) -> str:
        """What to do about a package that cannot be had for this target."""
        if self.system_python:
            return "Ask for another version, or choose a base image with another python (--base)."
        return "Ask conda for these packages, or for another version or python."

    def without_wheels(self, names: Sequence[str]) -> str:
        """What to do about packages of these ``names``, which have no wheel for this target."""
        return build_hint(names, self.remedy, self.of_conda, self.platform)


def target(platform: str, records: Sequence[CondaRecord], glibc: str) -> Target:
    """The target that conda's chosen python makes; :class:`SolveError` where there is none."""
    for record in records:
        if record.name == "python":
            threaded = "t" if re.search(r"_cp\d+t\b", record.build) else ""
            return Target(platform, record.version, threaded, glibc)
    raise SolveError(
        f"there are pip requirements but no python for {platform}",
        hint="Ask for python in the dependencies, for instance python=3.12.",
    )
