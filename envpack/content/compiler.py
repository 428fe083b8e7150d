"""The environment's own python, taken from its package, compiling sources that are handed to it.

Bytecode belongs to one version of python, so the one that envpack runs in is of no use. Of the package
and those it depends on, only the interpreter, its shared libraries and the codecs are unpacked, into a
temporary folder that is gone afterwards; the few modules of the standard library that start-up needs are
in one zip. No site-packages, no user settings and no variables of the caller's reach it.
"""

from __future__ import annotations

import _imp
import queue
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Protocol

from envpack import process
from envpack.atomic import cannot_write
from envpack.cache import archive_name
from envpack.content import tar_stream
from envpack.content.compile_worker import SAMPLES
from envpack.content.conda_archive import CondaArchive
from envpack.content.damaged import reading
from envpack.content.python_layout import PythonLayout
from envpack.content.tar_stream import Member, TarStream
from envpack.entry import encode_path
from envpack.errors import ProgramError

_INTERPRETER = re.compile(r"bin/python(\d[\d.]*t?)?\Z")
_LIBRARY = re.compile(r"lib/[^/]+\.so[^/]*\Z")
_CODEC = re.compile(r"lib-dynload/(unicodedata|_multibytecodec|_codecs_)[^/]*\.so\Z")
# What starting up, and a coding line in a source, may import.
_MODULE = re.compile(
    r"(encodings/[^/]+|abc|codecs|io|os|stat|posixpath|genericpath|_collections_abc|_bootlocale|warnings)\.py\Z"
)
_WORKER = Path(__file__).with_name("compile_worker.py")
# What goes to a worker at once: enough that waking up costs little, little enough that all have work.
_BATCH = 16
_BATCH_SIZE = 1 << 20


class Answer(Protocol):
    """What was asked for, now or later: a future as far as it is needed, as most hashes are known at once."""

    def result(self) -> bytes | None:
        """The answer, waited for."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer that is there."""

    answer: bytes

    def result(self) -> bytes:
        return self.answer


class Compiler:
    """A context manager; inside it sources are compiled by ``workers`` processes.

    ``python`` is the archive of the environment's python, for this machine's platform; ``libraries`` are
    the archives it depends on; ``folder`` is where the temporary folder goes, on a file system that may
    hold programs. Results do not depend on the number of workers or on the order of requests.

    Entering raises :class:`ProgramError` when the interpreter does not start, :class:`IntegrityError` for
    broken archives and :class:`OutputError` when the folder cannot be written.
    """

    magic: bytes
    """The first four bytes of this python's bytecode files."""
    cache_tag: str
    """What stands in their names: ``cpython-311``."""

    def __init__(
        self, python: Path, libraries: Sequence[Path] = (), *, workers: int = 1, folder: Path | None = None
    ) -> None:
        self._python = python
        self._libraries = libraries
        self._count = workers
        self._folder = folder
        self._home: Path | None = None
        self._workers: list[Popen[bytes]] = []
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._hashes_here = False

    def __enter__(self) -> Compiler:
        """Unpack the interpreter and start the workers."""
        try:
            self._home = Path(tempfile.mkdtemp(prefix="python-", dir=self._folder))
            layout = self._unpack(self._home)
            for _ in range(self._count):
                self._workers.append(self._start(self._home, layout))
            hello = [(_take(worker), _take(worker)) for worker in self._workers]
        except OSError as error:
            self._end()
            raise cannot_write(self._home or self._folder or Path(tempfile.gettempdir()), error) from error
        except BaseException:
            self._end()
            raise
        if any(None in answers for answers in hello):
            failure = _ended(self._workers[0], f"the python of {archive_name(self._python)} does not start")
            self._end()
            raise failure
        name, hashes = (answer or b"" for answer in hello[0])
        self.magic, self.cache_tag = name[:4], name[4:].decode()
        self._hashes_here = b"".join(map(self._hash, SAMPLES)) == hashes
        for worker in self._workers:
            thread = threading.Thread(target=self._serve, args=(worker,), name="compiler", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers and remove the interpreter."""
        self._end()

    def compile(self, path: str, source: bytes) -> Future[bytes | None]:
        """The unchecked-hash ``.pyc`` (PEP 552) of a source whose absolute path in the image is ``path``.

        ``None`` when the source does not compile. The future raises :class:`ProgramError` when the
        interpreter crashes.
        """
        request = _Request(b"C", path, source)
        self._requests.put(request)
        return request.answer

    def source_hash(self, source: bytes) -> Answer:
        """The eight bytes by which this python's ``.pyc`` files know their source."""
        if self._hashes_here:
            return _Known(self._hash(source))
        request = _Request(b"H", "", source)
        self._requests.put(request)
        return request.answer

    def _hash(self, source: bytes) -> bytes:
        """The same by the python that envpack runs in; it may have another function."""
        return _imp.source_hash(int.from_bytes(self.magic, "little"), source)

    def _serve(self, worker: Popen[bytes]) -> None:
        """Hand requests to one worker until there are no more."""
        while (request := self._requests.get()) is not None:
            batch, size = [request], len(request.source)
            while len(batch) < _BATCH and size < _BATCH_SIZE:
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    break
                if request is None:
                    self._requests.put(None)  # the others', or one's own in the next round
                    break
                batch.append(request)
                size += len(request.source)
            _ask(worker, batch)

    def _unpack(self, home: Path) -> PythonLayout:
        archive = CondaArchive.open(self._python)
        layout = PythonLayout.from_index(archive.index)
        with reading(self._python), zipfile.ZipFile(home / "stdlib.zip", "w") as modules:
            for member, tar in archive.members():
                below = member.name.removeprefix(layout.stdlib + "/")
                if _INTERPRETER.match(member.name) or _LIBRARY.match(member.name) or _CODEC.match(below):
                    _write(home, member, tar)
                elif below != member.name and _MODULE.match(below):
                    modules.writestr(below, tar.read())
        for path in self._libraries:
            library = CondaArchive.open(path)
            if any(_LIBRARY.match(name) for name in library.paths):
                with reading(path):
                    for member, tar in library.members():
                        if _LIBRARY.match(member.name):
                            _write(home, member, tar)
        return layout

    def _start(self, home: Path, layout: PythonLayout) -> Popen[bytes]:
        command = [home / layout.executable, "-S", "-s", "-B", "-W", "ignore", _WORKER]
        environment = {
            "PYTHONHOME": str(home),
            "PYTHONPATH": str(home / "stdlib.zip"),
            "PYTHONHASHSEED": "0",  # before 3.11 it decides the order of constant sets
            "PYTHONUTF8": "1",
        }
        return process.start([str(part) for part in command], env=environment)

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.communicate()
        self._workers.clear()
        self._threads.clear()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Request:
    """Something to ask a worker; see :mod:`envpack.content.compile_worker` for ``kind``."""

    kind: bytes
    path: str
    source: bytes
    answer: Future[bytes | None] = field(default_factory=Future)

    def packed(self) -> tuple[bytes, ...]:
        """The bytes of the request, in pieces."""
        name = encode_path(self.path)
        return self.kind, len(name).to_bytes(4, "big"), name, len(self.source).to_bytes(4, "big"), self.source


def _ask(worker: Popen[bytes], batch: Sequence[_Request]) -> None:
    """Have a batch answered; a worker that crashes fails what it has not answered."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    done = 0
    try:
        worker.stdin.write(len(batch).to_bytes(4, "big"))
        worker.stdin.write(b"".join(piece for request in batch for piece in request.packed()))
        worker.stdin.flush()
        for request in batch:
            verdict = worker.stdout.read(1)
            answer = _take(worker) if verdict == b"1" else None
            if not verdict or (verdict == b"1" and answer is None):
                break
            request.answer.set_result(answer)
            done += 1
    except (BrokenPipeError, ValueError):  # ended; or ended and closed
        pass
    if batch[done:]:
        more = f" or one of the {len(batch) - done - 1} sources after it" if batch[done + 1 :] else ""
        failure = _ended(worker, f"python crashed while compiling {batch[done].path}{more}")
        for request in batch[done:]:
            request.answer.set_exception(failure)


def _ended(worker: Popen[bytes], what: str) -> ProgramError:
    """The error for a worker that should still be running, with what it said last."""
    worker.kill()
    code = worker.wait()
    assert worker.stderr is not None
    said = worker.stderr.read().decode("utf-8", "replace").strip()
    return ProgramError(what, why=said or f"exit code {code}")


def _write(home: Path, member: Member, tar: TarStream) -> None:
    path = home / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.type == tar_stream.SYMLINK and "/" not in member.link:
        path.symlink_to(member.link)
    elif member.type == tar_stream.FILE:
        with path.open("xb") as file:
            for chunk in tar.chunks():
                file.write(chunk)
        path.chmod(0o700)


def _take(worker: Popen[bytes]) -> bytes | None:
    """One length-prefixed message, or ``None`` when the worker ended."""
    assert worker.stdout is not None
    size = worker.stdout.read(4)
    data = worker.stdout.read(int.from_bytes(size, "big"))
    return data if len(size) == 4 and len(data) == int.from_bytes(size, "big") else None
