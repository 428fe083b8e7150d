"""On what, and with which versions, something was measured."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PROGRAMS = {
    "mksquashfs": ("mksquashfs", "-version"),
    "skopeo": ("skopeo", "--version"),
    "dockerd": ("dockerd", "--version"),
}
DISTRIBUTIONS = ("py-rattler", "zstandard", "conda-pack")


def apptainer() -> list[str] | None:
    """The command that is Apptainer: ``ENVPACK_TEST_APPTAINER``, or the one on PATH."""
    command = shlex.split(os.environ.get("ENVPACK_TEST_APPTAINER", "apptainer"))
    return command if _said([*command, "--version"]) else None


def describe(folder: Path) -> dict[str, str]:
    """Name to value, in the order in which a reader wants them; ``folder`` is where the work is done."""
    return dict(_described(folder))


def _described(folder: Path) -> Iterator[tuple[str, str]]:
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    yield "machine", f"{cpus} × {_processor()}, {memory:.0f} GiB"
    yield "kernel", f"{platform.system()} {platform.release()}"
    yield "system", platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    yield "file system", _said(["stat", "--file-system", "--format=%T", str(folder)]) or "?"
    yield "python", f"{platform.python_implementation()} {platform.python_version()}"
    root = Path(__file__).parent.parent
    commit = _said(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"])
    yield "envpack", f"{metadata.version('envpack')}{f' ({commit})' if commit else ''}"
    for name in DISTRIBUTIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    programs = {name: list(command) for name, command in PROGRAMS.items()}
    if found := apptainer():
        programs["Apptainer"] = [*found, "--version"]
    for name, command in programs.items():
        if version := re.search(r"\d+\.\d+[\w.+~-]*", _said(command)):
            yield name, version[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(command: list[str]) -> str:
    """The first line that a program prints that has a number or a word; empty if there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""
