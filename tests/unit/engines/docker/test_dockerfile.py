"""Instructions and their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.engines.docker.dockerfile import in_stage, instructions, read
from envpack.errors import EngineError
from tests.unit.engines.docker.conftest import DOCKERFILE


def test_lines_and_numbers() -> None:
    found = instructions(DOCKERFILE)
    assert [(i.line, i.text.split()[0], i.number, i.total) for i in found] == [
        (3, "FROM", 1, 7),
        (5, "ADD", 2, 7),
        (7, "RUN", 3, 7),
        (11, "FROM", 4, 7),
        (12, "COPY", 5, 7),
        (13, "ENV", 6, 7),
        (15, "CMD", 7, 7),
    ]


def test_comments_in_a_continued_line_are_no_part_of_it() -> None:
    assert instructions(DOCKERFILE)[2].text == (
        "RUN sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt/build/miniforge.sh -b -p /opt/conda"
    )


def test_buildkit_counts_what_makes_layers_in_each_stage() -> None:
    found = instructions(DOCKERFILE)
    assert [(i.stage, i.place) for i in found] == [
        ("build", 1), ("build", 2), ("build", 3), ("stage-1", 1), ("stage-1", 2), ("stage-1", None),
        ("stage-1", None),
    ]  # fmt: skip
    copied = in_stage(found, "stage-1", 2)
    assert copied is not None
    assert copied.line == 12
    assert in_stage(found, "stage-1", 9) is None


def test_titles_are_short_and_hold_no_secrets() -> None:
    [one] = instructions("ADD https://me:secret@example.org/t/token/miniforge.sh?key=1 /opt/x\n")
    assert one.title == "Step 1/1: ADD https://example.org/t/…/miniforge.sh?… /opt/x"
    [two] = instructions("RUN " + "x" * 200)
    assert two.short == "RUN " + "x" * 56 + " …"


def test_a_file_that_ends_in_the_middle() -> None:
    [one] = instructions("RUN a \\\n")
    assert one.text == "RUN a"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot read the recipe"):
        read(tmp_path / "Dockerfile")
