"""From archives to segments: each package linked for the image's prefix and python."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from envpack.content.conda_archive import CondaArchive
from envpack.content.python_layout import PythonLayout
from envpack.engines.native.segments import Segments
from envpack.entry import Entry
from envpack.errors import LockError
from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe

if TYPE_CHECKING:
    from envpack.content.compiler import Compiler


class Linker:
    """Links the packages of one image, from several threads. A context manager: the environment's python,
    which compiles bytecode, starts when the first package needs it and is gone at the end.

    ``archives`` are the files of ``packages``; those of :attr:`interpreter` must be there before others are
    linked. ``folder`` is for the unpacked interpreter; ``workers`` is how many of it run.
    """

    def __init__(
        self,
        segments: Segments,
        folder: Path,
        packages: Sequence[LockedPackage],
        archives: Mapping[LockedPackage, Path],
        recipe: Recipe,
        workers: int,
    ) -> None:
        self._segments, self._folder, self._archives = segments, folder, archives
        self._recipe, self._workers = recipe, workers
        self._conda = {p.name: p for p in packages if p.manager == "conda"}
        self._python = self._conda.get("python")
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
        """The archives of python and of what it depends on, without which nothing can be linked."""
        if self._python is None:
            return ()
        return tuple(self._archives[p] for p in (self._python, *self._needed(self._python)))

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
        """Whether the environment's python runs on this machine."""
        return self._python is not None and self._recipe.platform.is_host

    @property
    def platform(self) -> str:
        """The conda platform of the packages."""
        return self._recipe.platform.subdir

    def link_scripts(self, package: LockedPackage, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of a package's ``paths`` that conda would run after (or before) linking it."""
        if package.manager != "conda":
            return ()
        start = f"{self._recipe.prefix.strip('/')}/bin/.{package.name}-"
        there = set(paths)
        return tuple(p for p in (f"{start}pre-link.sh", f"{start}post-link.sh") if p in there)

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

                python, *libraries = self.interpreter
                compiler = Compiler(python, libraries, workers=self._workers, folder=self._folder)
                self._compiler = self._stack.enter_context(compiler)
            return self._compiler

    def _needed(self, package: LockedPackage) -> Iterator[LockedPackage]:
        """All that ``package`` depends on, by name."""
        seen = {package.name}
        queue = [package]
        while queue:
            for name in queue.pop().dependencies:
                if name in self._conda and name not in seen:
                    seen.add(name)
                    queue.append(self._conda[name])
        yield from (self._conda[name] for name in sorted(seen - {package.name}))
