"""Starting the programs of this package, and what to say when a machine does not let them work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from envpack import process
from envpack.errors import EngineError

# Without site-packages and the user's settings, so that it starts at once and always alike.
_START = """\
import sys
from importlib import import_module
from pathlib import Path

sys.path.append(sys.argv[1])
sys.exit(import_module(sys.argv[2]).main(Path(sys.argv[3])))
"""
_PROJECT = Path(__file__).parent.parent.parent


def command(name: str, folder: Path) -> list[str | Path]:
    """The command line of this package's program ``name``, which does what is planned in ``folder``."""
    return [sys.executable, "-I", "-S", "-c", _START, _PROJECT, f"envpack.namespace.{name}", folder]


def squashfuse(image: Path, offset: int) -> tuple[str, ...]:
    """The command that mounts the squashfs at ``offset`` of ``image``, without the mount point.

    Empty where FUSE or the program is missing.
    """
    program = process.find("squashfuse_ll") or process.find("squashfuse")
    if program is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return ()
    return (str(program.absolute()), "-f", "-o", f"ro,offset={offset}", str(image))


_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Settings that keep ordinary users from making namespaces: file, the value that does, what undoes it."""


def step_failed(what: str, failed: Mapping[str, Any], otherwise: str) -> EngineError:
    """The error for a step of a program that failed.

    ``what`` could not be done; ``otherwise`` is what to do, an imperative without a full stop, where users
    may not make namespaces.
    """
    why = f"{failed['step']}: {failed['text']}"
    if failed["errno"] not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL, errno.ENOSYS):
        return EngineError(what, why=why)
    for path, value, remedy in _SWITCHES:
        with suppress(OSError):
            if Path(path).read_text().strip() == value:
                return EngineError(
                    what,
                    why=f"{why}\n{path} is {value}: users may not make namespaces on this machine",
                    hint=f"{otherwise}, or ask the administrator for `sysctl {remedy}`.",
                )
    return EngineError(
        what,
        why=f"{why}\nthe kernel, or the container that this runs in, forbids namespaces",
        hint=f"{otherwise}, or run it outside of the container (docker: --security-opt seccomp=unconfined).",
    )
