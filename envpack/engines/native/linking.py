"""From archives to segments: each package linked for the image's prefix and python."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from envpack import platforms
from envpack.content.conda_archive import CondaArchive
from envpack.content.python_layout import PythonLayout
from envpack.engines.native.order import with_dependencies
from envpack.engines.native.segments import Segments
from envpack.entry import Entry, encode_path
from envpack.errors import LockError
from envpack.formats.squashfs.index import Segment
from envpack.lockfile import LockedPackage, Lockfile
from envpack.platforms import Platform
from envpack.recipe import Recipe

if TYPE_CHECKING:
    from envpack.content.compiler import Compiler


@dataclass(frozen=True, slots=True)
class LinkScript:
    """A script of ``package`` at ``path`` in the image (no slash in front)."""

    package: LockedPackage
    path: str

    @property
    def owner(self) -> str:
        """The package's name and version, for messages."""
        return f"{self.package.name} {self.package.version}"

    @property
    def is_pre_link(self) -> bool:
        """Whether conda runs it before the package is linked."""
        return self.path.endswith("-pre-link.sh")


class Linker:
    """Links the packages of one image, from several threads. A context manager: the python that compiles
    bytecode starts when the first package needs it and is gone at the end.

    ``compiling`` are the packages of that python (:func:`compiling_python`); ``archives`` are the files of
    all, those of :attr:`interpreter` there before others are linked. ``folder`` is for the unpacked
    interpreter; ``workers`` is how many of it run.
    """

    def __init__(
        self,
        segments: Segments,
        folder: Path,
        packages: Sequence[LockedPackage],
        compiling: Sequence[LockedPackage],
        archives: Mapping[LockedPackage, Path],
        recipe: Recipe,
        workers: int,
    ) -> None:
        self._segments, self._folder, self._archives = segments, folder, archives
        self._recipe, self._workers = recipe, workers
        self._python = _python(packages)
        self._compiling = compiling
        self._lock = threading.RLock()
        self._layout: PythonLayout | None = None
        self._compiler: Compiler | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Linker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def interpreter(self) -> tuple[Path, ...]:
        """The archives of the environment's python and of the one that compiles: all others wait for them."""
        own = () if self._python is None else (self._python,)
        return tuple(dict.fromkeys(self._archives[p] for p in (*own, *self._compiling)))

    @property
    def layout(self) -> PythonLayout | None:
        """Where the environment's python looks for things; ``None`` if there is no python."""
        with self._lock:
            if self._layout is None and self._python is not None:
                self._layout = PythonLayout.from_index(CondaArchive.open(self._archives[self._python]).index)
            return self._layout

    @property
    def site_packages(self) -> str | None:
        """The environment's ``site-packages`` as a path in the image, without a leading slash."""
        return f"{self._recipe.prefix.strip('/')}/{self.layout.site_packages}" if self.layout else None

    @property
    def can_compile(self) -> bool:
        """Whether there is a python that runs on this machine and makes the environment's bytecode."""
        return bool(self._compiling)

    @property
    def platform(self) -> str:
        """The conda platform of the packages."""
        return self._recipe.platform.subdir

    def link_scripts(self, package: LockedPackage, segment: Segment) -> list[LinkScript]:
        """Those files of a package's ``segment`` that conda would run before or after linking it."""
        if package.manager != "conda":
            return []
        start = f"{self._recipe.prefix.strip('/')}/bin/.{package.name}-"
        names = (f"{start}{when}-link.sh" for when in ("pre", "post"))
        return [LinkScript(package, name) for name in names if encode_path(name) in segment.index.paths]

    def link(self, package: LockedPackage) -> Path:
        """The segment of one package; raises what reading its archive raises."""
        parts = (
            package.manager,
            package.name,
            package.version,
            package.sha256,
            package.md5 or "no md5",
            package.url,
            self._recipe.prefix,
            self._python.sha256 if self._python else "no python",
            "compiled" if self.can_compile else "not compiled",
        )
        return self._segments.get(parts, lambda: self._entries(package))

    def _entries(self, package: LockedPackage) -> Iterable[Entry]:
        # Here, because a build that finds all in the cache links nothing.
        from envpack.content import conda_package, wheel

        prefix, archive = self._recipe.prefix, self._archives[package]
        compiler = self._start() if self.can_compile else None
        if package.manager == "conda":
            return conda_package.open(archive, package).entries(prefix, self.layout, compiler)
        if self.layout is None:
            raise LockError(
                f"{package.filename} needs python, and the lock has none",
                hint="Add python to the conda dependencies and lock again.",
            )
        return wheel.open(archive, package).entries(prefix, self.layout, compiler)

    def _start(self) -> Compiler:
        """The environment's python, unpacked and started at the first call."""
        with self._lock:
            if self._compiler is None:
                from envpack.content.compiler import Compiler

                python, *libraries = (self._archives[package] for package in self._compiling)
                compiler = Compiler(python, libraries, workers=self._workers, folder=self._folder)
                self._compiler = self._stack.enter_context(compiler)
            return self._compiler


def compiling_python(lock: Lockfile, platform: Platform) -> tuple[LockedPackage, ...]:
    """The packages of the python that compiles for ``platform``, python first; none if none runs here.

    Bytecode is that of a version of python, whatever the machine: for another platform's image the lock's
    python for this machine does as well, if it is of the same version.
    """
    host = platforms.host()
    if host is None or host.subdir not in lock.platforms:
        return ()
    wanted, packages = _python(lock.for_platform(platform.subdir)), lock.for_platform(host.subdir)
    python = _python(packages)
    if wanted is None or python is None or python.version != wanted.version:
        return ()
    by_name = {p.name: p for p in packages if p.manager == "conda"}
    return (python, *(by_name[n] for n in sorted(with_dependencies(python.name, by_name) - {python.name})))


def _python(packages: Iterable[LockedPackage]) -> LockedPackage | None:
    return next((p for p in packages if p.manager == "conda" and p.name == "python"), None)
