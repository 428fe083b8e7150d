"""The only place that starts a program."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from envpack.errors import ProgramError


def find(name: str) -> Path | None:
    """The program ``name`` on PATH, or ``None``."""
    found = shutil.which(name)
    return Path(found) if found else None


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: bytes | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end and give its exit code and output, whatever they are.

    Never through a shell. Raises :class:`ProgramError` when it cannot be started or takes longer than
    ``timeout`` seconds; a non-zero exit code is the caller's to judge.
    """
    try:
        return subprocess.run(
            [os.fspath(part) for part in command],
            env=env,
            cwd=cwd,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise ProgramError(f"cannot start {command[0]}", why=str(error)) from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{command[0]} did not end within {timeout:g} s") from error


def start(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program that is talked to through pipes (stdin, stdout; stderr is captured too).

    Ctrl-C on the terminal does not reach it: whoever started it ends it, in order.
    Raises :class:`ProgramError` when it cannot be started.
    """
    try:
        return subprocess.Popen(
            [os.fspath(part) for part in command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProgramError(f"cannot start {command[0]}", why=str(error)) from error


def follow(
    command: Sequence[str | Path],
    on_line: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> int:
    """Run a program to its end, with ``on_line`` told every line of its output, and give its exit code.

    Standard output and standard error are one stream; a carriage return ends a line too, so that a progress
    bar is many lines. The program is ended, with those that it started, when ``on_line`` raises or Ctrl-C
    is pressed. Raises :class:`ProgramError` when it cannot be started.
    """
    try:
        child = subprocess.Popen(
            [os.fspath(part) for part in command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProgramError(f"cannot start {command[0]}", why=str(error)) from error
    assert child.stdout is not None
    try:
        # Universal newlines: \r ends a line too.
        for line in io.TextIOWrapper(child.stdout, "utf-8", "replace", newline=None):
            on_line(line.rstrip("\n"))
        return child.wait()
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and all of its session: politely, then not."""
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGKILL, None)):
        if child.poll() is not None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)


def hand_over(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
    """Run a program with this terminal as its own and give its exit code (128 + n when signal n ended it).

    Ctrl-C belongs to the program meanwhile. Raises :class:`ProgramError` when it cannot be started.
    """
    try:
        child = subprocess.Popen([os.fspath(part) for part in command], env=env)
    except (OSError, ValueError) as error:
        raise ProgramError(f"cannot start {command[0]}", why=str(error)) from error
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code
