"""What the benchmarks compute: medians, turns, goals, growth; processes are measured with their children."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import generated, plot, report
from benchmarks.contest import Absent, Contestant, Row, play, schedule
from benchmarks.goals import goals, slopes
from benchmarks.growth import Point
from benchmarks.imports import ImportRow
from benchmarks.measure import Command, CommandFailed, Cost, measure
from benchmarks.results import Results

MIB = 1 << 20
# A child that has 100 MiB, uses the processor and makes three files, all gone at the end.
CHILD = """
import os, time
held = bytearray(os.urandom(1 << 20)) * 100
for n in range(3): open(str(n), "w").close()
until = time.process_time() + 0.3
while time.process_time() < until: pass
time.sleep(0.2)
for n in range(3): os.unlink(str(n))
"""
PARENT = (
    f"import subprocess, sys; held = b'x' * (50 << 20); subprocess.run([sys.executable, '-c', {CHILD!r}])"
)


def row(key: str, *walls: float, memory: int = 100 * MIB, size: int = 100) -> Row:
    costs = [Cost(wall, wall, memory, 12) for wall in walls]
    return Row(key, key, costs=costs, sizes=[size] * len(walls), kept=[10] * len(walls))


def point(packages: int, wall: float, memory: int) -> Point:
    cold = row("cold", wall, memory=memory)
    return Point(packages, packages * 400, packages * 1000, cold, row("cached", wall / 4, memory=memory // 2))


@pytest.fixture
def results() -> Results:
    """A run in which every goal is met, just so."""
    rows = [
        row("sif-cold", 6.0, 5.9, 100.0), row("sif-cached", 0.6), row("sif-changed", 1.9), row("own", 1.0),
        row("cp", 0.15), row("rattler", 10.0), row("rattler-bytecode", 10.0), row("apptainer", 90.0),
    ]  # fmt: skip
    return Results(
        date="2026-01-01", seconds=60, rounds=3, quick=False, machine={"kernel": "Linux"},
        rows={r.key: r for r in rows}, absent=[Absent("docker", "there is none")],
        imports=[
            ImportRow("folder", "folder", [1.0], [1.0]),
            ImportRow("squashfuse", "fuse", [1.3], [1.0], "fuse 5"),
        ],
        growth=[point(n, n / 10, peak * MIB) for n, peak in ((10, 90), (20, 100), (40, 100), (80, 110))],
        cache={"archives": 11, "segments": 11}, packages=10, work={"hashed": 0.25, "compressed": 1.5},
    )  # fmt: skip


def test_goals_that_are_met(results: Results) -> None:
    assert {goal.what: goal.met for goal in goals(results)} == {goal.what: True for goal in goals(results)}
    assert len(goals(results)) == 12
    assert any(goal.measured.endswith("(1.30 s to 1.00 s; fuse 5)") for goal in goals(results))


def test_goals_that_are_missed(results: Results) -> None:
    slow = {
        "sif-cold": row("sif-cold", 6.1, memory=201 * MIB, size=101),
        "sif-cached": row("sif-cached", 0.61),
    }
    worse = replace(
        results,
        rows={**results.rows, **slow, "sif-changed": row("sif-changed", 1.92)},
        imports=[results.imports[0], ImportRow("squashfuse", "fuse", [1.31], [1.0])],
        growth=[*results.growth[:3], point(80, 20, 111 * MIB)],
        cache={"archives": 20, "segments": 11},
    )
    assert not any(goal.met for goal in goals(worse))
    assert all(goal.met is False for goal in goals(worse))


def test_goals_without_measurements_are_neither(results: Results) -> None:
    nothing = replace(results, rows={}, imports=[], growth=[], cache={})
    assert {goal.met for goal in goals(nothing)} == {None}


def test_a_straight_line_has_one_slope() -> None:
    assert slopes([(1, 3), (2, 5), (8, 17)]) == [2, 2]
    assert slopes([(1, 3), (2, 12), (4, 48)]) == [9, 18]


def test_median_of_times_and_highest_peak() -> None:
    found = Row("a", "a", costs=[Cost(3, 1, 5, 9), Cost(1, 1, 7, 9), Cost(2, 1, 6, 9)], kept=[4, 4, 4])
    assert (found.wall, found.spread, found.memory, found.temporary) == (2, (1, 3), 7, 5)


def test_every_other_round_goes_backwards() -> None:
    def never(_: int) -> Command:
        raise AssertionError

    both = [Contestant("a", "a", never), Contestant("b", "b", never, rounds=2)]
    assert [(c.key, n) for c, n in schedule(both, 3)] == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2)]


def test_children_are_measured(tmp_path: Path) -> None:
    cost = measure(Command([sys.executable, "-c", PARENT], tmp_path), tmp_path)
    assert cost.wall >= 0.5
    assert 0.3 <= cost.cpu < cost.wall + 1
    assert 150 * MIB < cost.memory < 200 * MIB


def test_who_fails_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    def run(code: int) -> Contestant:
        command = Command([sys.executable, "-c", f"print('words'); raise SystemExit({code})"])
        return Contestant(str(code), f"exit {code}", lambda _: command)

    rows, failed = play([run(3), run(0)], 2, tmp_path, lambda _: None)
    assert [(key, len(r.costs)) for key, r in rows.items()] == [("0", 2)]
    assert failed[0].title == "exit 3"
    assert "ended with 3: words" in failed[0].why
    with pytest.raises(CommandFailed):
        measure(run(3).prepare(0), tmp_path)


def test_report_is_the_same_of_results_that_were_kept(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "kept" / "results.json")
    for folder, found in (("a", results), ("b", Results.load(tmp_path / "kept" / "results.json"))):
        (tmp_path / folder).mkdir()
        report.write(found, tmp_path / folder)
    for name in ("benchmarks.md", "benchmarks.svg", "growth.svg"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    text = (tmp_path / "a" / "benchmarks.md").read_text()
    assert "| sif-cold | 6.00 | 5.90 – 100.00 | 3 | 1.00 |" in text  # noqa: RUF001 as printed
    assert "- docker: there is none" in text


def test_plots_are_xml() -> None:
    drawn = ElementTree.fromstring(plot.bars("a < b", "s", [("x & y", 1.0, True), ("z", 200.0, False)]))
    assert len(drawn.findall("{*}rect")) == 3
    ElementTree.fromstring(plot.lines("a", "x", "y", [("one", plot.OURS, [(1, 1), (2, 2)])]))


def test_generated_packages_are_files_that_differ() -> None:
    first, second = (dict(generated._files(number, 10)) for number in (0, 1))
    assert len(first) == len(second) == 20
    contents = [file.data for file in (*first.values(), *second.values())]
    assert len(set(contents)) == 40
    assert dict(generated._files(0, 10)) == first
