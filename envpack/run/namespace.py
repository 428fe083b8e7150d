"""Running an image without a container runtime: what it shall see, and the program that makes it so."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envpack import process
from envpack.cache import Cache
from envpack.errors import EngineError, OutputError
from envpack.namespace import program
from envpack.progress import Progress
from envpack.recipes import quoting
from envpack.recipes.activation import DEFAULT_PATH
from envpack.recipes.validation import SHELL_NAME
from envpack.run.image_file import ImageFile
from envpack.run.unpacked import unpack

_ACTIVATE_AND_RUN = """\
for script in /.singularity.d/env/*.sh; do
    if [ -f "$script" ]; then
        . "$script"
    fi
done
unset script
{overrides}exec /.singularity.d/runscript "$@"
"""
# What the host's shells, loader and pythons obey, and the image's must not.
_NOT_HANDED_ON = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "PYTHONHOME", "PYTHONPATH"}
)
_OVERRIDE_PREFIXES = ("SINGULARITYENV_", "APPTAINERENV_")
_SYSTEM_FOLDERS = ("/dev", "/proc", "/sys", "/tmp", "/var/tmp")  # noqa: S108 the host's own, bound
_SYSTEM_FILES = ("/etc/hosts", "/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host that the image shall see.

    ``destination`` is an absolute path in the image. One that ``gives_way`` is left out where the image has
    something there itself.
    """

    source: str
    destination: str
    read_only: bool = False
    gives_way: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What :mod:`envpack.namespace.enter` does, in the words of ``plan.json``.

    The image is mounted by the command ``squashfuse`` (to which the mount point is added), or lies in the
    folder ``unpacked``. ``accounts`` are lines to add to the image's ``passwd`` and ``group``. The first of
    ``working_folders`` that exists is the program's; ``arguments`` are those of the image's shell.
    """

    squashfuse: tuple[str, ...]
    unpacked: str
    binds: tuple[Bind, ...]
    accounts: Mapping[str, str]
    working_folders: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def run_in_namespace(
    image: ImageFile,
    arguments: Sequence[str],
    binds: Sequence[Bind],
    progress: Progress,
) -> int:
    """Run the image's runscript in namespaces of its own; gives its exit code.

    The image is mounted with squashfuse, else unpacked into TMPDIR and removed afterwards (after a kill, by
    the next run). Raises :class:`EngineError` when this user cannot have a namespace, or a step fails;
    :class:`OutputError` when TMPDIR cannot be used.
    """
    with Cache(_temporary_root()).temporary() as folder:
        squashfuse = program.squashfuse(image.path, image.offset)
        if squashfuse:
            progress.note(f"running {image.path.name} in a user namespace, mounted by {squashfuse[0]}")
            code, failed = _enter(folder / "mounted", _plan(squashfuse, "", arguments, binds))
            if failed is None:
                return code
            if failed["step"] != "squashfuse":
                raise _cannot_run(image, failed)
            progress.note(f"squashfuse cannot mount {image.path.name}: {failed['text']}")
        else:
            progress.note(f"running {image.path.name} in a user namespace, unpacked")
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            raise EngineError(
                f"no program can run in {folder.parent}",
                why="its file system is mounted with noexec",
                hint="Set TMPDIR to a folder on another disk, or install squashfuse.",
            )
        unpack(image, folder / "image", progress)
        code, failed = _enter(folder / "unpacked", _plan((), str(folder / "image"), arguments, binds))
        if failed is not None:
            raise _cannot_run(image, failed)
        return code


def split_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The host's variables as the image sees them before its activation, and those to set after it.

    As with Apptainer: ``PATH`` and library paths are the image's, the rest is handed on, and
    ``APPTAINERENV_NAME`` (or ``SINGULARITYENV_NAME``) sets ``NAME`` whatever activation says.
    """
    handed_on, overrides = {"PATH": DEFAULT_PATH}, {}
    for prefix in _OVERRIDE_PREFIXES:
        for name, value in environ.items():
            bare = name.removeprefix(prefix)
            if bare != name and SHELL_NAME.match(bare):
                overrides[bare] = value
    for name, value in environ.items():
        if SHELL_NAME.match(name) and not name.startswith(_OVERRIDE_PREFIXES) and name not in _NOT_HANDED_ON:
            handed_on[name] = value
    return handed_on, overrides


def _enter(folder: Path, plan: Plan) -> tuple[int, dict[str, Any] | None]:
    """Run the program; gives the exit code, and what went wrong if the image's own did not start."""
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), "utf-8")
    code = process.hand_over(program.command("enter", folder))
    report = folder / "error.json"
    text = report.read_text("utf-8") if report.exists() else ""
    return code, json.loads(text) if text else None


def _plan(
    squashfuse: tuple[str, ...], unpacked: str, arguments: Sequence[str], binds: Sequence[Bind]
) -> Plan:
    home, here = os.environ.get("HOME", ""), _working_folder()
    usual = [Bind(path, path) for path in _SYSTEM_FOLDERS if Path(path).is_dir()]
    usual += [Bind(path, path, read_only=True) for path in _SYSTEM_FILES if Path(path).is_file()]
    # The user's home hides the image's; a working folder such as /usr/lib must not.
    for path, gives_way in ((home, False), (here, True)):
        covered = any(f"{path}/".startswith(f"{bind.destination}/") for bind in usual)
        if path.startswith("/") and path != "/" and Path(path).is_dir() and not covered:
            usual.append(Bind(path, path, gives_way=gives_way))
    environment, overrides = split_environment(os.environ)
    script = _ACTIVATE_AND_RUN.format(overrides=quoting.exports(overrides))
    return Plan(
        squashfuse=squashfuse,
        unpacked=unpacked,
        binds=(*usual, *binds),
        accounts=_accounts(home),
        working_folders=tuple(path for path in (here, home) if path),
        arguments=("-c", script, "envpack", *arguments),
        environment=environment,
    )


def _working_folder() -> str:
    """The current folder, or nothing when it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _accounts(home: str) -> dict[str, str]:
    """The lines of ``passwd`` and ``group`` for this user, who may be in no file of the host either."""
    user, group = os.geteuid(), os.getegid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = f"user{user}"
    try:
        group_name = grp.getgrgid(group).gr_name
    except KeyError:
        group_name = f"group{group}"
    return {
        "passwd": f"{name}:x:{user}:{group}::{home or '/'}:/bin/sh",
        "group": f"{group_name}:x:{group}:",
    }


def _temporary_root() -> Path:
    """The user's own folder in TMPDIR; :class:`OutputError` when it cannot be had or is another's."""
    root = Path(tempfile.gettempdir()) / f"envpack-{os.geteuid()}"
    hint = "Set TMPDIR to a folder of your own."
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise OutputError(f"cannot make {root}", why=str(error), hint=hint) from error
    # Whoever can write there could change the image while it runs.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OutputError(f"{root} is not a folder that only you can write to", hint=hint)
    return root


def _cannot_run(image: ImageFile, failed: Mapping[str, Any]) -> EngineError:
    """The error for a step of the program that failed."""
    what = f"cannot run {image.path.name} without a container runtime"
    return program.step_failed(what, failed, "Install Apptainer")
