"""All that one run measured, and the file it is kept in between measuring and writing the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Absent, Row
from benchmarks.growth import Point
from benchmarks.imports import ImportRow
from benchmarks.measure import Cost


@dataclass(frozen=True)
class Results:
    """``cache`` is how many inodes the cache has after a cold build of so many ``packages``, by the folder at
    its top; ``seconds`` is what the whole run took; ``work`` is what parts of a cold build take alone.
    """

    date: str
    seconds: float
    rounds: int
    quick: bool
    machine: dict[str, str]
    rows: dict[str, Row]
    absent: list[Absent]
    imports: list[ImportRow]
    growth: list[Point]
    cache: dict[str, int]
    packages: int
    work: dict[str, float]

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        plain = json.loads(path.read_text())
        plain["rows"] = {key: _row(row) for key, row in plain["rows"].items()}
        plain["absent"] = [Absent(**absent) for absent in plain["absent"]]
        plain["imports"] = [ImportRow(**row) for row in plain["imports"]]
        plain["growth"] = [
            Point(**{**point, "cold": _row(point["cold"]), "cached": _row(point["cached"])})
            for point in plain["growth"]
        ]
        return cls(**plain)


def _row(plain: dict[str, Any]) -> Row:
    return Row(**{**plain, "costs": [Cost(**cost) for cost in plain["costs"]]})
