"""What there is on this machine to build with: the program, and what it needs to do without root."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from envpack import process
from envpack.errors import EngineError, ProgramError

_NAMES = ("apptainer", "singularity")
# "apptainer version 1.4.5-1.el9", "singularity-ce version 4.1.0-jammy"; Singularity 2 says the number alone.
_VERSION = re.compile(r"(?:(?P<name>apptainer|singularity[a-z-]*) version )?(?P<version>\d+(?:\.\d+)+)", re.I)
_SECONDS = 60.0  # a program on a slow file system takes its time to start
_IDS = 65536  # fewer than these are not taken


@dataclass(frozen=True, slots=True)
class Program:
    """Apptainer, or a relative of it: ``name`` is what it calls itself."""

    path: Path
    name: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        """``apptainer 1.4.5``"""
        return f"{self.name} {'.'.join(map(str, self.version))}"

    @property
    def is_apptainer(self) -> bool:
        """Whether it is no Singularity, whatever its file is called."""
        return self.name == "apptainer"


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides how an image can be built here.

    ``listed`` says that ``/etc/subuid`` has a line for the ``user``; ``no_ranges`` why ids of it cannot be
    used. ``no_namespaces`` is why there are no user namespaces at all, ``no_own_namespaces`` why an ordinary
    user may not make one. ``setuid`` is about the program's installation; ``newuidmap``, ``fakeroot`` and
    ``proot`` are programs. ``glibc`` is this machine's.
    """

    root: bool
    user: str
    setuid: bool = False
    listed: bool = False
    no_ranges: str | None = None
    no_namespaces: str | None = None
    no_own_namespaces: str | None = None
    newuidmap: bool = False
    fakeroot: bool = False
    proot: bool = False
    glibc: tuple[int, ...] | None = None


def find_program() -> Program:
    """The program on PATH; raises :class:`EngineError` where there is none, or none that says its version."""
    path = next(filter(None, map(process.find, _NAMES)), None)
    if path is None:
        raise EngineError(
            "there is no apptainer and no singularity on PATH",
            hint="Load its module or install it; or build with the native engine, which needs no program "
            "(leave --engine away), or with --engine docker.",
        )
    done = process.run([path, "--version"], timeout=_SECONDS)
    said = f"{done.stdout.decode('utf-8', 'replace')}\n{done.stderr.decode('utf-8', 'replace')}".strip()
    program = parse_version(path, said) if done.returncode == 0 else None
    if program is None:
        raise EngineError(
            f"{path} does not work: `{path.name} --version` does not tell its version",
            why=said[-500:] or f"it ended with exit code {done.returncode}",
            hint="Mend its installation, or build with the native engine: leave --engine away.",
        )
    return program


def parse_version(path: Path, said: str) -> Program | None:
    """What ``--version`` said."""
    match = _VERSION.search(said)
    if match is None:
        return None
    return Program(
        path, (match["name"] or "singularity").lower(), tuple(map(int, match["version"].split(".")))
    )


def gather(program: Program, root: Path = Path("/")) -> Facts:
    """Look at this machine; ``root`` is where its ``etc`` and ``proc`` are."""
    user, uid = _user(), os.getuid()
    listed, no_uids = _range(root, "etc/subuid", user, uid)
    _, no_gids = _range(root, "etc/subgid", user, uid)
    confined = _restricted(root, program)
    if _read(root / "proc/sys/kernel/unprivileged_userns_clone") == "0":
        confined = "kernel.unprivileged_userns_clone is 0"
    return Facts(
        root=uid == 0,
        user=user,
        setuid=_is_setuid(program),
        listed=listed,
        no_ranges=" and ".join(filter(None, (no_uids, no_gids))) or None,
        no_namespaces=_missing(root),
        no_own_namespaces=_missing(root) or confined,
        newuidmap=bool(process.find("newuidmap") and process.find("newgidmap")),
        fakeroot=bool(process.find("fakeroot-sysv") or process.find("fakeroot")),
        proot=bool(process.find("proot")),
        glibc=_glibc(),
    )


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _range(root: Path, name: str, user: str, uid: int) -> tuple[bool, str | None]:
    """Whether a subordinate id file (subuid(5)) lists the user, and why its ids cannot be used.

    ``!`` in front switches a line off; ``config fakeroot --disable`` writes it.
    """
    # With another source than the file, only the program itself can find out.
    if re.search(r"^\s*subid\s*:", _read(root / "etc/nsswitch.conf") or "", re.M):
        return True, None
    listed = False
    for line in (_read(root / name) or "").splitlines():
        owner, _, numbers = line.strip().partition(":")
        if owner not in (user, str(uid)):
            continue
        listed = True
        count = numbers.partition(":")[2]
        if count.isdecimal() and int(count) >= _IDS:
            return True, None
    if listed:
        return True, f"/{name} has fewer than {_IDS} ids for {user}"
    return False, f"/{name} has no line for {user}"


def _missing(root: Path) -> str | None:
    if not (root / "proc/self/ns/user").exists():
        return "the kernel has no user namespaces"
    if _read(root / "proc/sys/user/max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0"
    return None


def _restricted(root: Path, program: Program) -> str | None:
    """Ubuntu since 23.10: only programs of which AppArmor has a profile; packages of Apptainer bring one."""
    key = "kernel/apparmor_restrict_unprivileged_userns"
    if _read(root / "proc/sys" / key) != "1":
        return None
    family = "apptainer" if program.is_apptainer else "singularity"
    if any((root / "etc/apparmor.d").glob(f"*{family}*")):
        return None
    return f"{key.replace('/', '.')} is 1 and /etc/apparmor.d has no profile of {family}"


def _is_setuid(program: Program) -> bool:
    try:
        said = process.run([program.path, "buildcfg"], timeout=_SECONDS).stdout
    except ProgramError:
        return False
    return re.search(rb"^[A-Z]+_SUID_INSTALL=1\s*$", said, re.M) is not None


def _glibc() -> tuple[int, ...] | None:
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):  # another C library
        return None
    return numbers(said or "")


def numbers(version: str) -> tuple[int, ...] | None:
    """A version, for comparing: ``glibc 2.31`` is (2, 31)."""
    return tuple(map(int, re.findall(r"\d+", version))) or None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return None
