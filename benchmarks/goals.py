"""What envpack wants to reach, as ratios to others in the same run, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.results import Results

MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """``met`` is ``None`` if it was not measured."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def goals(results: Results) -> list[Goal]:
    """Every goal, in the order in which people ask for them."""
    return [_judged(*goal) for goal in _goals(results)]


class _Unknown(Exception):
    """A row that a goal needs was not measured."""


_Judge = Callable[[], tuple[str, bool]]


def _judged(what: str, wanted: str, judge: _Judge) -> Goal:
    try:
        return Goal(what, wanted, *judge())
    except _Unknown as missing:
        return Goal(what, wanted, f"not measured: {missing}", None)


def _goals(results: Results) -> Iterator[tuple[str, str, _Judge]]:
    def wall(key: str) -> float:
        if key not in results.rows:
            raise _Unknown(key)
        return results.rows[key].wall

    def at_most(ours: str, theirs: str, factor: float) -> _Judge:
        def judge() -> tuple[str, bool]:
            ratio = wall(ours) / wall(theirs)
            shown = f"{ratio:.2f} ×" if ratio > 0.2 else f"1/{1 / ratio:.0f}"
            return f"{shown} ({wall(ours):.2f} s to {wall(theirs):.2f} s)", ratio <= factor

        return judge

    def copy() -> tuple[str, bool]:
        limit = 2 * wall("cp") + 0.3
        return f"{wall('sif-cached'):.2f} s to {limit:.2f} s", wall("sif-cached") <= limit

    def changed() -> tuple[str, bool]:
        limit = 1.5 * wall("sif-cached") + wall("own")
        return f"{wall('sif-changed'):.2f} s to {limit:.2f} s", wall("sif-changed") <= limit

    def memory() -> tuple[str, bool]:
        peaks = {key: results.rows[key].memory for key in results.rows if key.startswith("sif-")}
        if not peaks:
            raise _Unknown("sif")
        most = max(peaks, key=lambda key: peaks[key])
        return f"{peaks[most] / MIB:.0f} MiB ({most})", peaks[most] <= 200 * MIB

    def four_times() -> tuple[str, bool]:
        if len(results.growth) < 4:
            raise _Unknown("growth")
        small, large = results.growth[1], results.growth[3]
        ratio = large.memory / small.memory
        sizes = f"{small.memory / MIB:.0f} to {large.memory / MIB:.0f} MiB"
        return f"{ratio:.2f} × ({sizes}, {small.packages} to {large.packages} packages)", ratio <= 1.1

    def size() -> tuple[str, bool]:
        if "sif-cold" not in results.rows or "apptainer" not in results.rows:
            raise _Unknown("apptainer")
        ours, theirs = (results.rows[key].size or 0 for key in ("sif-cold", "apptainer"))
        return f"{ours / theirs:.3f} × ({ours / 1e6:.1f} MB to {theirs / 1e6:.1f} MB)", ours <= theirs

    def imported() -> tuple[str, bool]:
        rows = {row.key: row for row in results.imports}
        if "folder" not in rows or "squashfuse" not in rows:
            raise _Unknown("squashfuse")
        (ours, _), (theirs, _) = rows["squashfuse"].medians, rows["folder"].medians
        through = f"; {rows['squashfuse'].through}" if rows["squashfuse"].through else ""
        return f"{ours / theirs:.2f} × ({ours:.2f} s to {theirs:.2f} s{through})", ours / theirs <= 1.3

    def inodes() -> tuple[str, bool]:
        if "sif-cold" not in results.rows or not results.cache:
            raise _Unknown("sif-cold")
        own = sum(number for name, number in results.cache.items() if name != "blobs")
        # The unpacked interpreter, in the cache's temporary folder, and the image before it has its name.
        passing = results.rows["sif-cold"].temporary
        most = (own + passing) / results.packages
        shown = f"{most:.2f} a package: {own / results.packages:.2f}, and {passing} in all while it ran"
        return shown, most <= 3

    def linear() -> tuple[str, bool]:
        if len(results.growth) < 3:
            raise _Unknown("growth")
        before, after = slopes([(point.content, point.cold.wall) for point in results.growth])[-2:]
        last = results.growth[-1]
        shown = f"{after / before:.2f} × ({before * 1e9:.1f} and {after * 1e9:.1f} ms for each MB more)"
        return f"{shown}, up to {last.packages} packages and {last.files:,} files", after <= 1.1 * before

    rattler = "cold, to py-rattler install and mksquashfs at the same compression"
    yield rattler, "≤ 0.6 ×", at_most("sif-cold", "rattler", 0.6)
    same = "cold, to these where they make the bytecode that is missing, too"
    yield same, "≤ 0.6 ×", at_most("sif-cold", "rattler-bytecode", 0.6)
    yield "cold, to apptainer's default build", "≤ 1/15", at_most("sif-cold", "apptainer", 1 / 15)
    yield "all cached, to apptainer's default build", "≤ 1/150", at_most("sif-cached", "apptainer", 1 / 150)
    yield "all cached, to `cp` of the image", "≤ 2 × + 0.3 s", copy
    yield "one package changed, to all cached and that package alone", "≤ 1.5 × + its own", changed
    yield "peak memory", "≤ 200 MiB", memory
    yield "peak memory of an environment 4 times as large", "≤ 1.1 ×", four_times
    yield "size, to apptainer's default image", "≤ 1 ×", size
    yield "cold import through squashfuse, to a folder", "≤ 1.3 ×", imported
    yield "inodes on disk, at most", "≤ 3 a package, all in the cache", inodes
    yield "growth: the time of the last doubling to the one before", "≤ 1.1 × for each byte", linear


def slopes(points: Sequence[tuple[float, float]]) -> list[float]:
    """From each point to the next, how much y grows with x: all the same on a straight line."""
    return [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairwise(points)]
