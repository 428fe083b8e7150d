"""Work that begins as soon as the files it needs are there: linking goes on while others are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Arrivals:
    """Runs work in ``workers`` threads, each piece once all of its files have arrived.

    A context manager. Leaving it with an error calls ``stop``, drops what has not begun and waits for what
    has; leaving it otherwise waits for what can still begin.
    """

    def __init__(self, workers: int, stop: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="link")
        self._stop = stop
        self._lock = threading.Lock()
        self._here: set[Path] = set()
        self._waiting: list[tuple[set[Path], Callable[[], object]]] = []

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stop()
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def when(self, files: Iterable[Path], work: Callable[[], T]) -> Future[T]:
        """The result of ``work``, which begins when all of ``files`` have :meth:`arrived`."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:  # noqa: BLE001 raised again by the one who asks for the result
                result.set_exception(error)

        with self._lock:
            missing = set(files) - self._here
            if missing:
                self._waiting.append((missing, run))
            else:
                self._pool.submit(run)
        return result

    def arrived(self, file: Path) -> None:
        """Say that a file is whole. May be called from any thread."""
        with self._lock:
            self._here.add(file)
            for missing, _ in self._waiting:
                missing.discard(file)
            ready = [run for missing, run in self._waiting if not missing]
            self._waiting = [(missing, run) for missing, run in self._waiting if missing]
            for run in ready:
                self._pool.submit(run)
