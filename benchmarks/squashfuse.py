r"""The squashfuse programs of this machine: Apptainer's, which mounts users' images, and the system's.

``ENVPACK_BENCH_SQUASHFUSE`` names commands, separated by ``;``, where they cannot be found, as when Apptainer
is in a root file system of its own::

    ROOT/usr/lib64/ld-linux-x86-64.so.2 --library-path ROOT/usr/lib/x86_64-linux-gnu \
        ROOT/usr/bin/squashfuse_ll

Each is called as ``COMMAND -o offset=N IMAGE FOLDER`` and as ``COMMAND --help``, which says its version.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine

VARIABLE = "ENVPACK_BENCH_SQUASHFUSE"


@dataclass(frozen=True)
class Squashfuse:
    """A command that mounts, its version and where it is from."""

    command: tuple[str, ...]
    version: str
    origin: str

    @property
    def title(self) -> str:
        return f"squashfuse {self.version}"


def programs() -> list[Squashfuse]:
    """One of each version; the first is the one that goals are judged by: named, else Apptainer's, else the
    system's. Raises ``ValueError`` if what the variable names is none.
    """
    found: dict[str, Squashfuse] = {}
    for command, origin in _candidates():
        if version := _version(command):
            found.setdefault(version, Squashfuse(tuple(command), version, origin))
        elif origin == VARIABLE:
            raise ValueError(f"{VARIABLE}: this says no version of squashfuse: {shlex.join(command)} --help")
    return list(found.values())


def described() -> dict[str, str]:
    """What a report says of them, beside :func:`machine.describe`."""
    found = programs()
    return {"squashfuse": ", ".join(f"{p.version} ({p.origin})" for p in found)} if found else {}


def _candidates() -> Iterator[tuple[list[str], str]]:
    for command in os.environ.get(VARIABLE, "").split(";"):
        if command.strip():
            yield shlex.split(command), VARIABLE
    if (own := _apptainers()) is not None:
        yield [str(own)], "Apptainer's"
    # As Apptainer does: the one on FUSE's low level interface is the faster.
    if system := shutil.which("squashfuse_ll") or shutil.which("squashfuse"):
        yield [system], "the system's"


def _apptainers() -> Path | None:
    """The program that Apptainer brings along; without one it takes the system's, too."""
    apptainer = machine.apptainer()
    if apptainer is None or len(apptainer) > 1:  # a wrapper: its paths may be those of another system
        return None
    said = subprocess.run([*apptainer, "buildcfg"], capture_output=True, text=True, check=False).stdout
    folder = re.search(r"^LIBEXECDIR=(.+)$", said, re.MULTILINE)
    path = Path(folder[1]) / "apptainer" / "bin" / "squashfuse_ll" if folder else None
    return path if path and os.access(path, os.X_OK) else None


def _version(command: list[str]) -> str | None:
    # Its exit code and where it prints differ between versions.
    try:
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return None
    version = re.search(r"squashfuse (\d[\w.+~-]*)", done.stdout + done.stderr)
    return version[1] if version else None
