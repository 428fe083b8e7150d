"""Wheels that no index has: built here, by uv, from a folder or an sdist, and carried along with the lock.

``uv build`` makes the wheel in an environment of its own, with what the package names as its build
requirements. Building runs the package's own code on this machine: for folders that the source names, and for
sdists that the user names. ``SOURCE_DATE_EPOCH`` makes the date of what is built a constant, and setuptools
works in a temporary folder instead of leaving ``build`` and ``*.egg-info`` behind, so that building twice
gives the same bytes as far as the build backend allows.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from envpack import process
from envpack.download import Downloader
from envpack.errors import Location, NetworkError, Problem, ProgramError, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking import stubs, uv_compile, wheels
from envpack.locking.failures import without_secrets
from envpack.locking.pip_solver import PipRecord
from envpack.locking.solver import CondaRecord
from envpack.locking.target import Target
from envpack.locking.uv_messages import network_failure
from envpack.markers import on_linux
from envpack.progress import Progress
from envpack.spec import EnvSpec, LocalPackage, PipOptions, Requirement

ALL = "all"
SECONDS = 3600
_LINES = 15
_WIDTH = 500
# The earliest date that a zip can hold.
_EPOCH = "315532800"
_GLIBC = re.compile(rb"GLIBC_2\.(\d{1,2})(?!\d)")
_ELF = b"\x7fELF"
_CHUNK = 1 << 20
# Longer than any name of a version of glibc, which may stand where two chunks meet.
_OVERLAP = 32
# What zipfile raises for bytes that are no wheel; the two RuntimeErrors: encrypted, unknown compression.
_BROKEN = (
    InvalidWheelFilename,
    BadZipFile,
    StopIteration,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class BuiltWheel:
    """A wheel in ``file``, a temporary one.

    ``asked`` is the line that asked for it, ``None`` for what others need; ``source`` the folder it was built
    from. ``glibc`` is the oldest glibc that what is compiled in it needs, where anything is.
    """

    name: str
    version: str
    file: Path
    sha256: str
    tags: frozenset[Tag]
    requires_python: str | None = None
    glibc: tuple[int, int] | None = None
    asked: str | None = None
    source: Path | None = None
    compiled_here: bool = False
    where: Location | None = None

    @property
    def label(self) -> str:
        """``NAME VERSION``."""
        return f"{self.name} {self.version}"


class WheelBuilder:
    """Builds wheels into ``folder``, which must be there as long as the wheels are needed.

    ``sdists`` are the normalised names of packages of an index that may be built from source, or
    :data:`ALL`. ``check`` gives the reason why the file of a wheel of that name cannot get into an image.
    ``kept`` is the folder of the project, relative to it, where the wheels will be.
    """

    def __init__(
        self,
        folder: Path,
        downloader: Downloader,
        progress: Progress,
        sdists: frozenset[str] = frozenset(),
        check: Callable[[Path, str], str | None] = lambda _path, _name: None,
        kept: Path = Path(),
    ) -> None:
        self.sdists, self.kept = sdists, kept
        self._check = check
        self._folder, self._downloader, self._progress = folder, downloader, progress
        self._built: dict[tuple[Path, str], BuiltWheel] = {}

    def local(self, package: LocalPackage, options: PipOptions, python: str) -> BuiltWheel:
        """The wheel of a package on this machine, for ``python`` (``3.11.7``).

        Raises :class:`SolveError` for a wheel that is none, :class:`ProgramError` with what the build said
        last, :class:`NetworkError` where what it needs cannot be fetched.
        """
        if package.path.name.endswith(".whl"):
            return replace(self._read(package.path, package.where), asked=package.text, where=package.where)
        built = self._build(package.path, package.text, options, python, package.where)
        source = package.path if package.path.is_dir() else None
        return replace(built, asked=package.text, source=source, where=package.where)

    def sdist(self, record: PipRecord, options: PipOptions, python: str) -> BuiltWheel:
        """The wheel of an sdist of an index; raises as :meth:`local`, and what a download raises."""
        path = self._folder / record.sha256[:16] / wheels.filename(record.url)
        label = f"{record.name} {record.version}"
        if not path.exists():
            with self._progress.step(f"Downloading the source of {label}"):
                self._downloader.fetch(record.url, path, sha256=record.sha256, size=record.size)
        return self._build(path, label, options, python, None)

    def _build(
        self, path: Path, label: str, options: PipOptions, python: str, where: Location | None
    ) -> BuiltWheel:
        minor = ".".join(python.split(".")[:2])
        key = (path, minor)
        if key not in self._built:
            with self._progress.step(f"Building a wheel of {label}"):
                wheel = self._run(path, label, options, minor, where)
            self._built[key] = replace(self._read(wheel, where), compiled_here=True)
        return self._built[key]

    def _read(self, path: Path, where: Location | None) -> BuiltWheel:
        wheel = _read(path, where)
        if (why := self._check(path, wheel.name)) is not None:
            raise SolveError(f"{path.name} cannot be put into an image", where=where, why=why, hint=_ANEW)
        return wheel

    def _run(self, path: Path, label: str, options: PipOptions, python: str, where: Location | None) -> Path:
        from uv import find_uv_bin

        own = self._folder / f"wheel-{hashlib.sha256(bytes(path)).hexdigest()[:16]}-{python}"
        out, scratch = own / "out", own / "scratch"
        (scratch / "egg").mkdir(parents=True, exist_ok=True)
        (own / "distutils.cfg").write_text(
            f"[build]\nbuild_base={scratch}\n[egg_info]\negg_base={scratch / 'egg'}\n", "utf-8"
        )
        environment = {
            **uv_compile.environment(options),
            "SOURCE_DATE_EPOCH": _EPOCH,
            "PYTHONHASHSEED": "0",
            "DIST_EXTRA_CONFIG": str(own / "distutils.cfg"),
        }
        uv = find_uv_bin()
        find = [uv, "python", "find", "--no-project", python]
        look = process.run(find, env=environment, cwd=own, timeout=60)
        # One of another version makes the same wheel of what is not compiled.
        interpreter = (
            look.stdout.decode("utf-8", "replace").strip() if look.returncode == 0 else sys.executable
        )
        command: list[str | Path] = [uv, "build", "--wheel", "--out-dir", out, "--python", interpreter]
        command += ["--color", "never", "--no-progress", path]
        done = process.run(command, env=environment, cwd=own, timeout=SECONDS)
        made = sorted(out.glob("*.whl")) if out.is_dir() else []
        if done.returncode == 0 and len(made) == 1:
            return made[0]
        said = without_secrets((done.stderr + done.stdout).decode("utf-8", "replace"))
        if failed := network_failure(said):
            raise NetworkError(failed.what, where=where, why=failed.why, hint=failed.hint)
        lines = [line.rstrip()[:_WIDTH] for line in said.replace(str(own), "").splitlines() if line.strip()]
        raise ProgramError(
            f"no wheel of {label} could be built",
            where=where,
            why="\n".join(lines[-_LINES:]) or "uv build said nothing",
            hint="Mend what is said here, then run the same command again. A wheel that was built elsewhere "
            "can be named in place of its source.",
        )


def _read(path: Path, where: Location | None) -> BuiltWheel:
    """What the wheel at ``path`` says of itself."""
    try:
        data = path.read_bytes()
        name, version, _, tags = parse_wheel_filename(path.name)
        compiled: set[int] = set()
        with ZipFile(path) as archive:
            about = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            metadata = HeaderParser().parsestr(archive.read(about).decode("utf-8", "replace"))
            for member in archive.infolist():
                if not member.is_dir() and not member.filename.endswith(".py"):
                    compiled |= _minors(archive, member)
    except _BROKEN as error:
        why = str(error) or "it has no metadata"
        raise SolveError(f"{path.name} is not a wheel", where=where, why=why, hint=_ANEW) from error
    local = [r for r in metadata.get_all("Requires-Dist") or [] if re.search(r"@\s*file:", r)]
    if local:
        raise SolveError(
            f"{name} {version} needs a package of this machine",
            where=where,
            why="; ".join(local),
            hint="Let it require that package by its name, and name both in the source.",
        )
    return BuiltWheel(
        canonicalize_name(name),
        str(version),
        path,
        hashlib.sha256(data).hexdigest(),
        tags,
        metadata["Requires-Python"],
        wheels.needed_glibc(path.name) or ((2, max(compiled)) if compiled else None),
    )


def _minors(archive: ZipFile, member: ZipInfo) -> set[int]:
    """The versions of glibc that a file's symbols are from, if it is compiled; never all of it in memory."""
    found: set[int] = set()
    with archive.open(member) as file:
        data = file.read(_CHUNK)
        if not data.startswith(_ELF):
            return found
        while data:
            found |= {int(version[1]) for version in _GLIBC.finditer(data)}
            more = file.read(_CHUNK)
            data = data[-_OVERLAP:] + more if more else b""
    return found


class LocalWheels:
    """The wheels of one solve that no index has: of what ``spec`` names on this machine, and of sdists."""

    def __init__(self, spec: EnvSpec, builder: WheelBuilder | None) -> None:
        self._spec, self._builder = spec, builder
        self._built: dict[str, dict[str, BuiltWheel]] = {}

    @property
    def sdists(self) -> frozenset[str]:
        """The names of packages that may be built from source."""
        return self._builder.sdists if self._builder else frozenset()

    def requirements(
        self, aim: Target, records: tuple[CondaRecord, ...], ledger: Ledger
    ) -> tuple[Requirement, ...]:
        """What pip is asked for because of packages on this machine; what cannot be is said in ``ledger``.

        Raises as :meth:`WheelBuilder.local`.
        """
        asked: list[Requirement] = []
        reason: str | None
        remedy: str | None
        here = self._built[aim.platform] = {}
        given = stubs.from_conda(records)
        for package in self._spec.local:
            if package.marker and on_linux(Marker(package.marker)) is False:
                # Nothing of it is run here.
                reason = f"it is for other systems: {package.marker}"
                _say(ledger, Action.DROPPED, package.text, reason, package.where, None)
                continue
            if self._builder is None:
                reason, remedy = "nothing is built here", None
            else:
                built = self._builder.local(package, self._spec.pip_options, aim.python)
                reason, remedy = _unusable(built, package, aim, given)
            if reason is None:
                here[built.name] = built
                extras = f"[{','.join(package.extras)}]" if package.extras else ""
                marker = f" ; {package.marker}" if package.marker else ""
                text = f"{built.name}{extras} @ {built.file.resolve().as_uri()}{marker}"
                asked.append(Requirement(text, package.where))
            else:
                _say(ledger, Action.NEEDS_YOU, package.text, reason, package.where, remedy)
        return tuple(asked)

    def carried(
        self, records: Sequence[PipRecord], aim: Target, ledger: Ledger
    ) -> tuple[tuple[PipRecord, ...], tuple[BuiltWheel, ...]]:
        """Of pip's chosen ``records`` those that an index has, and the wheels that are carried along.

        Raises as :meth:`WheelBuilder.sdist`, and :class:`SolveError` where what was built from an sdist does
        not run on the target.
        """
        here = self._built.get(aim.platform, {})
        indexed, carried, problems = [], [], []
        for record in records:
            if record.kind == "wheel":
                indexed.append(record)
            elif record.kind == "file":
                carried.append(here[record.name])
            else:
                assert self._builder is not None
                built = self._builder.sdist(record, self._spec.pip_options, aim.python)
                if (reason := _misfit(built, aim)) is not None:
                    problems.append(Problem(f"{built.label}: {reason}"))
                carried.append(built)
        if problems:
            raise SolveError("what was built does not run on the target", problems=problems, hint=_ELSEWHERE)
        for wheel in carried:
            assert self._builder is not None
            _told(wheel, self._builder.kept / wheel.file.name, aim, ledger)
        return tuple(indexed), tuple(carried)


_ANEW = "Build the wheel anew (`pip wheel --no-deps`), or name the package's source instead."
_ELSEWHERE = (
    "Build the wheel on a machine of the target's platform, python and glibc (`pip wheel --no-deps`), and "
    "name that file in place of the package: ./NAME-VERSION-TAGS.whl."
)


def _unusable(
    built: BuiltWheel, package: LocalPackage, aim: Target, given: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Why the wheel cannot get into the lock, and what to do; nothing if it can."""
    if package.name is not None and package.name != built.name:
        return f"the package there is {built.name}, not {package.name}", "Name the right folder."
    if built.name in given:
        why = f"conda already gives {built.name} {given[built.name]}"
        return why, f"Remove {built.name} from conda's packages to have this one."
    reason = _misfit(built, aim)
    return reason, _ELSEWHERE if reason else None


def _misfit(built: BuiltWheel, aim: Target) -> str | None:
    """Why the wheel does not run on the target, if so."""
    tags = wheels.supported_tags(aim.python, aim.machine, aim.glibc_pair, aim.threaded)
    if built.tags.isdisjoint(tags):
        shown = ", ".join(sorted(str(tag) for tag in built.tags))
        return f"the wheel is for {shown}, and the lock is for python {aim.python} on {aim.platform}"
    if built.glibc is not None and built.glibc > aim.glibc_pair:
        return f"the wheel needs glibc {_version(built.glibc)}, and the base images have {aim.glibc} at most"
    return None


def _told(wheel: BuiltWheel, kept: Path, aim: Target, ledger: Ledger) -> None:
    if wheel.asked is None:
        how = f"the index has its source alone: built as {kept}"
    elif wheel.source is None and not wheel.compiled_here:
        how = f"copied to {kept}"
    else:
        how = f"built as {kept}"
    reason = f"{how} and carried along beside the lock"
    compiled = not any(tag.platform == "any" for tag in wheel.tags)
    if compiled and wheel.compiled_here:
        reason += f"; it was compiled on this machine for {aim.machine}"
        reason += f" and needs glibc {_version(wheel.glibc)}" if wheel.glibc else ""
        reason += ", and libraries of this machine that it uses do not come along"
    remedy = "Other tools do not know of it. Without envpack, install the file with pip install --no-deps."
    _say(ledger, Action.TRANSLATED, wheel.asked or wheel.label, reason, wheel.where, remedy)


def _say(
    ledger: Ledger, action: Action, subject: str, reason: str, where: Location | None, remedy: str | None
) -> None:
    """Say it, once for all platforms."""
    if not any(found.subject == subject and found.reason == reason for found in ledger):
        ledger.add(action, subject, reason, where=where, remedy=remedy)


def _version(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"
