"""``lockfiles/`` and ``recipes/`` of this repository are what envpack makes today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envpack import pipeline
from envpack.config import Config

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "lockfiles").glob("*.conda-lock.yml"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name.partition(".")[0])
def test_recipes_are_written_again_byte_for_byte(lock: Path, tmp_path: Path) -> None:
    (tmp_path / "lockfiles").mkdir()
    shutil.copy(lock, tmp_path / "lockfiles")
    written = pipeline.recipe(directory=tmp_path, config=Config(tmp_path / "cache"))
    committed = ROOT / "recipes" / written.name
    found = {path.name: path.read_bytes() for path in written.files}
    assert found == {path.name: path.read_bytes() for path in committed.iterdir()}, (
        "run `nox -s update_recipes`, and look at the difference"
    )


def test_there_is_an_example() -> None:
    assert "data-stack.conda-lock.yml" in [lock.name for lock in LOCKS]
