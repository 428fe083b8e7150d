"""What programs in namespaces of their own ask the kernel for; nothing but the standard library.

Reference: user_namespaces(7), mount_namespaces(7), pivot_root(2), mount(2), PR_SET_PDEATHSIG in prctl(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x04000000, 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE = 1 << 17, 1 << 18, 1 << 19
# Flags of a mount that a user namespace must keep when it mounts the same again (statvfs(3) to mount(2)).
KEPT_FLAGS = {
    os.ST_NOSUID: 2,
    os.ST_NODEV: 4,
    os.ST_NOEXEC: 8,
    os.ST_NOATIME: 1024,
    os.ST_NODIRATIME: 2048,
    os.ST_RELATIME: 1 << 21,
}
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203}  # glibc has no function for it
FAILED = 70
FUSE_SECONDS = 30

libc = ctypes.CDLL(None, use_errno=True)


class StepFailed(Exception):
    """A step that did not work: its name, the error number (0 where there is none) and a text."""

    def __init__(self, step: str, number: int, text: str) -> None:
        super().__init__(step, number, text)
        self.report = {"step": step, "errno": number, "text": text}


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name what is being done, for whoever reads the error."""
    try:
        yield
    except OSError as error:
        raise StepFailed(name, error.errno or 0, str(error)) from error


def map_ids(user: tuple[int, int], group: tuple[int, int]) -> None:
    """Say who (inside, outside) this process is in its new user namespace."""
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user[0]} {user[1]} 1")
    Path("/proc/self/gid_map").write_text(f"{group[0]} {group[1]} 1")


def start_squashfuse(command: list[str], target: Path, log: Path) -> int:
    """Mount the image with squashfuse; gives its process id.

    It ends with this process, whatever ends that, and has a session of its own, so that Ctrl-C in the
    terminal is not for it.
    """
    before = target.stat().st_dev
    child = os.fork()
    if child == 0:
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
            for descriptor, number in ((null, 0), (output, 1), (output, 2)):
                os.dup2(descriptor, number)
            os.execv(command[0], [*command, str(target)])  # noqa: S606 no shell is wanted
        finally:
            os._exit(FAILED)
    deadline = time.monotonic() + FUSE_SECONDS
    while target.stat().st_dev == before:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            if not ended:
                os.kill(child, signal.SIGKILL)
            text = log.read_text("utf-8", "replace").strip() if log.exists() else ""
            raise StepFailed("squashfuse", 0, text or "it did not mount the image")
        time.sleep(0.002)
    return child


def make_mount_point(target: Path, *, is_folder: bool) -> None:
    """Make an empty folder or file at ``target`` unless there is something."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        target.mkdir()
    else:
        target.touch()


def mount(source: Path | str | None, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    """The system call."""
    encoded = [None if value is None else os.fsencode(value) for value in (source, target, kind)]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), options.encode()), str(target))


def remount_read_only(target: Path) -> None:
    """Make a bind mount read-only."""
    now = os.statvfs(target).f_flag
    kept = sum(flag for known, flag in KEPT_FLAGS.items() if now & known)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def pivot_root(root: Path) -> None:
    """Make ``root``, a mount point, the root and let the old one go."""
    number = SYS_PIVOT_ROOT[os.uname().machine]
    os.chdir(root)
    # Twice the same folder: the old root is then mounted on top of the new one (pivot_root(2), NOTES).
    check(libc.syscall(ctypes.c_long(number), b".", b"."))
    check(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def check(result: int, name: str | None = None) -> None:
    """Raise the :class:`OSError` of a libc call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
