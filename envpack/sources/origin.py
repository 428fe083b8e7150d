"""Where a whole list of packages was made, as far as the packages tell: the system, and the channels.

Every build of a package that depends on nothing but the system has the same hash in its build string, one per
channel and system: ``h06a4308`` is one of ``defaults`` on linux-64. Anaconda's packages have hashes since
September 2017, when ``pkgs/main`` began; those from before are in ``pkgs/free``, which ``defaults`` has not
named any more since conda 4.7 (https://www.anaconda.com/blog/why-we-removed-the-free-channel-in-conda-4-7).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.sources import exporting_system

_SYSTEMS = {
    "h06a4308": "linux-64",
    "ha770c72": "linux-64",
    "h8af1aa0": "linux-aarch64",
    "h6ffa863": "linux-ppc64le",
    "hecd8cb5": "osx-64",
    "h694c41f": "osx-64",
    "hca03da5": "osx-arm64",
    "hce30654": "osx-arm64",
    "haa95532": "win-64",
    "h57928b3": "win-64",
}
# Not in the marks of noarch python (pyhd8ed1ab), which are the same on all systems.
_HASH = re.compile(r"(?<![a-z])h[0-9a-f]{7}(?=_|\Z)")
_FORGE = re.compile(
    r"conda_forge|ha770c72|h694c41f|hce30654|h57928b3|pyhd8ed1ab|pyh29332c3|ha878542|hbcca054"
)
_DEFAULTS = re.compile(r"h06a4308|hecd8cb5|hca03da5|haa95532|pyhd3eb1b0|\Amain\Z")
_UNHASHED = re.compile(r"(?P<numpy>np\d+)?py(?:2[67]|3[3-6])_\d+\Z")
FREE = "https://repo.anaconda.com/pkgs/free"
_PYTORCH = re.compile(r"py3\.[0-9]+_(cuda|cpu)")


def system(packages: Iterable[tuple[str, str]], prefix: str | None = None) -> str | None:
    """The conda subdir of the system of ``packages`` (names and builds) in ``prefix``, if they tell."""
    packages = list(packages)
    hashes = (found[0] for _, build in packages if (found := _HASH.search(build)))
    votes = Counter(_SYSTEMS[found] for found in hashes if found in _SYSTEMS)
    if votes:
        return max(sorted(votes), key=lambda subdir: votes[subdir])
    of_prefix = exporting_system.of_path(prefix) if prefix else None
    return of_prefix or exporting_system.of_names((name for name, _ in packages), whole=True)


def channels(packages: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The channels that ``packages`` (names and builds) are likely from, the one of most first."""
    counts: Counter[str] = Counter()
    others = set()
    hashed = False
    for name, build in packages:
        hashed = hashed or _HASH.search(build) is not None
        if _FORGE.search(build):
            counts["conda-forge"] += 1
        elif _DEFAULTS.search(build):
            counts["defaults"] += 1
        elif _PYTORCH.match(build):
            others.add("pytorch")
        if name.startswith("bioconductor-"):
            others.add("bioconda")
    if not counts:
        # Builds have had hashes since 2017, and before that nearly all packages were Anaconda's.
        counts["conda-forge" if hashed else "defaults"] = 1
    return (*sorted(counts, key=lambda channel: (-counts[channel], channel)), *sorted(others))


def with_free(
    channels: Sequence[str], builds: Iterable[str], ledger: Ledger, where: Location | None = None
) -> tuple[str, ...]:
    """``channels``, and the one of Anaconda's old packages where ``builds`` are of these; said in ``ledger``.

    A few packages have builds without a hash to this day, so those of most decide, or one for a numpy.
    """
    if "defaults" not in channels or FREE in channels:
        return tuple(channels)
    found = list(builds)
    unhashed = [match for build in found if (match := _UNHASHED.match(build))]
    hashed = sum(_HASH.search(build) is not None for build in found)
    if not any(match["numpy"] for match in unhashed) and len(unhashed) <= hashed:
        return tuple(channels)
    ledger.add(
        Action.GUESSED,
        f"channel {FREE}",
        f"builds such as {unhashed[0][0]} are from before September 2017, and defaults has these no more",
        where=where,
        remedy="Name the channels in the file, if they are others.",
    )
    return (*channels, FREE)
