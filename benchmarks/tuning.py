"""What compression, level, block size and fragments cost and give: build time, size, import.

The report is ``docs/tuning.md``. The same data stack and stand-ins as in :mod:`benchmarks.run`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import imports, machine, scene
from benchmarks.contest import Contestant, Row, play
from benchmarks.goals import MIB
from benchmarks.imports import ImportRow, Place
from benchmarks.measure import Command
from benchmarks.peers import mksquashfs
from benchmarks.report import table
from benchmarks.run import ROOT, say
from benchmarks.scene import Scene
from envpack.formats.squashfs.options import DEFAULT, Options

RAW = ROOT / ".benchmarks" / "tuning.json"
ROUNDS, IMPORT_ROUNDS = 2, 5
KIB = 1 << 10
BLOCKS = [128 * KIB, 256 * KIB, 512 * KIB, 1024 * KIB]
GRID = [
    *(Options("zstd", 3, block) for block in BLOCKS),
    *(Options("zstd", level, 1024 * KIB) for level in (1, 2, 5, 6, 9, 12)),
    *(Options("zstd", level, 128 * KIB) for level in (1, 6, 9)),
    *(Options("gzip", level, block) for level in (6, 9) for block in (128 * KIB, 1024 * KIB)),
]
QUICK = [DEFAULT, Options("zstd", 1, 128 * KIB)]
# Of each, a tree packed by mksquashfs with and without fragments, for envpack always makes them.
FRAGMENTS = [Options("zstd", 3, 128 * KIB), Options("zstd", 3, 1024 * KIB)]


@dataclass(frozen=True)
class Tuning:
    """One row: what was built, its costs, its imports through squashfuse and by the kernel."""

    title: str
    default: bool
    row: Row
    squashfuse: ImportRow | None
    kernel: ImportRow | None


def main() -> int:
    """Measure and write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="two rows, one round, report in .benchmarks")
    options = parser.parse_args()
    rounds, import_rounds = (1, 1) if options.quick else (options.rounds, IMPORT_ROUNDS)
    begun = time.monotonic()
    with scene.prepared(0, []) as made:
        contestants = list(_contestants(made, QUICK if options.quick else GRID, options.quick))
        rows, failed = play(contestants, rounds, made.folder, say)
        places = [Place("folder", "a folder on the local disk", made.tree, "folder")]
        places += [p for key in rows for p in _places(made, key) if not imports.missing(p.way)]
        measured, broken = imports.measure_imports(places, import_rounds, made.folder, say)
        imported = {row.key: row for row in measured}
        found = [
            Tuning(
                row.title, key == _key(DEFAULT), row, *(imported.get(f"{key}/{w}") for w in imports.MOUNTED)
            )
            for key, row in rows.items()
        ]
        described = machine.describe(made.folder)
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps([asdict(tuning) for tuning in found], indent=1))
    text = _report(found, imported["folder"], described, rounds, time.monotonic() - begun)
    output = (RAW.parent if options.quick else ROOT / "docs") / "tuning.md"
    output.write_text("\n".join([*text, ""]))
    print(output)
    return 1 if failed or broken else 0


def _key(options: Options) -> str:
    return f"{options.compression}-{options.level}-{options.block_size // KIB}"


def _image(made: Scene, key: str) -> Path:
    return made.made / f"{key}.image"


def _contestants(made: Scene, grid: Sequence[Options], quick: bool) -> Iterator[Contestant]:
    for options in grid:
        yield _ours(made, options)
    for options in [] if quick else FRAGMENTS:
        for more in ([], ["-no-fragments"]):
            yield _theirs(made, options, more)


def _ours(made: Scene, options: Options) -> Contestant:
    key, project = _key(options), made.projects["data"]
    output = _image(made, key)

    def start(_: int) -> Command:
        shutil.rmtree(made.cache("tuning"), ignore_errors=True)
        made.with_archives("tuning", "data")
        output.unlink(missing_ok=True)
        values = (options.compression, str(options.level), str(options.block_size))
        env = {**made.env, "ENVPACK_CACHE": str(made.cache("tuning"))}
        return Command([sys.executable, "-m", "benchmarks.build_with", project, output, *values], ROOT, env)

    return Contestant(key, f"{options.compression} {options.level}", start, lambda: output.stat().st_size)


def _theirs(made: Scene, options: Options, more: list[str]) -> Contestant:
    key = "-".join(["mksquashfs", _key(options), *more])
    output = _image(made, key)

    def start(_: int) -> Command:
        output.unlink(missing_ok=True)
        return Command([*mksquashfs(made.tree, output, options), *more])

    title = f"mksquashfs {options.compression} {options.level}, {'no' if more else 'with'} fragments"
    return Contestant(key, title, start, lambda: output.stat().st_size)


def _places(made: Scene, key: str) -> Iterator[Place]:
    for way in imports.MOUNTED:
        yield Place(f"{key}/{way}", f"{key}, {way}", _image(made, key), way)


def _report(
    found: Sequence[Tuning], folder: ImportRow, described: dict[str, str], rounds: int, seconds: float
) -> Iterator[str]:
    yield "# Tuning"
    yield ""
    yield (
        f"Written by `nox -s tuning`, {datetime.now(timezone.utc):%Y-%m-%d}, in {seconds / 60:.0f} minutes. "
        f"The data stack with its base, as in the benchmarks: medians of {rounds} builds and of "
        f"{len(folder.cold)} imports (`{imports.PROGRAM}`), each in turn. "
        "Builds are cold: archives downloaded, nothing made of "
        "them. Imports are cold with an empty page cache and a new mount, warm right after that. "
        "**Bold** is what `envpack build` does by default."
    )
    yield ""
    yield from table(["", ""], [[name, value] for name, value in described.items()])
    yield ""
    head = ["compression", "block KiB", "build s", "CPU s", "peak MiB", "MB"]
    head += ["squashfuse cold s", "to a folder", "warm s", "kernel cold s", "warm s"]
    yield from table(head, [_cells(tuning, folder) for tuning in found], len(head) - 1)
    yield ""
    cold, warm = folder.medians
    yield f"From the same files in a folder on the local disk: {cold:.2f} s cold, {warm:.2f} s warm."


def _cells(tuning: Tuning, folder: ImportRow) -> list[str]:
    row = tuning.row
    block = next(part for part in row.key.split("-") if part.isdigit() and int(part) >= BLOCKS[0] // KIB)
    cells = [
        f"**{tuning.title}**" if tuning.default else tuning.title,
        block,
        f"{row.wall:.1f}",
        f"{row.cpu:.1f}",
        f"{row.memory / MIB:.0f}",
        f"{(row.size or 0) / 1e6:.1f}",
    ]
    if tuning.squashfuse:
        cold, warm = tuning.squashfuse.medians
        cells += [f"{cold:.2f}", f"{cold / folder.medians[0]:.2f}", f"{warm:.2f}"]
    else:
        cells += ["–"] * 3
    return cells + ([f"{value:.2f}" for value in tuning.kernel.medians] if tuning.kernel else ["–"] * 2)


if __name__ == "__main__":
    sys.exit(main())
