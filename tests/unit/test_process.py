"""Programs: started without a shell, their ends told as they are."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from envpack import process
from envpack.errors import ProgramError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_and_code() -> None:
    done = process.run(python("import sys; print(sys.stdin.read()); sys.exit(3)"), input=b"in")
    assert (done.returncode, done.stdout) == (3, b"in\n")


def test_no_input_is_an_empty_one() -> None:
    assert process.run(python("import sys; print(repr(sys.stdin.read()))")).stdout == b"''\n"


def test_no_shell() -> None:
    argument = "$(echo a); `b` > c"
    done = process.run([*python("import sys; print(sys.argv[1])"), argument])
    assert done.stdout.decode() == argument + "\n"


def test_environment_and_folder(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('A'), os.environ.get('HOME'), os.getcwd())"
    assert process.run(python(code), env={"A": "b"}, cwd=tmp_path).stdout.decode() == f"b None {tmp_path}\n"


def test_a_program_that_is_not_there() -> None:
    for start in (process.run, process.start, process.hand_over):
        with pytest.raises(ProgramError, match="cannot start no-such-program"):
            start(["no-such-program"])


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(ProgramError, match="cannot start"):
        process.run([program])


def test_an_argument_that_cannot_be_passed() -> None:
    for start in (process.run, process.start, process.hand_over):
        with pytest.raises(ProgramError, match="cannot start"):
            start([sys.executable, "a\0b"])


def test_a_program_that_does_not_end() -> None:
    with pytest.raises(ProgramError, match=r"did not end within 0\.2 s"):
        process.run(python("import time; time.sleep(60)"), timeout=0.2)


def test_talking_through_pipes() -> None:
    with process.start(python("print(input()[::-1])")) as child:
        out, _ = child.communicate(b"abc\n")
    assert out == b"cba\n"


def test_the_code_of_a_program_with_the_terminal() -> None:
    assert process.hand_over(python("import sys; sys.exit(7)")) == 7
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert process.hand_over(python(code)) == 128 + signal.SIGTERM


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.find("program") == program
    assert process.find("other") is None
