"""The report of a tuning run: ``docs/tuning.md``. All numbers in it are measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import imports
from benchmarks.contest import Absent, Row
from benchmarks.goals import MIB
from benchmarks.imports import ImportRow
from benchmarks.report import table

# What a table is about; what follows from it, as far as that does not depend on the numbers.
HEADINGS = {
    "bytecode": "Bytecode",
    "stripping": "Stripping",
    "order": "Order of files",
    "fragments": "Fragments",
}
ABOUT = {
    "bytecode": (
        "Images have unchecked-hash bytecode (PEP 552), which python takes without a look at its source. In "
        "the other rows it is of another kind, everything else being the same. In an image, python cannot "
        "keep what it compiles: it compiles stale and missing bytecode at every import."
    ),
    "stripping": (
        "envpack strips nothing: an image is the environment, file for file, so that what works in the one "
        "works in the other, and tests, compilers, debuggers and `conda list` find what they look for. The "
        "table is what could be won by a user who knows that nobody will look. The stand-ins are made of "
        "wheels, which have few static libraries, headers and manuals; conda-forge's packages have more."
    ),
    "order": (
        "envpack writes package by package, for each is a segment of its cache. An order by imports is that "
        "of one program: here, of the one that is measured."
    ),
    "fragments": (
        "Files smaller than a block share blocks, called fragments, and are compressed together. envpack "
        "does so within each package. `-always-use-fragments` does it with the ends of larger files, too."
    ),
}


@dataclass(frozen=True)
class Image:
    """``cost`` is what making it took, if that was measured; ``block`` is in KiB."""

    key: str
    title: str
    size: int
    files: int = 0
    default: bool = False
    cost: Row | None = None
    block: int = 0


@dataclass(frozen=True)
class Tuning:
    """What a run measured: ``imports`` by ``folder`` and by ``IMAGE/WAY``, where the ways are those that this
    machine has, the one that goals are judged by first.
    """

    date: str
    seconds: float
    rounds: int
    machine: dict[str, str]
    ways: list[str]
    grid: list[Image]
    tables: dict[str, list[Image]]
    imports: dict[str, ImportRow]
    absent: list[Absent]

    @property
    def findings(self) -> dict[str, Absent]:
        """Imports that failed from images in which something is changed: a result, by key."""
        changed = {image.key for images in self.tables.values() for image in images[1:] if not image.default}
        return {absent.key: absent for absent in self.absent if absent.key.partition("/")[0] in changed}

    @property
    def failures(self) -> list[Absent]:
        """What ought to have worked."""
        failed = [absent for absent in self.absent if absent.why.startswith("it failed")]
        return [absent for absent in failed if absent.key not in self.findings]


def report(tuning: Tuning) -> Iterator[str]:
    """The lines of the report."""
    folder = tuning.imports.get("folder")
    yield "# Tuning"
    yield ""
    yield (
        f"Written by `nox -s tuning`, {tuning.date}, in {tuning.seconds / 60:.0f} minutes. "
        f"The data stack with its base, as in the benchmarks: medians of {tuning.rounds} builds and of "
        f"{len(folder.cold) if folder else 0} imports (`{imports.PROGRAM}`), each in turn. "
        "Builds are cold: archives downloaded, nothing made of them. Imports are cold with an empty page "
        "cache and a new mount, warm right after that. **Bold** is what `envpack build` does by default."
    )
    yield ""
    yield from table(["", ""], [[name, value] for name, value in tuning.machine.items()])
    yield ""
    if folder:
        cold, warm = folder.medians
        yield f"From the same files in a folder on the local disk: {cold:.2f} s cold, {warm:.2f} s warm."
        yield ""
    mounted = [column for way in tuning.ways for column in (f"{way} cold s", "to a folder", "warm s")]
    if tuning.grid:
        yield "## Compression and blocks"
        yield ""
        head = ["compression", "block KiB", "build s", "CPU s", "peak MiB", "MB", *mounted]
        rows = [[*_built(image), *_imported(tuning, image)] for image in tuning.grid]
        yield from table(head, rows, len(head) - 1)
        yield ""
    for name, images in tuning.tables.items():
        yield f"## {HEADINGS[name]}"
        yield ""
        yield ABOUT[name]
        yield ""
        head = ["image", "MB", "files", *mounted]
        cells = [
            [_title(image), f"{image.size / 1e6:.1f}", f"{image.files:,}", *_imported(tuning, image)]
            for image in images
        ]
        yield from table(head, cells, len(head) - 1)
        yield ""
        yield from _to_first(tuning, images)
    if not_run := [absent for absent in tuning.absent if absent.key not in tuning.findings]:
        yield "## Not run"
        yield ""
        for absent in not_run:
            yield f"- {absent.title}: {' '.join(absent.why.split())[:300]}"
        yield ""


def _title(image: Image) -> str:
    return f"**{image.title}**" if image.default else image.title


def _built(image: Image) -> list[str]:
    cost = image.cost
    shown = [f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{cost.memory / MIB:.0f}"] if cost else ["–"] * 3
    return [_title(image), str(image.block), *shown, f"{image.size / 1e6:.1f}"]


def _imported(tuning: Tuning, image: Image) -> Iterator[str]:
    folder = tuning.imports.get("folder")
    for way in tuning.ways:
        row = tuning.imports.get(f"{image.key}/{way}")
        if row is None:
            yield from ["fails" if f"{image.key}/{way}" in tuning.findings else "–"] * 3
            continue
        cold, warm = row.medians
        yield from (f"{cold:.2f}", f"{cold / folder.medians[0]:.2f}" if folder else "–", f"{warm:.2f}")


def _to_first(tuning: Tuning, images: list[Image]) -> Iterator[str]:
    """Each image's size and cold import, as ratios to the first."""
    if not tuning.ways or len(images) < 2:
        return
    way, first = tuning.ways[0], images[0]
    yield f"Size, and cold import through {way}, as ratios to {first.title}:"
    yield ""
    for image in images[1:]:
        import_ = _to(tuning, f"{image.key}/{way}", f"{first.key}/{way}")
        yield f"- {_title(image)}: {image.size / first.size:.3f} ×, {import_}"
    yield ""


def _to(tuning: Tuning, key: str, first: str) -> str:
    if key in tuning.findings:
        why = tuning.findings[key].why
        # Where it began; packages say more behind it.
        error = re.search(r"^\w+Error: .*", why, re.MULTILINE)
        return f"the import fails: {error[0] if error else why.splitlines()[-1]}"
    rows = tuning.imports
    if key not in rows or first not in rows:
        return "not measured"
    return f"{rows[key].medians[0] / rows[first].medians[0]:.2f} ×"
