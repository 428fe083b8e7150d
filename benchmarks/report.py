"""The report of a run: ``docs/benchmarks.md`` and its plots. All numbers in it are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import plot
from benchmarks.contest import Row
from benchmarks.goals import MIB, goals
from benchmarks.imports import PROGRAM
from benchmarks.measure import __doc__ as measured
from benchmarks.results import Results

WORDS = {True: "met", False: "**missed**", None: "–"}
# What is a part of something else, and would only stretch the plot.
NOT_PLOTTED = ("own", "cp-sync")


def write(results: Results, folder: Path) -> list[Path]:
    """Write ``benchmarks.md`` and what it shows into ``folder``; gives the files."""
    files = {"benchmarks.md": "\n".join([*_report(results), ""])}
    shown = [
        (row.title, row.wall, row.title.startswith("envpack"))
        for row in results.rows.values()
        if row.key not in NOT_PLOTTED
    ]
    if shown:
        files["benchmarks.svg"] = plot.bars("Time", "seconds, medians", shown)
    if results.growth:
        cold = [(point.content / 1e6, point.cold.wall) for point in results.growth]
        cached = [(point.content / 1e6, point.cached.wall) for point in results.growth]
        series = [("cold", plot.OURS, cold), ("all cached", plot.OTHERS, cached)]
        files["growth.svg"] = plot.lines("Growth", "MB in the image", "seconds", series)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> Iterator[str]:
    """A Markdown table; the last ``numbers`` columns are aligned to the right."""
    words = len(head) - numbers
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * words}{'--:|' * numbers}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"


def _report(results: Results) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield (
        f"Written by `nox -s benchmarks{' -- --quick' if results.quick else ''}`, {results.date}: "
        f"{results.rounds} rounds in {results.seconds / 60:.0f} minutes, everything in one run, every other "
        "round in reverse order. The environment is the tests' data stack (numpy, scipy, pandas, matplotlib, "
        "IPython) on a Debian base image: stand-ins for conda-forge's packages and for a registry, served on "
        "127.0.0.1."
    )
    yield ""
    yield from table(["", ""], [[name, value] for name, value in results.machine.items()])
    yield ""
    yield "## Goals"
    yield ""
    judged = [[goal.what, goal.wanted, goal.measured, WORDS[goal.met]] for goal in goals(results)]
    yield from table(["what", "goal", "measured", ""], judged)
    yield ""
    yield from _rows(results)
    yield from _work(results)
    yield from _imports(results)
    yield from _growth(results)
    if results.absent:
        yield "## Not run"
        yield ""
        for absent in results.absent:
            yield f"- {absent.title}: {' '.join(absent.why.split())[:300]}"
        yield ""
    yield "## What the columns mean"
    yield ""
    yield "```"
    yield (measured or "").strip()
    yield "```"


def _rows(results: Results) -> Iterator[str]:
    if not results.rows:
        return
    yield "## All rows"
    yield ""
    yield "![Time of all rows](benchmarks.svg)"
    yield ""
    first = results.rows.get("sif-cold")
    head = ["what", "wall s", "from – to", "rounds", "ratio", "CPU s", "peak MiB", "MB", "inodes"]
    yield from table(head, [_cells(row, first) for row in results.rows.values()], len(head) - 1)
    yield ""
    yield "Medians, but peaks are the highest of all rounds. The ratio is to envpack's cold build of a SIF."
    yield ""
    notes: dict[str, list[str]] = {}
    for row in results.rows.values():
        if row.note:
            notes.setdefault(row.note, []).append(row.title)
    for note, titles in notes.items():
        yield f"- {'; '.join(titles)}: {note}."
    yield ""


def _work(results: Results) -> Iterator[str]:
    if not results.work:
        return
    yield "## Where the time of a cold build goes"
    yield ""
    yield "Each part of the work alone, in one thread: the processor's time that no build can do without."
    yield ""
    total = sum(results.work.values())
    cells = [[what, f"{seconds:.2f}"] for what, seconds in results.work.items()]
    yield from table(["part", "s"], [*cells, ["together", f"{total:.2f}"]], 1)
    yield ""
    if (cold := results.rows.get("sif-cold")) is not None:
        yield (
            f"The cold build took {cold.cpu:.2f} s of the processors' time, {cold.wall:.2f} s on the clock: "
            "the rest is starting, the base image, and Python's own share of linking."
        )
        yield ""


def _cells(row: Row, first: Row | None) -> list[str]:
    fastest, slowest = row.spread
    return [
        row.title,
        f"{row.wall:.2f}",
        f"{fastest:.2f} – {slowest:.2f}" if len(row.costs) > 1 else "–",
        str(len(row.costs)),
        f"{row.wall / first.wall:.2f}" if first else "–",
        f"{row.cpu:.1f}",
        f"{row.memory / MIB:.0f}",
        f"{row.size / 1e6:.1f}" if row.size is not None else "–",
        f"{row.inodes:,}",
    ]


def _imports(results: Results) -> Iterator[str]:
    if not results.imports:
        return
    yield "## Import"
    yield ""
    yield (
        f"`python -c '{PROGRAM}'`, seconds, medians of {len(results.imports[0].cold)}, the whole process. "
        "Cold: the page cache is empty and the image mounted anew; warm: once more."
    )
    yield ""
    folder = next((row.medians for row in results.imports if row.key == "folder"), None)
    cells = []
    for row in results.imports:
        cold, warm = row.medians
        ratio = f"{cold / folder[0]:.2f}" if folder else "–"
        cells.append([row.title, f"{cold:.2f}", ratio, f"{warm:.2f}"])
    yield from table(["from", "cold", "to the folder", "warm"], cells, 3)
    yield ""


def _growth(results: Results) -> Iterator[str]:
    if not results.growth:
        return
    yield "## Growth"
    yield ""
    yield "Environments of generated packages: functions of the standard library, shuffled,"
    yield "in modules with bytecode. The dashed line is a time in proportion to bytes."
    yield ""
    yield "![Time over bytes](growth.svg)"
    yield ""
    head = [
        "packages",
        "files",
        "MB",
        "cold s",
        "CPU s",
        "cached s",
        "cold peak MiB",
        "cached peak MiB",
        "image MB",
    ]
    cells = [
        [
            str(point.packages), f"{point.files:,}", f"{point.content / 1e6:.0f}",
            f"{point.cold.wall:.2f}", f"{point.cold.cpu:.1f}",
            f"{point.cached.wall:.2f}", f"{point.cold.memory / MIB:.0f}", f"{point.cached.memory / MIB:.0f}",
            f"{(point.cold.size or 0) / 1e6:.1f}",
        ]
        for point in results.growth
    ]  # fmt: skip
    yield from table(head, cells, len(head))
    yield ""
