"""Bytecode that python takes without looking at the clock: unchecked-hash ``.pyc`` files (PEP 552).

    offset  size  field of a .pyc
       0      4   magic number of the python version
       4      4   flags: 0 timestamp, 1 hash, 3 hash that is checked on import
       8      4   flags 0: mtime of the source       flags 1 and 3: hash of the source
      12      4            size of the source        (8 bytes)
      16      …   the marshalled code

Files in an image have one date, which is not the one that packages record in their ``.pyc``; python would
take all of them for stale and compile each source at every import. So the header of a ``.pyc`` that fits
its source is rewritten, and one that does not fit (its source was changed by prefix replacement, or by
hand) is compiled anew.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from envpack.content.compiler import Answer, Compiler
from envpack.entry import Entry, Kind, file

_PYC = re.compile(r"((?:.*/)?)__pycache__/([^/]+?)\.([^./]+)((?:\.opt-[^./]+)?)\.pyc\Z", re.DOTALL)
_HEADER = 16
_UNCHECKED = (1).to_bytes(4, "little")
_NO_HASH = bytes(8)
# Sources handed out before the first result is waited for: enough for any number of workers, and a
# constant, so that the order of entries is the same on every machine.
_WINDOW = 64


def with_bytecode(
    entries: Iterable[Entry],
    compiler: Compiler | None,
    *,
    folder: str | None,
    shipped: Iterable[str] = (),
    make_missing: bool,
) -> Iterator[Entry]:
    """Pass entries through, with bytecode mended and, where ``make_missing`` says so, made.

    ``folder`` is where sources are compiled, relative to the image's root (``None``: nowhere); ``shipped``
    are the paths of all ``.pyc`` among the entries. Sources and bytecode carry the mtimes of their package;
    a source without one counts as changed. Without ``compiler`` nothing is compiled, and mended headers
    have zeros in place of the source's hash, which python does not look at.

    Sources and bytecode are held in memory until both are there. The order of the result depends on that
    of ``entries`` alone. Raises what ``entries`` and the compiler raise.
    """
    yield from _Pass(compiler, folder, shipped, make_missing).run(entries)


def source_of(pyc: str) -> str | None:
    """The path of the source that python takes the ``.pyc`` at this path for; ``None`` if it takes none."""
    match = _PYC.match(pyc)
    return f"{match[1]}{match[2]}.py" if match else None


@dataclass(frozen=True, slots=True)
class _File:
    """A source or a ``.pyc`` with its content."""

    entry: Entry
    data: bytes

    @property
    def is_timestamp(self) -> bool:
        return len(self.data) >= _HEADER and self.data[4:8] == bytes(4)

    def fits(self, source: _File) -> bool:
        """Whether python would take this for the bytecode of ``source``, as the package has the two."""
        if source.entry.mtime is None:
            return False
        stamp, size = source.entry.mtime & 0xFFFFFFFF, len(source.data) & 0xFFFFFFFF
        return self.data[8:_HEADER] == stamp.to_bytes(4, "little") + size.to_bytes(4, "little")


@dataclass(slots=True)
class _Pending:
    """A ``.pyc`` on its way: what to make of the compiler's answer."""

    answer: Answer
    finish: Callable[[bytes | None], Entry | None]


@dataclass(slots=True)
class _Pass:
    compiler: Compiler | None
    folder: str | None
    shipped: Iterable[str]
    make_missing: bool
    awaited: Counter[str] = field(default_factory=Counter)  # by source: its .pyc still to come
    sources: dict[str, _File] = field(default_factory=dict)
    early: dict[str, list[_File]] = field(default_factory=dict)  # .pyc that came before their source
    pending: deque[_Pending] = field(default_factory=deque)

    def run(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        self.awaited.update(source for pyc in self.shipped if (source := source_of(pyc)))
        for entry in entries:
            if entry.kind is Kind.FILE and (source := source_of(entry.path)):
                yield from self._pyc(_File(entry, b"".join(entry.chunks)), source)
            elif entry.kind is Kind.FILE and entry.path.endswith(".py"):
                found = _File(entry, b"".join(entry.chunks))
                yield entry.with_content((found.data,), entry.mtime)
                yield from self._source(found)
            else:
                yield entry
            while len(self.pending) > _WINDOW:
                yield from self._finished()
        for orphans in self.early.values():
            yield from (replace(orphan.entry, chunks=(orphan.data,)) for orphan in orphans)
        while self.pending:
            yield from self._finished()

    def _finished(self) -> Iterator[Entry]:
        pending = self.pending.popleft()
        entry = pending.finish(pending.answer.result())
        if entry is not None:
            yield entry

    def _pyc(self, pyc: _File, source: str) -> Iterator[Entry]:
        self.awaited[source] -= 1
        if source in self.sources:
            found = self.sources[source] if self.awaited[source] > 0 else self.sources.pop(source)
            yield from self._mended(pyc, found)
        else:
            self.early.setdefault(source, []).append(pyc)

    def _source(self, source: _File) -> Iterator[Entry]:
        path = source.entry.path
        early = self.early.pop(path, [])
        for pyc in early:
            yield from self._mended(pyc, source)
        if self.awaited[path] > 0:
            self.sources[path] = source
        elif not early and self.make_missing and self.compiler is not None and self._is_compiled(path):
            folder, _, name = path.rpartition("/")
            target = f"{folder}/__pycache__/{name[:-3]}.{self.compiler.cache_tag}.pyc"
            # As python itself does on first import: readable as the source is, writable for the owner.
            mode = source.entry.mode & 0o644 | 0o200
            self.pending.append(
                _Pending(
                    self.compiler.compile(f"/{path}", source.data),
                    lambda data: None if data is None else file(target, data, mode),
                )
            )

    def _is_compiled(self, path: str) -> bool:
        return self.folder is not None and path.startswith(self.folder + "/")

    def _mended(self, pyc: _File, source: _File) -> Iterator[Entry]:
        """One of: as it is, with a new header, compiled anew."""

        def finish(data: bytes | None) -> Entry:
            return file(pyc.entry.path, data or pyc.data, pyc.entry.mode)

        def finish_header(digest: bytes | None) -> Entry:
            return finish(pyc.data[:4] + _UNCHECKED + (digest or _NO_HASH) + pyc.data[_HEADER:])

        compiler = self.compiler
        ours = compiler is not None and pyc.entry.path.endswith(f".{compiler.cache_tag}.pyc")
        if not pyc.is_timestamp:
            yield finish(None)
        elif pyc.fits(source):
            if compiler is not None and pyc.data[:4] == compiler.magic:
                self.pending.append(_Pending(compiler.source_hash(source.data), finish_header))
            else:
                yield finish_header(None)
        elif compiler is not None and ours and self._is_compiled(source.entry.path):
            answer = compiler.compile(f"/{source.entry.path}", source.data)
            self.pending.append(_Pending(answer, finish))
        else:
            yield finish(None)
