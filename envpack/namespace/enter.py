"""The program that becomes a container, started by :mod:`envpack.run` (:mod:`envpack.namespace.program`).

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

import errno
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from envpack.namespace.system import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    FAILED,
    MNT_DETACH,
    MS_BIND,
    MS_REC,
    MS_SLAVE,
    MS_UNBINDABLE,
    PR_SET_PDEATHSIG,
    StepFailed,
    check,
    libc,
    make_mount_point,
    map_ids,
    mount,
    pivot_root,
    remount_read_only,
    start_squashfuse,
    step,
)

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
IMAGE = ".image"  # where squashfuse mounts, in the new root; gone before the program starts


class Mount(NamedTuple):
    """A path of the host to be bound to a path of the image, which has no ``/`` in front and no symlinks."""

    source: Path
    destination: str
    read_only: bool


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
            pivot_root(root)
            if plan["squashfuse"]:
                check(libc.umount2(os.fsencode(f"/{IMAGE}"), MNT_DETACH))
                Path(f"/{IMAGE}").rmdir()
            remount_read_only(Path("/"))
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
