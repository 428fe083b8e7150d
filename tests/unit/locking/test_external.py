"""A solver of the user's: a program that answers as conda does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from envpack.config import Config
from envpack.errors import EnvpackError, NetworkError, ProgramError, SolveError
from envpack.locking.external import ExternalSolver
from envpack.spec import Requirement

PACKAGE = {
    "name": "a",
    "version": "1.0",
    "build": "h0_0",
    "url": "https://host/c/noarch/a-1.0-h0_0.conda",
    "md5": "0" * 32,
    "sha256": "1" * 64,
    "size": 10,
    "timestamp": 1_700_000_000_123,
    "depends": ["b"],
}
OLD = {**PACKAGE, "name": "b", "timestamp": 1_300_000_000, "depends": []}


def program(folder: Path, body: str) -> Path:
    """A program that runs ``body`` and leaves beside itself what it was asked."""
    path = folder / "conda"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"asked = {{'args': sys.argv[1:], 'env': dict(os.environ)}}\n"
        f"open({str(folder / 'asked.json')!r}, 'w').write(json.dumps(asked))\n"
        f"{body}\n",
        "utf-8",
    )
    path.chmod(0o755)
    return path


def answering(folder: Path, answer: object, code: int = 0, said: str = "") -> Path:
    return program(
        folder, f"print('noise'); print({json.dumps(answer)!r}); sys.stderr.write({said!r}); sys.exit({code})"
    )


def solver(path: Path, config: Config) -> ExternalSolver:
    return ExternalSolver(path, ["conda-forge", "https://host/c"], [Requirement("a >=1,<2")], config)


def test_its_answer_is_read(tmp_path: Path, config: Config) -> None:
    path = answering(tmp_path, {"success": True, "actions": {"FETCH": [OLD, PACKAGE], "LINK": []}})
    a, b = solver(path, config).solve("linux-64", "2.31")
    assert (a.name, a.version, a.build, a.sha256, a.timestamp) == (
        "a",
        "1.0",
        "h0_0",
        "1" * 64,
        1_700_000_000,
    )
    assert (b.name, b.timestamp) == ("b", 1_300_000_000)


def test_what_it_is_asked(tmp_path: Path, config: Config) -> None:
    path = answering(tmp_path, {"actions": {"FETCH": [PACKAGE]}})
    solver(path, config).solve("linux-aarch64", "2.31")
    asked = json.loads((tmp_path / "asked.json").read_text("utf-8"))
    assert asked["args"][0] == "create"
    assert {"--dry-run", "--json", "--override-channels"} < set(asked["args"])
    assert asked["args"][-5:] == [
        "--channel",
        "https://conda.anaconda.org/conda-forge",
        "--channel",
        "https://host/c",
        "a >=1,<2",
    ]
    env = asked["env"]
    assert env["CONDA_SUBDIR"] == "linux-aarch64"
    assert env["CONDA_OVERRIDE_GLIBC"] == "2.31"
    assert env["CONDA_OVERRIDE_ARCHSPEC"] == "aarch64"
    assert env["CONDA_OVERRIDE_CUDA"] == ""


@pytest.mark.parametrize(
    ("answer", "code", "said", "error", "text"),
    [
        ({"success": False, "message": "a conflict\n└─ a"}, 1, "", SolveError, "└─ a"),
        ({"solver_problems": ["nothing provides x"]}, 1, "", SolveError, "nothing provides x"),
        ({"message": "HTTP 503 Service Unavailable"}, 1, "", NetworkError, "(503)"),
        ("?", 1, "Traceback: boom", ProgramError, "boom"),
        ("?", 0, "", ProgramError, "no answer"),
        (
            {"actions": {"LINK": [{"name": "a"}], "FETCH": []}},
            0,
            "",
            ProgramError,
            "without a description: a",
        ),
        ({"actions": {"FETCH": [{"name": "a"}]}}, 0, "", ProgramError, "no answer"),
        ({"actions": []}, 0, "", ProgramError, "no answer"),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path,
    config: Config,
    answer: object,
    code: int,
    said: str,
    error: type[EnvpackError],
    text: str,
) -> None:
    path = answering(tmp_path, answer, code, said)
    with pytest.raises(error) as caught:
        solver(path, config).solve("linux-64", "2.31")
    assert text in str(caught.value)
    if error is SolveError:
        assert "Leave --solver away" in (caught.value.hint or "")


def test_a_program_that_is_not_there(tmp_path: Path, config: Config) -> None:
    with pytest.raises(ProgramError, match="cannot start"):
        solver(tmp_path / "none", config).solve("linux-64", "2.31")
