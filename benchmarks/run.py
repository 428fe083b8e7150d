"""What builds take, beside what others take: time, processor, memory, size, files, import, growth.

Everything in one run; the report is ``docs/benchmarks.md``, the numbers are kept in ``.benchmarks/``. The
network is stand-ins on 127.0.0.1. Needs squashfs-tools; what else is missing is listed as not run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import generated, growth, imports, machine, ours, peers, report, scene, squashfuse, work
from benchmarks.contest import Absent, Contestant, play
from benchmarks.goals import goals
from benchmarks.imports import Place
from benchmarks.results import Results
from benchmarks.scene import Scene
from tests.engines import docker
from tests.standins.store import StandInError

ROOT = Path(__file__).parent.parent
RAW = ROOT / ".benchmarks" / "results.json"
ROUNDS, IMPORT_ROUNDS = 3, 5
# With --quick: what takes seconds.
QUICK = ("lock", "sif", "sqfs", "oci", "push", "cp", "mksquashfs", "rattler", "own")


def main() -> int:
    """Measure and write; gives the exit code, which is 0 even where goals are missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="one round, without what takes long")
    parser.add_argument("--only", action="append", help="the beginning of a key; again for more")
    parser.add_argument("--again", action="store_true", help="write the report of the last run again")
    parser.add_argument(
        "--docs", type=Path, help="the report's folder; default: docs, or .benchmarks if --quick"
    )
    options = parser.parse_args()
    if options.again:
        results = Results.load(RAW)
    else:
        for program in ("mksquashfs", "unsquashfs"):
            if not shutil.which(program):
                parser.error(f"there is no {program}: install squashfs-tools")
        try:
            squashfuse.programs()
        except ValueError as reason:
            parser.error(str(reason))
        try:
            results = run(1 if options.quick else options.rounds, options.quick, options.only)
        except StandInError as reason:
            print(f"benchmarks: a stand-in cannot be built: {reason}", file=sys.stderr)
            return 1
        results.save(RAW)
    partial = results.quick or options.only
    folder = options.docs or (RAW.parent if partial else ROOT / "docs")
    for path in report.write(results, folder):
        print(path)
    for goal in goals(results):
        print(f"{report.WORDS[goal.met]:>10}  {goal.what}: {goal.measured} (goal: {goal.wanted})")
    failed = [absent for absent in results.absent if absent.why.startswith("it failed")]
    return 1 if any(absent.title.startswith("envpack") for absent in failed) else 0


def say(text: str) -> None:
    print(f"{datetime.now(timezone.utc):%H:%M:%S} {text}", flush=True)


def run(rounds: int, quick: bool, only: list[str] | None) -> Results:
    """Measure everything, or what is asked for."""
    begun = time.monotonic()
    size = growth.QUICK if quick else growth.WHOLE
    say("stand-ins, locks, the image that others pack")
    more = [] if only and "growth" not in only else [generated.packages(size.most, size.files)]
    with scene.prepared(rounds, more) as made, _daemon(quick, only) as daemon:
        entries = [*ours.contestants(made), *peers.contestants(made, daemon)]
        chosen = list(_chosen(entries, quick, only))
        rows, absent = play([c for c in chosen if isinstance(c, Contestant)], rounds, made.folder, say)
        absent += [c for c in chosen if isinstance(c, Absent)]
        imported: list[imports.ImportRow] = []
        if not only or "import" in only:
            places, missing = _places(made)
            absent += missing
            times = rounds if quick else IMPORT_ROUNDS
            imported, failed = imports.measure_imports(places, times, made.folder, say)
            absent += failed
        cache = ours.inodes(made, "sif-cold") if made.cache("sif-cold").exists() else {}
        contents: dict[int, tuple[int, int]] = {}
        if more:
            grown, failed = play(list(growth.contestants(made, size, contents)), rounds, made.folder, say)
            absent += failed
        return Results(
            date=f"{datetime.now(timezone.utc):%Y-%m-%d}",
            seconds=time.monotonic() - begun,
            rounds=rounds,
            quick=quick,
            machine={**machine.describe(made.folder), **squashfuse.described()},
            rows=rows,
            absent=absent,
            imports=imported,
            growth=growth.points(grown, contents) if more else [],
            cache=cache,
            packages=len(made.packages("data")),
            work={} if only and "work" not in only else work.measure(made),
        )


def _chosen(
    entries: Iterable[Contestant | Absent], quick: bool, only: list[str] | None
) -> Iterator[Contestant | Absent]:
    for entry in entries:
        if isinstance(entry, Absent):
            if not only:
                yield entry
        elif only and not entry.key.startswith(tuple(only)):
            continue
        elif quick and not only and (not entry.key.startswith(QUICK) or entry.rounds == peers.SLOW):
            yield Absent(entry.title, "it takes long, and --quick was asked for")
        else:
            yield entry


@contextmanager
def _daemon(quick: bool, only: list[str] | None) -> Iterator[docker.Docker | Absent]:
    wanted = any("docker".startswith(o) or o.startswith("docker") for o in only) if only else not quick
    if not wanted or not shutil.which("docker", path=docker.PATH):
        yield Absent("docker build", "there is no docker" if wanted else "--quick was asked for")
        return
    try:
        running = docker.daemon()
        started = running.__enter__()
    except StandInError as reason:
        yield Absent("docker build", str(reason))
        return
    try:
        yield started
    finally:
        running.__exit__(None, None, None)


def _places(made: Scene) -> tuple[list[Place], list[Absent]]:
    """From where to import: through each squashfuse, the first of which goals are judged by."""
    image = made.made / "first.sif"
    files = {
        "squashfuse": ("envpack's SIF", image),
        "gzip": ("envpack's SIF, gzip", made.made / "sif-gzip-cold.sif"),
        "apptainer": ("apptainer's default image", made.folder / "apptainer" / "apptainer.sif"),
        "mksquashfs": ("mksquashfs with our options", made.made / "mksquashfs.sqfs"),
    }
    ways, absent = imports.mounting()
    places = [Place("folder", "a folder on the local disk", made.tree, "folder")]
    for way in ways:
        if way == "kernel":
            places.append(Place("kernel", "envpack's SIF, mounted by the kernel", image, way))
            continue
        name = imports.title(way)
        for key, (title, path) in files.items():
            unique = key if way is ways[0] else f"{key}, {name}"
            places.append(Place(unique, f"{title}, through {name}", path, way))
    return [place for place in places if place.path.exists()], absent


if __name__ == "__main__":
    sys.exit(main())
