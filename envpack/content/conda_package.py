"""Conda packages as they stand in an environment: linked in memory, equal to what rattler's installer does.

For each path that ``paths.json`` lists: the placeholder of the build's prefix is replaced, the python files
of noarch packages go where the environment's python looks for them, and modes are those of the archive
without set-id and sticky bits, with what the owner may read and run open to all: an image's files belong to
root, whoever uses it. Entry points of noarch python packages become scripts, and a record in
``conda-meta`` ends the sequence.

Link scripts (``bin/.NAME-post-link.sh``, …) are files like others here: nothing is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envpack.cache import archive_name
from envpack.content import bytecode, prefix_record, tar_stream
from envpack.content.compiler import Compiler
from envpack.content.conda_archive import CondaArchive, PathInfo
from envpack.content.damaged import damaged
from envpack.content.prefix_record import LinkedPath
from envpack.content.prefix_replacement import (
    PrefixTooLong,
    interpreter_line,
    replace_binary,
    replace_text,
)
from envpack.content.python_layout import PythonLayout
from envpack.content.tar_stream import Member, TarStream
from envpack.entry import Entry, Kind, encode_path, file, is_safe_path, symlink
from envpack.errors import IntegrityError
from envpack.lockfile import LockedPackage

_ENTRY_POINT = re.compile(r"\s*([^\s=/][^=/]*?)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*\Z")
_SCRIPT = """\
{interpreter}
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {first}

if __name__ == '__main__':
\tsys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
\tsys.exit({function}())
"""
_SCRIPT_MODE = 0o775


@dataclass(frozen=True, slots=True)
class CondaPackage:
    """An archive together with the lock's word on it."""

    archive: CondaArchive
    locked: LockedPackage

    @property
    def link_scripts(self) -> tuple[str, ...]:
        """Paths of scripts that conda would run while linking: whoever needs what they do misses it."""
        names = (f"bin/.{self.archive.index['name']}-{when}-link.sh" for when in ("pre", "post"))
        return tuple(name for name in names if name in self.archive.paths)

    def entries(
        self,
        prefix: str,
        python: PythonLayout | None,
        compiler: Compiler | None = None,
        requested: Sequence[str] = (),
    ) -> Iterator[Entry]:
        """Everything the package puts into an image, the ``conda-meta`` record last.

        ``prefix`` is absolute (``/opt/env``); paths come out relative to the image's root. ``python`` is the
        environment's, ``None`` if it has none. With ``compiler`` missing bytecode is made; without it what
        is there is only mended (:mod:`envpack.content.bytecode`). ``requested`` are the specs of the
        environment file for this package.

        Raises :class:`IntegrityError` when the archive is not what its description says, or needs a python
        or a shorter prefix.
        """
        return _Linking(self, prefix, python).entries(compiler, requested)


def open(path: Path, locked: LockedPackage) -> CondaPackage:
    """The package ``locked``, whose archive is at ``path``. Raises :class:`IntegrityError`."""
    archive = CondaArchive.open(path)
    index = archive.index
    identity = tuple(index.get(key) for key in ("name", "version", "build"))
    if not all(isinstance(part, str) and is_safe_path(part) and "/" not in part for part in identity):
        raise damaged(path, f"name, version and build are {identity}")
    if (str(identity[0]).lower(), identity[1]) != (locked.name.lower(), locked.version):
        raise damaged(path, f"it is {identity[0]} {identity[1]}, not {locked.name} {locked.version}")
    return CondaPackage(archive, locked)


@dataclass(slots=True)
class _Linking:
    """One pass over a package; collects what the record needs."""

    package: CondaPackage
    prefix: str
    python: PythonLayout | None
    linked: dict[str, LinkedPath] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)  # whose hash paths.json does not know

    @property
    def root(self) -> str:
        return self.prefix.strip("/")

    def entries(self, compiler: Compiler | None, requested: Sequence[str]) -> Iterator[Entry]:
        archive = self.package.archive
        if archive.is_noarch_python and self.python is None:
            raise IntegrityError(
                f"{archive_name(archive.path)} is a python package, and the environment has no python",
                hint="Add python to the environment file and lock again.",
            )
        for entry in self._with_bytecode(compiler):
            yield from self._recorded(entry)
        yield prefix_record.entry(
            self.root,
            self.package.locked,
            archive.index,
            size=archive.path.stat().st_size,
            paths=self.linked.values(),
            requested=requested,
        )

    def _with_bytecode(self, compiler: Compiler | None) -> Iterator[Entry]:
        archive = self.package.archive
        shipped = [f"{self.root}/{self._destination(p)}" for p in archive.paths if p.endswith(".pyc")]
        return bytecode.with_bytecode(
            self._payload(),
            compiler,
            folder=f"{self.root}/{self.python.stdlib}" if self.python else None,
            shipped=shipped,
            make_missing=archive.is_noarch_python or not shipped,
        )

    def _payload(self) -> Iterator[Entry]:
        """The package's files and scripts; files carry the archive's mtime unless their text was changed."""
        archive = self.package.archive
        scripts = {entry.path: entry for entry in self._scripts()} if archive.is_noarch_python else {}
        seen: dict[str, Member] = {}
        for member, tar in archive.members():
            info = archive.paths.get(member.name)
            if info is None:
                continue  # not part of the package: conda and rattler link what is listed
            if member.name in seen:
                raise damaged(archive.path, f"it holds {member.name} twice")
            seen[member.name] = member
            path = f"{self.root}/{self._destination(info.path)}"
            if path in scripts:  # conda, too, lets the entry point have the name
                continue
            if path in self.linked:
                raise damaged(archive.path, f"{info.path} and another file both go to /{path}")
            yield self._entry(path, info, member, tar, seen)
        missing = [p for p, info in archive.paths.items() if p not in seen and info.path_type != "directory"]
        if missing:
            raise damaged(
                archive.path,
                f"it lacks {missing[0]}"
                + (f" and {len(missing) - 1} more of the files" if missing[1:] else "")
                + " that info/paths.json lists",
            )
        for path, script in scripts.items():
            digest = hashlib.sha256(b"".join(script.chunks)).hexdigest()
            name = path.removeprefix(f"{self.root}/")
            self.linked[path] = LinkedPath(name, "unix_python_entry_point", script.size, digest)
            yield script

    def _entry(
        self, path: str, info: PathInfo, member: Member, tar: TarStream, seen: dict[str, Member]
    ) -> Entry:
        mode = _mode(member)
        self.linked[path] = LinkedPath(
            self._destination(info.path),
            info.path_type,
            info.size or member.size,
            info.sha256,
            file_mode=info.file_mode,
            placeholder=info.placeholder,
            no_link=info.no_link,
        )
        match member.type:
            case tar_stream.FILE:
                if info.size is not None and info.size != member.size:
                    raise damaged(
                        self.package.archive.path,
                        f"{info.path} has {member.size} bytes, and info/paths.json says {info.size}",
                    )
                return self._file(path, mode, info, member, tar.chunks())
            case tar_stream.SYMLINK:
                return symlink(path, member.link)
            case tar_stream.DIRECTORY:
                return Entry(path, Kind.DIRECTORY, mode)
            case tar_stream.HARDLINK:
                return self._hard_link(path, info, member, seen)
            case _:
                raise damaged(self.package.archive.path, f"{info.path} is a device or a pipe")

    def _file(self, path: str, mode: int, info: PathInfo, member: Member, chunks: Iterable[bytes]) -> Entry:
        if info.placeholder is None:
            if info.sha256 is None:
                self.changed.add(path)
            return Entry(path, Kind.FILE, mode, member.size, chunks, mtime=member.mtime)
        self.changed.add(path)
        if info.file_mode == "text":
            return file(path, replace_text(b"".join(chunks), info.placeholder, self.prefix), mode)
        return Entry(path, Kind.FILE, mode, member.size, self._patched(info, info.placeholder, chunks))

    def _patched(self, info: PathInfo, placeholder: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from replace_binary(chunks, placeholder, self.prefix)
        except PrefixTooLong as error:
            raise IntegrityError(
                f"{archive_name(self.package.archive.path)} cannot be placed at {self.prefix}",
                why=f"{info.path}: {error}",
                hint="Choose a shorter prefix and lock again.",
            ) from error

    def _hard_link(self, path: str, info: PathInfo, member: Member, seen: dict[str, Member]) -> Entry:
        """A second name of a file before it; a file of its own where the two are changed differently."""
        archive = self.package.archive
        target = member.link.removeprefix("./")
        first = archive.paths.get(target)
        if target not in seen or first is None or seen[target].type == tar_stream.SYMLINK:
            raise damaged(
                archive.path, f"{info.path} is a hard link to {member.link}, which is no file before it"
            )
        original = seen[target]
        seen[info.path] = original
        # Sources and bytecode are paired and changed one by one, so they are files of their own too.
        is_python = info.path.endswith((".py", ".pyc")) or target.endswith((".py", ".pyc"))
        if is_python or (first.placeholder, first.file_mode) != (info.placeholder, info.file_mode):
            content = _content(archive, target)
            return self._file(path, _mode(original), info, original, content)
        destination = f"{self.root}/{self._destination(target)}"
        if destination in self.changed:
            self.changed.add(path)
        return Entry(path, Kind.HARDLINK, _mode(original), target=destination)

    def _destination(self, path: str) -> str:
        """Where below the prefix a path of the package goes."""
        if self.package.archive.is_noarch_python and self.python is not None:
            first, slash, rest = path.partition("/")
            if slash and first == "site-packages":
                return f"{self.python.site_packages}/{rest}"
            if slash and first == "python-scripts":
                return f"bin/{rest}"
        return path

    def _scripts(self) -> Iterator[Entry]:
        """The entry points of a noarch python package; scripts in memory."""
        assert self.python is not None
        interpreter = interpreter_line(f"{self.prefix}/{self.python.executable}")
        for text in self.package.archive.entry_points:
            match = _ENTRY_POINT.match(text)
            if match is None:
                raise damaged(self.package.archive.path, f"it has the entry point {text!r}")
            command, module, function = match.groups()
            script = _SCRIPT.format(
                interpreter=interpreter, module=module, function=function, first=function.partition(".")[0]
            ).encode()
            yield file(f"{self.root}/bin/{command}", script, _SCRIPT_MODE)

    def _recorded(self, entry: Entry) -> Iterator[Entry]:
        """Pass an entry on with the image's date, and note in the record what became of its content."""
        is_pyc = entry.path.endswith(".pyc")
        known = self.linked.get(entry.path)
        if entry.kind is Kind.SYMLINK:
            yield entry.with_content((), None)
            digest = hashlib.sha256(encode_path(entry.target)).hexdigest()
        elif entry.kind is Kind.FILE and (is_pyc or entry.path in self.changed):
            hashed = _Hashed(entry.chunks)
            yield entry.with_content(hashed, None)
            digest = hashed.hexdigest()
        elif entry.kind is Kind.HARDLINK and entry.path in self.changed:
            yield entry
            digest = self.linked[entry.target].in_prefix or ""
        else:
            yield entry.with_content(entry.chunks, None)
            return
        if known is None:
            known = LinkedPath(entry.path.removeprefix(f"{self.root}/"), "pyc_file", entry.size, None)
        size = entry.size if entry.kind is Kind.FILE else known.size
        self.linked[entry.path] = replace(known, size=size, in_prefix=digest)


class _Hashed:
    """Chunks, hashed as they pass; what was not taken is read before the hash is told."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self) -> str:
        for _ in self:
            pass
        return self._hash.hexdigest()


def _mode(member: Member) -> int:
    """The mode of a path in an image: the owner's bits for reading and running count for everybody."""
    mode = member.mode & 0o777
    open_to_owner = mode & 0o500
    return mode | open_to_owner >> 3 | open_to_owner >> 6


def _content(archive: CondaArchive, name: str) -> Iterator[bytes]:
    """The data of one file, in a pass of its own."""
    for member, tar in archive.members():
        if member.name == name:
            yield from tar.chunks()
            return
