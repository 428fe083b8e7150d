"""What running a program takes: time, processor, memory, inodes.

=========  =====================================================================================
wall       from start to end, files that wait in memory to be written not included
cpu        user and system, of the program and all it started; of ``beside`` what it used meanwhile
memory     the most that the whole process tree (and that of ``beside``) had at once: the sum of
           proportional set sizes, looked at every 50 ms, and no less than the peak of any one
           process. The page cache is not in it, as it is in a control group's ``memory.peak``
inodes     the most at once above those at the start, on the file system of ``folder``; whatever
           else writes there meanwhile counts too
=========  =====================================================================================
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A program that was measured ended with another code than 0; the message is what it said last."""


@dataclass(frozen=True)
class Command:
    """A program to run, with the variables ``env`` if given. ``beside`` is a daemon that works for it."""

    arguments: Sequence[str | Path]
    cwd: Path = Path("/")
    env: Mapping[str, str] | None = None
    beside: int | None = None


@dataclass(frozen=True)
class Cost:
    """Seconds, bytes and inodes: see the module."""

    wall: float
    cpu: float
    memory: int
    inodes: int


def measure(command: Command, folder: Path) -> Cost:
    """Run it, with everything written to disk before. Raises :class:`CommandFailed`."""
    os.sync()
    with tempfile.TemporaryFile() as output:
        used = _processor(command.beside)
        begun = time.perf_counter()
        process = subprocess.Popen(
            [str(argument) for argument in command.arguments],
            cwd=command.cwd, env=command.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        roots = [process.pid] if command.beside is None else [process.pid, command.beside]
        with _Sampler(roots, folder) as sampler:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode("utf-8", "replace").strip()[-2000:]
            raise CommandFailed(f"{Path(command.arguments[0]).name} ended with {process.returncode}: {said}")
    cpu = usage.ru_utime + usage.ru_stime + _processor(command.beside) - used
    return Cost(wall, cpu, sampler.memory, sampler.inodes)


def call(*arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program that is not measured; gives its output. Raises :class:`CommandFailed`."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip()[-2000:]
        raise CommandFailed(f"{Path(arguments[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


class _Sampler:
    """Looks at process trees until its context ends."""

    def __init__(self, roots: Sequence[int], folder: Path) -> None:
        self._roots, self._folder = roots, folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._first = _inodes(folder)
        self.memory = self.inodes = 0

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.inodes = max(self.inodes, _inodes(self._folder) - self._first)

    def _watch(self) -> None:
        while not self._end.wait(INTERVAL):
            found = [_memory(pid) for pid in tree(self._roots)]
            self.memory = max([self.memory, sum(now for now, _ in found), *(peak for _, peak in found)])
            self.inodes = max(self.inodes, _inodes(self._folder) - self._first)


def tree(roots: Sequence[int]) -> list[int]:
    """These processes and all below them."""
    children: dict[int, list[int]] = {}
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found, queue = [], list(roots)
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], ())
    return found


def _stat(pid: int) -> list[bytes]:
    """``/proc/PID/stat`` behind the name: state, parent, …; empty if it has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return []


def _processor(root: int | None) -> float:
    """Seconds used by a tree and by those of it that have ended."""
    if root is None:
        return 0.0
    return sum(int(ticks) for pid in tree([root]) for ticks in _stat(pid)[11:15]) / _TICKS


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of one process: proportional now, resident at its peak; 0 if it has gone."""
    return _kilobytes(f"/proc/{pid}/smaps_rollup", b"Pss:"), _kilobytes(f"/proc/{pid}/status", b"VmHWM:")


def _kilobytes(path: str, field: bytes) -> int:
    with suppress(OSError):
        for line in Path(path).read_bytes().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) << 10
    return 0


def _inodes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_files - state.f_ffree


def count(folder: Path) -> int:
    """How many files and folders are below ``folder``."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))
