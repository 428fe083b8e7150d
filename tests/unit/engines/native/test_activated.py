"""Activation scripts of packages become variables of the image, or are left to the entry point."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envpack import platforms
from envpack.engines.native.activated import Activated, evaluated
from envpack.entry import Entry, decode_path, directory, file, symlink
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.options import DEFAULT
from envpack.formats.squashfs.segment import write_segment
from envpack.image import Digest, parse_reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin
from envpack.recipe import Recipe

FOLDER = "opt/env/etc/conda/activate.d"


def activated(folder: Path, *entries: Entry) -> tuple[Activated, Ledger]:
    base = BasePin(parse_reference("debian:12"), Digest("sha256:" + "b" * 64), "2.36")
    recipe = Recipe("x", platforms.get("linux-64"), base, "/opt/env", 0)
    segment, ledger = folder / "segment", Ledger()
    with segment.open("w+b") as out, ThreadPoolExecutor(1) as pool:
        write_segment(entries, out, DEFAULT, pool)
    paths = [entry.path for entry in entries]
    made = evaluated(recipe, paths, [Segment.open(segment)], {"CONDA_PREFIX": "/opt/env"})
    made.report(ledger)
    return made, ledger


def test_scripts_see_what_those_before_them_set(tmp_path: Path) -> None:
    made, ledger = activated(
        tmp_path,
        directory("opt/env/share/gdal"),
        symlink("opt/env/data", "share"),
        file(f"{FOLDER}/b.sh", b'[ -d "$DATA/" ] && export FOUND=yes'),
        file(f"{FOLDER}/a.sh", b'export DATA="$CONDA_PREFIX/data/gdal"'),
        file(f"{FOLDER}/a.fish", b"export A=1"),
        file("opt/env/etc/conda/deactivate.d/a.sh", b"unset DATA"),
    )
    assert made == Activated({"DATA": "/opt/env/data/gdal", "FOUND": "yes"}, ())
    assert not len(ledger)


@pytest.mark.parametrize(
    "script",
    [
        b"export A=$(date)",
        b"[ -d /proc/driver/nvidia ] && export A=1",
        b"[ -d /opt/env/../../proc ] || export A=1",
        b"export A=\xff",
        b"# " + b"x" * (1 << 16),
    ],
)
def test_what_does_more_is_left_to_the_entry_point(tmp_path: Path, script: bytes) -> None:
    made, ledger = activated(tmp_path, file(f"{FOLDER}/x.sh", script), file(f"{FOLDER}/y.sh", b"export B=1"))
    assert made == Activated({"B": "1"}, (f"/{FOLDER}/x.sh",))
    [finding] = ledger
    assert finding.subject == f"/{FOLDER}/x.sh"
    assert "entrypoint.sh" in str(finding.remedy)


@pytest.mark.parametrize("name", [b"a\nb.sh", b"\xff.sh"])
def test_names_that_no_script_can_hold(tmp_path: Path, name: bytes) -> None:
    made, _ = activated(tmp_path, file(f"{FOLDER}/{decode_path(name)}", b"export A=1"))
    assert made == Activated({}, None)


def test_no_scripts(tmp_path: Path) -> None:
    assert activated(tmp_path, directory("opt"))[0] == Activated({}, ())
