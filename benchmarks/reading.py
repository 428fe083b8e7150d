"""How long reading a source takes, against its parsers alone: ruamel.yaml, and packaging for pip's lines.

``python -m benchmarks.reading [FILE …]``: by default the largest file of each kind in the collection of
environment files that ``ENVPACK_CORPUS`` names. In one process, in turn, medians; no network.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from envpack import sources
from envpack.ledger import Ledger

RUNS = 9
CORPUS = Path(os.environ.get("ENVPACK_CORPUS", Path(__file__).parents[2] / "shared" / "corpus"))


def main() -> None:
    """Print a table: bytes, seconds of envpack, seconds of the parsers, the ratio."""
    files = [Path(name) for name in sys.argv[1:]] or _largest()
    if not files:
        print(f"reading sources: not run: there is no collection in {CORPUS}; name one in ENVPACK_CORPUS")
        return
    print(
        f"{'file':<40} {'bytes':>8} {'envpack':>9} {'parsers':>9} {'ratio':>6}   medians of {RUNS}, seconds"
    )
    for path in files:
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(_seconds(lambda path=path: _read(path)))  # type: ignore[misc]  # a bound default
            theirs.append(_seconds(lambda path=path: _parse(path)))  # type: ignore[misc]  # likewise
        own, other = statistics.median(ours), statistics.median(theirs)
        shown = f"{path.parent.name}/{path.name}"[-40:]
        print(f"{shown:<40} {path.stat().st_size:>8} {own:>9.4f} {other:>9.4f} {own / other:>6.2f}")


def _largest() -> list[Path]:
    found = sorted((p for p in CORPUS.glob("*/*") if p.is_file()), key=lambda p: -p.stat().st_size)
    kinds = (".yml", ".yaml"), (".txt",)
    return [path for kind in kinds for path in [p for p in found if p.suffix in kind][:1]]


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _read(path: Path) -> object:
    return sources.read(path.name, directory=path.parent, python="3.11", ledger=Ledger())


def _parse(path: Path) -> object:
    from packaging.requirements import InvalidRequirement, Requirement
    from ruamel.yaml import YAML

    if path.suffix in (".yml", ".yaml"):
        return YAML(typ="safe", pure=True).load(path.read_bytes())
    found = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            continue
    return found


if __name__ == "__main__":
    main()
