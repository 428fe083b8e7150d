"""Programs: started without a shell, their ends told as they are."""

from __future__ import annotations

import signal
import sys
import time
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


def test_output_line_by_line() -> None:
    code = (
        "import sys; print('a'); sys.stdout.flush(); print('b\\rc', file=sys.stderr); "
        "sys.stdout.buffer.write(b'\\xff end'); sys.exit(4)"
    )
    lines: list[str] = []
    assert process.follow(python(code), lines.append) == 4
    assert lines == ["a", "b", "c", "\N{REPLACEMENT CHARACTER} end"]


def test_a_followed_program_ends_with_those_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    pids: list[int] = []

    def stop(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.follow(python(code), stop)
    (pid,) = pids
    for _ in range(100):
        if not running(pid):
            break
        time.sleep(0.1)
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether a process is there and no mere remainder of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
