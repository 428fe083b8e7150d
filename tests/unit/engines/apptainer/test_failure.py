"""What a failed build is told as: from Apptainer's own output, recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.engines.apptainer.facts import Program
from envpack.engines.apptainer.failure import failure
from envpack.engines.apptainer.transcript import Transcript
from envpack.errors import EnvpackError
from envpack.progress import Quiet
from tests.unit.engines.apptainer.said import DEFINITION, FAILURES, TRACES

APPTAINER = Program(Path("/usr/bin/apptainer"), "apptainer", (1, 4, 5))


def told(tmp_path: Path, said: str, program: Program = APPTAINER) -> EnvpackError:
    path = tmp_path / "Apptainer.def"
    path.write_text(DEFINITION)
    with Transcript(Quiet()) as transcript:
        for line in said.splitlines():
            transcript.line(line)
    return failure(program, path, transcript, 255)


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str, tmp_path: Path) -> None:
    said, kind, line, what, hint = FAILURES[name]
    error = told(tmp_path, said)
    assert type(error).__name__ == kind
    assert error.where is not None
    assert (error.where.file, error.where.line) == (str(tmp_path / "Apptainer.def"), line)
    assert what in error.what
    assert hint in (error.hint or "")
    shown = (error.why or "").splitlines()
    assert shown[-1] == said.splitlines()[-1]
    assert 1 <= len(shown) <= 15


def test_singularity_s_own_words(tmp_path: Path) -> None:
    program = Program(Path("/usr/bin/singularity"), "singularity", (3, 8, 7))
    assert "SINGULARITY_TMPDIR" in (told(tmp_path, FAILURES["space for curl"][0], program).hint or "")
    hint = told(tmp_path, FAILURES["a login"][0], program).hint or ""
    assert "singularity remote login --username NAME docker://" in hint


def test_no_secrets(tmp_path: Path) -> None:
    said = TRACES.replace("https://example.org", "https://me:secret@example.org") + (
        "Looking in indexes: https://me:secret@pypi.example.org/simple?token=secret\n"
        "+ pip install --index-url https://me:secret@pypi.example.org/simple\n"
        "FATAL:   While performing build: while running engine: while running %post section: exit status 1"
    )
    text = str(told(tmp_path, said))
    assert "pip install --index-url https://pypi.example.org" in text
    assert ":secret@" not in text
    assert "token=" not in text


def test_a_definition_file_that_is_gone(tmp_path: Path) -> None:
    error = failure(APPTAINER, tmp_path / "nothing", Transcript(Quiet()), 1)
    assert error.why == "it said nothing"
