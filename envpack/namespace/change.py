"""The program that lets others change an image, and tells what they changed.

It does what ``FOLDER/plan.json`` says (:class:`envpack.namespace.changing.Plan`). A line on standard output
is the number of the run that begins. At the end ``FOLDER/report.json`` has the outcome of each run, or the
step of this program that failed; ``FOLDER/changes.json`` has what is another than before, contents are in
``FOLDER/contents``, one behind the other.

    start ── namespaces ── image mounted ── overlay ── fork ─────────────── compare
                           (squashfuse,     (in memory)  └ pid namespace,
                            or unpacked)                   pivot_root ── run ── run ── …

The namespaces: of users (root inside is the user outside), mounts, processes, host name, and of a network
that has nothing in it. What the runs write is in a tmpfs, or below FOLDER where a tmpfs cannot be the upper
layer of an overlay; where there can be no overlay at all, the image is unpacked in FOLDER and written to.

Reference: namespaces(7), Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from envpack.namespace.compare import Places, changed, changed_places, places, write_changes
from envpack.namespace.enter import resolve
from envpack.namespace.system import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    FAILED,
    MNT_DETACH,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    PR_SET_PDEATHSIG,
    StepFailed,
    check,
    libc,
    map_ids,
    mount,
    pivot_root,
    start_squashfuse,
    step,
)

DEVICES = ("null", "zero", "full", "random", "urandom")
STREAMS = (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"))
# Mount points, which the image may lack; what is written there is not seen afterwards.
IN_MEMORY = ("tmp", "var/tmp", "run", "dev/shm")
FURNISHED = ("proc", "dev", "var", *IN_MEMORY)
HOST_NAME = b"localhost"
OUTPUT_KEPT = 8192
MESSAGES_KEPT = 1 << 16


def main(folder: Path) -> int:
    """Do what is planned; gives 0 when the report has the outcomes of all runs."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    squashfuse = 0
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        unshare(os.geteuid(), os.getegid())
        space = folder / "space"
        with step("make room for the image"):
            space.mkdir()
            mount("tmpfs", space, "tmpfs", 0, "mode=755")
            for name in ("image", "root", "disk"):
                (space / name).mkdir()
        before: Places = {}
        if plan["squashfuse"]:
            squashfuse = start_squashfuse(plan["squashfuse"], space / "image", folder / "squashfuse.log")
            upper = overlay(space, folder)
        else:
            upper = None
            with step("bind the unpacked image"):
                mount(Path(plan["unpacked"]), space / "root", None, MS_BIND)
                before = places(os.fsencode(space / "root"))
        outcomes = in_container(space / "root", plan)
        with step("compare the image"):
            below, now = os.fsencode(space / "image"), os.fsencode(space / "root")
            if upper is None:
                changes = changed_places(before, now)
            else:
                changes = changed(below, os.fsencode(upper), now, b"")
            write_changes(
                changes, now, os.fsencode(resolve(space / "root", plan["watched"])), folder, FURNISHED
            )
        report(folder, {"runs": outcomes})
        return 0
    except StepFailed as failure:
        report(folder, {"failed": failure.report})
        return FAILED
    finally:
        # Here, where the user is root: folders may have got modes that keep their owner out.
        libc.umount2(os.fsencode(folder / "space" / "root"), MNT_DETACH)
        for name in (str(folder / "disk"), plan["unpacked"]):
            if name:
                shutil.rmtree(name, ignore_errors=True)
        if squashfuse:
            os.kill(squashfuse, signal.SIGKILL)
            os.waitpid(squashfuse, 0)


def report(folder: Path, text: Mapping[str, Any]) -> None:
    """Leave ``text`` for whoever started this."""
    (folder / "report.json").write_text(json.dumps(text), "utf-8")


def unshare(user: int, group: int) -> None:
    """Leave the host's mounts, network and names, as root of a user namespace."""
    with step("unshare"):
        check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))
        map_ids((0, user), (0, group))
        check(libc.sethostname(HOST_NAME, len(HOST_NAME)))
        mount(None, Path("/"), None, MS_PRIVATE | MS_REC)


def overlay(space: Path, folder: Path) -> Path:
    """Lay something writable over the image, as ``space/root``; gives the folder of what is written."""
    with step("overlay"):
        on_disk = folder / "disk"
        on_disk.mkdir()
        mount(on_disk, space / "disk", None, MS_BIND)
        # Without attributes (tmpfs before Linux 6.6) no folder can take the place of one that was removed.
        with suppress(OSError):
            os.setxattr(space, "user.overlay", b"")
            return lay_over(space, ".")
        return lay_over(space, "disk")


def lay_over(space: Path, where: str) -> Path:
    """Mount the overlay, with what is written in the folder ``where`` of ``space``."""
    # Relative, so that no comma or colon of the path gets into the options.
    os.chdir(space)
    upper, work = Path(where, "upper"), Path(where, "work")
    for made in (upper, work):
        made.mkdir(mode=0o755)
    mount("overlay", Path("root"), "overlay", 0, f"lowerdir=image,upperdir={upper},workdir={work},userxattr")
    os.chdir("/")
    return space / upper


def in_container(root: Path, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run what is planned with ``root`` as its root; gives the outcomes."""
    reader, writer = os.pipe()
    with step("unshare"):
        check(libc.unshare(CLONE_NEWPID))
    child = os.fork()
    if child == 0:
        os.close(reader)
        contain(root, plan, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    nothing = {"failed": {"step": "run", "errno": 0, "text": "it was ended"}}
    found: dict[str, Any] = json.loads(answer) if answer else nothing
    if "failed" in found:
        failed = found["failed"]
        raise StepFailed(failed["step"], failed["errno"], failed["text"])
    outcomes: list[dict[str, Any]] = found["runs"]
    return outcomes


def contain(root: Path, plan: Mapping[str, Any], writer: int) -> NoReturn:
    """In the forked process, the first of its namespace: do all runs, write the outcomes. Never returns."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.umask(0o022)
        with step("make the container's root"):
            check(libc.unshare(CLONE_NEWNS))
            furnish(root)
            log = os.open(plan["log"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with step("pivot_root"):
            pivot_root(root)
        outcomes = []
        for number, planned in enumerate(plan["runs"]):
            os.write(1, f"{number}\n".encode())
            outcomes.append(outcome(planned, log))
        os.write(log, b"\n")
        answer = json.dumps({"runs": outcomes})
    except StepFailed as failure:
        answer = json.dumps({"failed": failure.report})
    except BaseException as error:  # noqa: BLE001 nothing else would say it
        answer = json.dumps({"failed": {"step": "run", "errno": 0, "text": repr(error)}})
    with os.fdopen(writer, "wb") as file:
        file.write(answer.encode())
    os._exit(0)


def furnish(root: Path) -> None:
    """Mount what every program expects, and nothing of the host but harmless devices."""
    folders = {}
    for name in ("proc", "dev", *IN_MEMORY):
        # The image may have a symlink there, /var/run for one.
        folder = folders[name] = root / resolve(root, name)
        if name != "dev/shm":
            folder.mkdir(parents=True, exist_ok=True)
    try:
        mount("proc", folders["proc"], "proc", 0)
    except OSError:  # forbidden where parts of the host's are hidden, as in a container of Docker
        mount(Path("/proc"), folders["proc"], None, MS_BIND | MS_REC)
    dev = folders["dev"]
    mount("tmpfs", dev, "tmpfs", 0, "mode=755,size=64k")
    for name in DEVICES:
        (dev / name).touch()
        mount(Path("/dev", name), dev / name, None, MS_BIND)
    for name, number in STREAMS:
        (dev / name).symlink_to(f"/proc/self/fd{number}")
    (dev / "shm").mkdir()
    for name in IN_MEMORY:
        mount("tmpfs", folders[name], "tmpfs", 0, "mode=755" if name == "run" else "mode=1777")


def outcome(planned: Mapping[str, Any], log: int) -> dict[str, Any]:
    """One run to its end, and the end of all that it started."""
    start = os.lseek(log, 0, os.SEEK_END)
    child = os.fork()
    if child == 0:
        become(planned, log)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # all but this process itself
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    code = os.waitstatus_to_exitcode(status)
    end = os.lseek(log, 0, os.SEEK_END)
    kept = max(start, end - OUTPUT_KEPT)
    return {
        "code": code if code >= 0 else 128 - code,
        "output": os.pread(log, end - kept, kept).decode("utf-8", "replace"),
        "message": taken(planned["message_file"]),
    }


def become(planned: Mapping[str, Any], log: int) -> NoReturn:
    """In the forked process: be the program that is planned. Never returns."""
    try:
        null = os.open("/dev/null", os.O_RDONLY)
        for descriptor, number in ((null, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, number)
        for signal_number in (signal.SIGPIPE, signal.SIGXFSZ):  # python ignores them, its children would too
            signal.signal(signal_number, signal.SIG_DFL)
        os.setsid()
        os.chdir(planned["folder"])
        program = next((p for p in planned["programs"] if os.access(p, os.X_OK)), planned["programs"][-1])
        os.execve(program, [program, *planned["arguments"]], planned["environment"])  # noqa: S606 no shell
    except OSError as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(127)


def taken(name: str) -> str:
    """What the file ``name`` says, if it is there; it is not any more."""
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                text = os.read(descriptor, MESSAGES_KEPT).decode("utf-8", "replace")
                Path(name).unlink()
                return text
        finally:
            os.close(descriptor)
    return ""
