"""Files from the network: resumed where they stopped, verified while they are written, renamed when whole.

A file is written to ``NAME.part`` beside its final name. The part file is its own lock (flock), survives
Ctrl-C and kill -9, and becomes the final file by a rename: a file under its final name has been verified.
Where the file system has no locks, two processes writing one part write the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envpack import atomic
from envpack.config import Config
from envpack.errors import EnvpackError, IntegrityError, OutputError, Problem
from envpack.http_client import Answer, Authorize, HttpClient
from envpack.http_errors import HttpError, Target, redact
from envpack.progress import Progress

if TYPE_CHECKING:
    import requests

_CHUNK = 1 << 16  # bytes; what a broken connection may lose
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)\Z")
_BUSY = 0.1  # seconds between looks at a part that another process is writing


@dataclass(frozen=True, slots=True)
class Download:
    """One file to fetch: ``sha256`` in hexadecimal, ``size`` in bytes where it is known."""

    url: str
    path: Path
    sha256: str
    size: int | None = None
    authorize: Authorize | None = None


class Downloader:
    """Fetches documents and files with the user's mirrors and credentials (see :class:`HttpClient`).

    ``parallel`` files are fetched at a time. The other parameters are those of :class:`HttpClient`.
    """

    def __init__(
        self,
        config: Config,
        progress: Progress | None = None,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        attempts: int = 5,
        parallel: int = 5,
        wait: Callable[[float], object] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.http = HttpClient(
            config,
            progress,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            attempts=attempts,
            wait=wait,
            environ=environ,
        )
        self.config = config
        self.progress = self.http.progress
        self._parallel = parallel

    def __enter__(self) -> Downloader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, authorize: Authorize | None = None
    ) -> Answer:
        """A small document (at most 4 MiB); raises :class:`envpack.http_errors.HttpError`."""
        return self.http.get(url, headers=headers, authorize=authorize)

    def fetch(
        self,
        url: str,
        path: Path,
        *,
        sha256: str,
        size: int | None = None,
        authorize: Authorize | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,  # noqa: ARG005 counts nothing
    ) -> None:
        """Make ``path`` the verified file at ``url``; nothing is done where ``path`` exists.

        ``on_bytes`` is told how many more bytes are there, those of an earlier try included; less than
        zero when some have to be fetched again. Raises :class:`IntegrityError` when the bytes are wrong
        twice, :class:`envpack.errors.NetworkError` when they do not come, :class:`OutputError` when they
        cannot be written.
        """
        download = Download(url, path, sha256, size, authorize)
        try:
            part = self._claim(path, on_bytes)
            if part is None:
                on_bytes(path.stat().st_size)
                return
            try:
                part.resume()
                wrong: set[str] = set()  # mirrors that gave other bytes than the wanted ones
                self.http.persist(
                    url, lambda target: self._complete(part, download, target, wrong), lambda: part.have
                )
                part.finish()
            finally:
                part.close()
        except OSError as error:
            raise _cannot_write(path, error) from error

    def fetch_all(
        self,
        downloads: Sequence[Download],
        *,
        title: str = "Downloading",
        on_file: Callable[[Path], None] = lambda path: None,  # noqa: ARG005 tells nobody
    ) -> None:
        """Fetch many files at a time, and try all of them whatever happens to some.

        ``on_file`` is told, from several threads, of each file that is there, those that were before first.
        Raises the error of the one that failed, or one error that holds the problems of all that did, in
        the order of ``downloads``. Ctrl-C comes through at once; parts stay for the next run.
        """
        missing = []
        for index, download in enumerate(downloads):
            if download.path.exists():
                on_file(download.path)
            else:
                missing.append((index, download))
        if not missing:
            return
        sizes = [d.size for _, d in missing]
        total = None if None in sizes else sum(s for s in sizes if s is not None)
        failures: dict[int, BaseException] = {}
        queue = deque(missing)
        with self.progress.step(title, total, "bytes") as task:

            def work() -> None:
                while True:
                    try:
                        index, d = queue.popleft()
                    except IndexError:
                        return
                    try:
                        self.fetch(
                            d.url,
                            d.path,
                            sha256=d.sha256,
                            size=d.size,
                            authorize=d.authorize,
                            on_bytes=task.advance,
                        )
                        on_file(d.path)
                    except BaseException as error:  # noqa: BLE001 raised again by the caller's thread
                        failures[index] = error

            # Daemons: after Ctrl-C nothing waits for a thread that sits in a read of a silent server.
            threads = [
                threading.Thread(target=work, name=f"download-{n}", daemon=True)
                for n in range(min(self._parallel, len(missing)))
            ]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            except BaseException:
                queue.clear()
                self.http.stop()
                for thread in threads:
                    if thread.is_alive():  # else it was never started
                        thread.join(0.2)
                raise
        if failures:
            raise _together([failures[i] for i in sorted(failures)], len(missing))

    def _claim(self, path: Path, on_bytes: Callable[[int], None]) -> _Part | None:
        """The part of ``path``, ours alone; ``None`` when ``path`` is there, perhaps by another process."""
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.with_name(path.name + ".part")
        while not path.exists():
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                ours = atomic.lock(descriptor)
                if ours is not False and atomic.is_at(descriptor, name):
                    return _Part(descriptor, name, path, on_bytes)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if ours is False:
                self.http.check_stopped()
                threading.Event().wait(_BUSY)
        return None

    def _complete(self, part: _Part, download: Download, target: Target, wrong: set[str]) -> None:
        """Fill ``part`` from one mirror until its bytes are the wanted ones."""
        while True:
            if download.size is None or part.have < download.size:
                self._transfer(part, download, target)
            if part.is_whole(download):
                return
            got, have = part.digest, part.have
            part.restart()
            if target.actual in wrong:
                raise IntegrityError(
                    f"{redact(target.url)} does not have the recorded content",
                    why="\n".join(
                        filter(None, (_difference(download, got, have), target.asked)),
                    ),
                    hint="Run `envpack lock` again if the file was replaced on purpose; otherwise the "
                    "server or a proxy on the way changes what it gives.",
                )
            wrong.add(target.actual)
            self.progress.note(f"{redact(target.url)} came with wrong content; fetching it anew")

    def _transfer(self, part: _Part, download: Download, target: Target) -> None:
        """One request for what is missing of ``part``."""
        # identity: the hash is that of the bytes as stored, which a server may else compress on the way
        headers = {"Accept-Encoding": "identity"}
        if part.have:
            headers["Range"] = f"bytes={part.have}-"
        with self.http.opened(
            target,
            headers=headers,
            authorize=download.authorize,
            accept=(200, 206, 416) if part.have else (200,),
        ) as response:
            if response.status_code == 416:
                # Nothing comes after what is here: it is whole, or it is longer than the server's file.
                if not part.is_whole(download):
                    part.restart()
                    raise HttpError(f"{redact(target.url)} cannot be continued", transient=True)
                return
            if part.have and not _continues(response, part.have):
                part.restart()
                if response.status_code == 206:
                    raise HttpError(f"{redact(target.url)} was continued at a wrong place", transient=True)
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                self.http.check_stopped()
                part.write(chunk)
                if download.size is not None and part.have > download.size:
                    return


class _Part:
    """The bytes of one file that are here, and their hash."""

    def __init__(self, descriptor: int, name: Path, path: Path, on_bytes: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._name = name
        self._path = path
        self._on_bytes = on_bytes
        self._hash = hashlib.sha256()
        self.have = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what is here, in hexadecimal."""
        return self._hash.hexdigest()

    def resume(self) -> None:
        """Take up the bytes of an earlier try."""
        while chunk := os.read(self._descriptor, 1 << 20):
            self._hash.update(chunk)
            self.have += len(chunk)
        self._on_bytes(self.have)

    def restart(self) -> None:
        """Drop all bytes."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._on_bytes(-self.have)
        self._hash = hashlib.sha256()
        self.have = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._hash.update(chunk)
        self.have += len(chunk)
        self._on_bytes(len(chunk))

    def is_whole(self, download: Download) -> bool:
        """Whether the bytes are the wanted ones."""
        return download.size in (None, self.have) and self.digest == download.sha256

    def finish(self) -> None:
        """Give the file its final name, for good."""
        os.utime(self._descriptor)  # complete since an earlier run, perhaps, and used from now on
        os.fsync(self._descriptor)
        try:
            self._name.replace(self._path)
        except FileNotFoundError:
            if not self._path.exists():  # else: finished by another process, where there are no locks
                raise
        atomic.sync_folder(self._path.parent)

    def close(self) -> None:
        """Let go of the lock; an empty part is not worth keeping."""
        if self.have == 0 and atomic.is_at(self._descriptor, self._name):
            self._name.unlink(missing_ok=True)
        os.close(self._descriptor)


def _continues(response: requests.Response, have: int) -> bool:
    """Whether the answer holds the bytes from ``have`` on (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return response.status_code == 206 and match is not None and int(match[1]) == have


def _difference(download: Download, got: str, have: int) -> str:
    """Expected and received, line under line."""
    if download.size is not None and have > download.size:
        return f"expected {download.size} bytes, got more"
    if download.size is not None and have < download.size:
        return f"expected {download.size} bytes, got {have}"
    return f"expected sha256 {download.sha256}\n     got sha256 {got}"


def _cannot_write(path: Path, error: OSError) -> OutputError:
    """:func:`atomic.cannot_write` with the hint for files that live in the cache."""
    told = atomic.cannot_write(path, error)
    return OutputError(
        told.what,
        why=told.why,
        hint="Free some space, or name another cache folder with ENVPACK_CACHE; then run the same command "
        "again: what was downloaded is kept.",
    )


def _together(errors: Sequence[BaseException], total: int) -> BaseException:
    """One error for all: of the first one's kind. What several have in common is said once."""
    told = [e for e in errors if isinstance(e, EnvpackError)]
    if len(told) < len(errors):
        return next(e for e in errors if not isinstance(e, EnvpackError))
    if len(errors) == 1:
        return errors[0]
    problems = {p: None for e in told for p in (e.problems or (Problem(e.what, e.where, e.why, e.hint),))}
    kind = next(base for base in type(told[0]).__mro__ if base.__module__ == EnvpackError.__module__)
    assert issubclass(kind, EnvpackError)
    return kind(
        f"{len(errors)} of {total} files could not be downloaded",
        problems=tuple(problems),
        hint="Run the same command again when that is settled; what was downloaded is kept.",
    )
