"""The program that becomes a container: ``python -I -S enter.py FOLDER``, started by :mod:`envpack.run`.

A program of its own with nothing but the standard library, because namespaces belong to a whole process and
because it must start at once. ``FOLDER/plan.json`` says what to do (:class:`envpack.run.namespace.Plan`);
what goes wrong before the user's program starts is written to ``FOLDER/error.json``.

    start ── user and mount namespace ── squashfuse ── mounts ── pivot_root ── wait, pass signals on
                                             │                       │
                                             └ killed at the end     └ fork ── user namespace ── the program

The new root is a small tmpfs into which the image's folders are bound read-only, one by one, so that mount
points which the image lacks (a home folder) can be made. The mounts live in the namespace and end with it.
In the first user namespace the user is root, as mounting asks for; in the second, who they were.

Reference: user_namespaces(7), mount_namespaces(7), pivot_root(2), mount(2), PR_SET_PDEATHSIG in prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
MS_UNBINDABLE, MS_SLAVE = 1 << 17, 1 << 19
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
FUSE_SECONDS = 30
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FAILED = 70
IMAGE = ".image"  # where squashfuse mounts, in the new root; gone before the program starts

libc = ctypes.CDLL(None, use_errno=True)


class StepFailed(Exception):
    """A step that did not work: its name, the error number (0 where there is none) and a text."""

    def __init__(self, step: str, number: int, text: str) -> None:
        super().__init__(step, number, text)
        self.report = {"step": step, "errno": number, "text": text}


class Mount(NamedTuple):
    """A path of the host to be bound to a path of the image, which has no ``/`` in front and no symlinks."""

    source: Path
    destination: str
    read_only: bool


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name what is being done, for whoever reads the error."""
    try:
        yield
    except OSError as error:
        raise StepFailed(name, error.errno or 0, str(error)) from error


def main(folder: Path) -> int:
    """Do what the plan in ``folder`` says; gives the program's exit code, 128 + n if signal n ended it."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    # Opened now, because the folder is out of sight after pivot_root.
    report = os.open(folder / "error.json", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    squashfuse = 0
    # The terminal sends these to the program as well; squashfuse and the mounts must outlive them.
    interrupts = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        user, group = os.geteuid(), os.getegid()
        as_root = unshare(user, group)
        root = folder / "root"
        with step("make the container's root"):
            root.mkdir()
            mount("tmpfs", root, "tmpfs", 0, "mode=755,size=16m")
            # Not copied along when a folder above it (/tmp) is bound into it.
            mount(None, root, None, MS_UNBINDABLE)
        if plan["squashfuse"]:
            image = root / IMAGE
            image.mkdir()
            squashfuse = start_squashfuse(plan["squashfuse"], image, folder / "squashfuse.log")
        else:
            image = Path(plan["unpacked"])
        furnish(root, image, plan, folder)
        with step("pivot_root"):
            pivot_root(root, hide=bool(plan["squashfuse"]))
        child = os.fork()
        if child == 0:
            for number, before in interrupts.items():
                signal.signal(number, signal.SIG_IGN if before is signal.SIG_IGN else signal.SIG_DFL)
            start(plan, None if as_root else (user, group), report)
        return wait(child)
    except StepFailed as failure:
        os.write(report, json.dumps(failure.report).encode())
        return FAILED
    finally:
        if squashfuse:
            os.kill(squashfuse, signal.SIGKILL)
            os.waitpid(squashfuse, 0)


def unshare(user: int, group: int) -> bool:
    """Leave the host's mounts, as real root if possible, else through a user namespace; gives which."""
    with step("unshare"):
        as_root = user == 0 and libc.unshare(CLONE_NEWNS) == 0
        if not as_root:
            check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
            map_ids((0, user), (0, group))
        # What the host mounts later (automounted homes) appears here too, nothing goes the other way.
        mount(None, Path("/"), None, MS_SLAVE | MS_REC)
    return as_root


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


def furnish(root: Path, image: Path, plan: dict[str, Any], folder: Path) -> None:
    """Put the image and the host's folders into the new root."""
    mounts: list[Mount] = []
    for bind in plan["binds"]:
        destination = resolve(image, bind["destination"])
        if not (bind["gives_way"] and occupied(image / destination)):
            mounts.append(Mount(Path(bind["source"]), destination, bind["read_only"]))
    with step("write the user's entries in passwd and group"):
        for name, line in plan["accounts"].items():
            destination = resolve(image, f"/etc/{name}")
            if (image / destination).is_file():
                mounts.append(Mount(account(image / destination, line, folder / name), destination, True))
    # Folders that must be real ones of the new root, because something in them has to be made.
    opened = {""}
    for mounted in mounts:
        if not (image / mounted.destination).exists() and not inside_another(mounted, mounts):
            opened |= {str(parent) for parent in Path(mounted.destination).parents if str(parent) != "."}
    with step("bind the image's folders"):
        lay(root, image, "", opened)
    for mounted in sorted(mounts, key=lambda m: m.destination):
        target = root / mounted.destination
        with step(f"bind {mounted.source} to /{mounted.destination}"):
            if not target.exists() and inside_another(mounted, mounts):
                # Making it would make it on the host, in the folder that is bound above it.
                raise FileNotFoundError(errno.ENOENT, "there is no such mount point", str(target))
            make_mount_point(target, is_folder=mounted.source.is_dir())
            mount(mounted.source, target, None, MS_BIND | MS_REC)
            if mounted.read_only:
                remount_read_only(target)


def occupied(path: Path) -> bool:
    """Whether the image has something at ``path`` that a mount would hide."""
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def resolve(image: Path, path: str) -> str:
    """Where ``path`` leads when symlinks are followed inside the image, without the leading ``/``."""
    done: list[str] = []
    left = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = image.joinpath(*done, part)
        if here.is_symlink():
            links += 1
            if links > 40:
                raise StepFailed(f"find {path} in the image", errno.ELOOP, os.strerror(errno.ELOOP))
            target = str(here.readlink())
            if target.startswith("/"):
                done = []
            left += [p for p in reversed(target.split("/")) if p not in ("", ".")]
        else:
            done.append(part)
    return "/".join(done)


def inside_another(mounted: Mount, mounts: list[Mount]) -> bool:
    """Whether the destination of ``mounted`` lies in what another mount brings."""
    return any(mounted.destination.startswith(f"{other.destination}/") for other in mounts)


def lay(root: Path, image: Path, path: str, opened: set[str]) -> None:
    """Show the image's folder ``path`` in the new root: bound, except what stands in ``opened``."""
    folder = image / path
    if not folder.is_dir():
        return
    for source in sorted(folder.iterdir()):
        inner = f"{path}/{source.name}" if path else source.name
        target = root / inner
        mode = source.lstat().st_mode
        if inner == IMAGE:
            continue
        if stat.S_ISLNK(mode):
            target.symlink_to(source.readlink())
        elif inner in opened and stat.S_ISDIR(mode):
            target.mkdir()
            target.chmod(stat.S_IMODE(mode) | 0o500)
            lay(root, image, inner, opened)
        elif stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            make_mount_point(target, is_folder=stat.S_ISDIR(mode))
            mount(source, target, None, MS_BIND)
            remount_read_only(target)


def make_mount_point(target: Path, *, is_folder: bool) -> None:
    """Make an empty folder or file at ``target`` unless there is something."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        target.mkdir()
    else:
        target.touch()


def account(file: Path, line: str, copy: Path) -> Path:
    """A copy of the image's passwd or group with ``line`` added, unless its number or name is there."""
    text = file.read_text("utf-8", "surrogateescape")
    name, _, number = line.split(":")[:3]
    known = [entry.split(":") for entry in text.splitlines()]
    if not any(fields[0] == name or fields[2:3] == [number] for fields in known):
        text = text.rstrip("\n") + f"\n{line}\n"
    copy.write_text(text, "utf-8", "surrogateescape")
    return copy


def start(plan: dict[str, Any], identity: tuple[int, int] | None, report: int) -> NoReturn:
    """In the forked process: become the user again, and become the program. Never returns."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # python ignores them, and its children would too
            signal.signal(number, signal.SIG_DFL)
        if identity and identity[0] != 0:
            with step("become the user again"):
                user, group = identity
                check(libc.unshare(CLONE_NEWUSER))
                map_ids((user, 0), (group, 0))
        for folder in (*plan["working_folders"], "/"):
            try:
                os.chdir(folder)
                break
            except OSError:
                continue
        # bash runs activation scripts that are not POSIX, too
        shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
        with step(f"start {shell}"):
            os.execve(shell, [shell, *plan["arguments"]], plan["environment"])  # noqa: S606 it is the shell
    except StepFailed as failure:
        os.write(report, json.dumps(failure.report).encode())
    finally:
        os._exit(FAILED)


def wait(child: int) -> int:
    """Wait for the program, passing signals on to it; gives its exit code, 128 + n if signal n ended it."""
    for number in FORWARDED:
        signal.signal(number, lambda got, _: os.kill(child, got))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def mount(source: Path | str | None, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    """The system call."""
    encoded = [None if value is None else os.fsencode(value) for value in (source, target, kind)]
    check(libc.mount(*encoded, ctypes.c_ulong(flags), options.encode()), str(target))


def remount_read_only(target: Path) -> None:
    """Make a bind mount read-only."""
    now = os.statvfs(target).f_flag
    kept = sum(flag for known, flag in KEPT_FLAGS.items() if now & known)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def pivot_root(root: Path, *, hide: bool) -> None:
    """Make ``root`` the root and let the old one go; ``hide`` also lets squashfuse's own mount point go."""
    number = SYS_PIVOT_ROOT[os.uname().machine]
    os.chdir(root)
    # Twice the same folder: the old root is then mounted on top of the new one (pivot_root(2), NOTES).
    check(libc.syscall(ctypes.c_long(number), b".", b"."))
    check(libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    if hide:
        check(libc.umount2(os.fsencode(f"/{IMAGE}"), MNT_DETACH))
        Path(f"/{IMAGE}").rmdir()
    remount_read_only(Path("/"))


def check(result: int, name: str | None = None) -> None:
    """Raise the :class:`OSError` of a libc call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
