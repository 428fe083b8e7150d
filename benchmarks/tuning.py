"""What an image's making costs and gives: compression, blocks, bytecode, stripping, file order, fragments.

The report is ``docs/tuning.md``. The same data stack and stand-ins as in :mod:`benchmarks.run`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone

from benchmarks import imports, machine, scene, squashfuse, tuning_report, variants
from benchmarks.contest import Absent, Contestant, play
from benchmarks.imports import Place
from benchmarks.measure import Command, CommandFailed
from benchmarks.peers import mksquashfs
from benchmarks.run import ROOT, say
from benchmarks.scene import Scene
from benchmarks.tuning_report import Image, Tuning
from benchmarks.variants import Variant
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
# Of each, a tree packed by mksquashfs with and without fragments, for envpack always makes them.
FRAGMENTS = [Options("zstd", 3, 128 * KIB), Options("zstd", 3, 1024 * KIB)]
# The tables beside the grid. Each begins with the tree as it is, which is called there what matters there.
TABLES = {
    "bytecode": ("unchecked-hash bytecode, as built", variants.BYTECODE),
    "stripping": ("nothing stripped", variants.STRIPPING),
    "order": ("by path", variants.ORDER),
    "fragments": ("fragments as by default", variants.FRAGMENTS),
}
# With --quick: two rows of the grid, and these.
QUICK = [DEFAULT, Options("zstd", 1, 128 * KIB)]
QUICK_VARIANTS = ("tree", "stale", "no-tests", "imported-first", "no-fragments")
# The scene's own image, which envpack built with its defaults.
OURS = "ours"


def main() -> int:
    """Measure and write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of builds; default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="some rows, one round, report in .benchmarks")
    parser.add_argument(
        "--only", action="append", choices=["grid", *TABLES], help="a table; again for more; in .benchmarks"
    )
    options = parser.parse_args()
    try:
        squashfuse.programs()
    except ValueError as reason:
        parser.error(str(reason))
    rounds, import_rounds = (1, 1) if options.quick else (options.rounds, IMPORT_ROUNDS)
    tuning = run(options.only or ["grid", *TABLES], rounds, import_rounds, options.quick)
    RAW.parent.mkdir(exist_ok=True)
    RAW.write_text(json.dumps(asdict(tuning), indent=1))
    output = (RAW.parent if options.quick or options.only else ROOT / "docs") / "tuning.md"
    output.write_text("\n".join([*tuning_report.report(tuning), ""]))
    print(output)
    return 1 if tuning.failures else 0


def run(wanted: Collection[str], rounds: int, import_rounds: int, quick: bool) -> Tuning:
    """Make the images of all wanted tables, then import from each in turn."""
    begun = time.monotonic()
    with scene.prepared(0, []) as made:
        grid, absent = _grid(made, rounds, quick) if "grid" in wanted else ([], [])
        tables: dict[str, list[Image]] = {}
        built: dict[str, Image] = {}
        for name in (name for name in TABLES if name in wanted):
            first, others = TABLES[name]
            chosen = [variants.AS_IT_IS, *others]
            if quick:
                chosen = [variant for variant in chosen if variant.key in QUICK_VARIANTS]
            absent += _build(made, [variant for variant in chosen if variant.key not in built], built)
            tables[name] = [built[variant.key] for variant in chosen if variant.key in built]
            if variants.AS_IT_IS.key in built:
                tables[name][0] = replace(tables[name][0], title=_title(first))
        if "order" in tables:
            size = (made.made / "first.sif").stat().st_size
            files = variants.count(made.tree)
            tables["order"].append(
                Image(OURS, "envpack's SIF, package by package", size, files, default=True)
            )
        ways, missing = imports.mounting()
        images = {image.key: image for rows in (grid, *tables.values()) for image in rows} | built
        places = [Place("folder", "a folder on the local disk", made.tree, "folder")]
        for image in images.values():
            path = made.made / ("first.sif" if image.key == OURS else f"{image.key}.image")
            for way in ways:
                through = imports.title(way)
                places.append(Place(f"{image.key}/{through}", f"{image.title}, {through}", path, way))
        measured, broken = imports.measure_imports(places, import_rounds, made.folder, say)
        return Tuning(
            date=f"{datetime.now(timezone.utc):%Y-%m-%d}",
            seconds=time.monotonic() - begun,
            rounds=rounds,
            machine={**machine.describe(made.folder), **squashfuse.described()},
            ways=[imports.title(way) for way in ways],
            grid=grid,
            tables=tables,
            imports={row.key: row for row in measured},
            absent=[*absent, *missing, *broken],
        )


def _grid(made: Scene, rounds: int, quick: bool) -> tuple[list[Image], list[Absent]]:
    entries = [(options, _ours(made, options)) for options in (QUICK if quick else GRID)]
    for options in [] if quick else FRAGMENTS:
        entries += [(options, _theirs(made, options, more)) for more in ([], ["-no-fragments"])]
    rows, failed = play([contestant for _, contestant in entries], rounds, made.folder, say)
    images = [
        Image(
            row.key, row.title, row.size or 0,
            default=row.key == _key(DEFAULT), cost=row, block=options.block_size // KIB,
        )
        for options, contestant in entries if (row := rows.get(contestant.key))
    ]  # fmt: skip
    return images, failed


def _key(options: Options) -> str:
    return f"{options.compression}-{options.level}-{options.block_size // KIB}"


def _ours(made: Scene, options: Options) -> Contestant:
    key, project = _key(options), made.projects["data"]
    output = made.made / f"{key}.image"

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
    output = made.made / f"{key}.image"

    def start(_: int) -> Command:
        output.unlink(missing_ok=True)
        return Command([*mksquashfs(made.tree, output, options), *more])

    title = f"mksquashfs {options.compression} {options.level}, {'no' if more else 'with'} fragments"
    return Contestant(key, title, start, lambda: output.stat().st_size)


def _title(what: str) -> str:
    return f"mksquashfs of the tree, {what}"


def _build(made: Scene, chosen: Sequence[Variant], built: dict[str, Image]) -> Iterator[Absent]:
    """Make images that are not measured, and add them to ``built``; gives those that cannot be made."""
    for variant in chosen:
        title = _title(variant.title)
        if not shutil.which(variant.needs):
            yield Absent(title, f"there is no {variant.needs}")
            continue
        output = made.made / f"{variant.key}.image"
        try:
            files = variants.build(variant, made.tree, output)
        except (CommandFailed, OSError) as error:
            yield Absent(title, f"it failed: {error}")
            say(f"{title}: {error}")
            continue
        built[variant.key] = Image(variant.key, title, output.stat().st_size, files)
        say(f"{title}: {output.stat().st_size / 1e6:.1f} MB, {files} files")


if __name__ == "__main__":
    sys.exit(main())
