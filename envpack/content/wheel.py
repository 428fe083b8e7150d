"""Wheels as they stand in an environment: linked in memory, equal to what PyPI's ``installer`` does.

    NAME-VERSION-TAGS.whl               a zip
        package/…                         files of the root scheme: purelib or platlib, both site-packages
        NAME-VERSION.data/SCHEME/…        files of another scheme: purelib, platlib, scripts, data, headers
        NAME-VERSION.dist-info/WHEEL      Wheel-Version, Root-Is-Purelib
        NAME-VERSION.dist-info/RECORD     path, sha256, size of every file
        NAME-VERSION.dist-info/entry_points.txt   console_scripts and gui_scripts become scripts in bin

Specifications: https://packaging.python.org/en/latest/specifications/binary-distribution-format/ and
…/recording-installed-packages/ and …/entry-points/.

``INSTALLER`` says ``pip``, as the specification's readers treat it: conda and pip list and update such
packages as pip's. ``REQUESTED`` and ``direct_url.json`` are not written. Bytecode is not in ``RECORD``; the
specification leaves that open, and the record stays the same whether or not bytecode was compiled.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import posixpath
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from envpack.content import bytecode
from envpack.content.compiler import Compiler
from envpack.content.damaged import damaged, reading
from envpack.content.python_layout import PythonLayout
from envpack.entry import Entry, Kind, file, is_safe_path
from envpack.lockfile import LockedPackage

_SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # PEP 427: in no RECORD, and without use
_ENTRY_POINT = re.compile(r"([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\]\s*)?\Z")
_HASHES = ("sha256", "sha384", "sha512")
_CHUNK = 1 << 20
_MAX_SHEBANG = 127
_SCRIPT = """\
# -*- coding: utf-8 -*-
import re
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit({function}())
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel file and what it says of itself.

    ``dist_info`` is the name of that folder, ``record`` the hash and size of every path as RECORD has them,
    ``scripts`` the entry points as (command, module, function).
    """

    path: Path
    dist_info: str
    is_purelib: bool
    record: Mapping[str, tuple[str, str]]
    scripts: tuple[tuple[str, str, str], ...]

    def entries(self, prefix: str, python: PythonLayout, compiler: Compiler | None = None) -> Iterator[Entry]:
        """Everything the wheel puts into an image, RECORD last before late bytecode.

        ``prefix`` is absolute (``/opt/env``); paths come out relative to the image's root. With ``compiler``
        sources get bytecode. Raises :class:`IntegrityError` when a file does not have the hash that RECORD
        states, and what the compiler raises.
        """
        return bytecode.with_bytecode(
            _Linking(self, prefix, python).entries(),
            compiler,
            folder=f"{prefix.strip('/')}/{python.site_packages}",
            make_missing=True,
        )


def open(path: Path, locked: LockedPackage) -> Wheel:
    """The wheel ``locked``, which is at ``path``. Its own list of files is checked, the files are not yet.

    Raises :class:`IntegrityError` when it is no wheel, not this one, or of a version that is not known.
    """
    with reading(path), ZipFile(path) as archive:
        names = [info.filename for info in archive.infolist()]
        folders = sorted({n.partition("/")[0] for n in names if n.partition("/")[0].endswith(".dist-info")})
        if len(folders) != 1:
            raise ValueError(f"it has {len(folders)} .dist-info folders instead of one")
        dist_info = folders[0]
        distribution = _distribution(dist_info)
        if _normalized(distribution) != _normalized(locked.name):
            raise ValueError(f"it is {distribution}, not {locked.name}")
        if len(set(names)) != len(names):
            raise ValueError("it holds a file twice")
        metadata = HeaderParser().parsestr(archive.read(f"{dist_info}/WHEEL").decode())
        if not str(metadata["Wheel-Version"]).startswith("1."):
            raise ValueError(f"it is a wheel of version {metadata['Wheel-Version']}, and 1 is known")
        record = _record(archive.read(f"{dist_info}/RECORD").decode())
        for info in archive.infolist():
            _check(info, dist_info, record)
        entry_points = f"{dist_info}/entry_points.txt"
        scripts = _scripts(archive.read(entry_points).decode()) if entry_points in names else ()
    return Wheel(path, dist_info, metadata["Root-Is-Purelib"] == "true", record, scripts)


def _distribution(dist_info: str) -> str:
    """``NAME`` of ``NAME-VERSION.dist-info``."""
    return dist_info.removesuffix(".dist-info").rpartition("-")[0]


def _normalized(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _record(text: str) -> dict[str, tuple[str, str]]:
    rows = list(csv.reader(text.splitlines()))
    if any(len(row) != 3 for row in rows):
        raise ValueError("its RECORD has a line that is not path, hash and size")
    return {path.replace("\\", "/"): (digest, size) for path, digest, size in rows}


def _check(info: ZipInfo, dist_info: str, record: Mapping[str, tuple[str, str]]) -> None:
    """Raise ``ValueError`` for a member that must not be or that RECORD does not vouch for."""
    name = info.filename
    if not is_safe_path(name.removesuffix("/")):
        raise ValueError(f"it holds a file with the name {name!r}")
    if info.flag_bits & 1:
        raise ValueError(f"{name} is encrypted")
    if info.is_dir() or name in {f"{dist_info}/{special}" for special in ("RECORD", *_SIGNATURES)}:
        return
    if name not in record:
        raise ValueError(f"it holds {name}, which its RECORD does not list")
    digest, size = record[name]
    if digest.partition("=")[0] not in _HASHES or not size.isdecimal():
        raise ValueError(f"its RECORD has no sha256 and size of {name}")
    if int(size) != info.file_size:
        raise ValueError(f"{name} has {info.file_size} bytes, and its RECORD says {size}")


def _scripts(text: str) -> tuple[tuple[str, str, str], ...]:
    parser = configparser.ConfigParser(delimiters="=", strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment] # as documented: names keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(f"its entry_points.txt is malformed: {error}") from error
    found = []
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            match = _ENTRY_POINT.match(value)
            if match is None or "/" in name or not is_safe_path(name):
                raise ValueError(f"it has the entry point {name} = {value}")
            found.append((name, match[1], match[2]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the new RECORD: the path within its scheme, as it is sorted by, and as it is written."""

    path: str
    written: str
    digest: str
    size: int


@dataclass(slots=True)
class _Linking:
    """One pass over a wheel; collects the new RECORD."""

    wheel: Wheel
    prefix: str
    python: PythonLayout
    rows: list[_Row] = field(default_factory=list)

    def entries(self) -> Iterator[Entry]:
        for name, module, function in self.wheel.scripts:
            code = _SCRIPT.format(module=module, function=function, first=function.partition(".")[0])
            yield self._whole("scripts", name, self._interpreter_line() + code.encode(), 0o755)
        with reading(self.wheel.path), ZipFile(self.wheel.path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from self._member(archive, info)
        dist_info = self.wheel.dist_info
        yield self._whole(self._root_scheme, f"{dist_info}/INSTALLER", b"pip\n", 0o644)
        yield file(self._place(self._root_scheme, f"{dist_info}/RECORD"), self._new_record())

    @property
    def _root_scheme(self) -> str:
        return "purelib" if self.wheel.is_purelib else "platlib"

    def _folder(self, scheme: str) -> str:
        """Where a scheme's files go, relative to the prefix."""
        if scheme == "headers":
            return f"include/{self.python.stdlib.rpartition('/')[2]}/{_distribution(self.wheel.dist_info)}"
        return {"scripts": "bin", "data": "."}.get(scheme, self.python.site_packages)

    def _place(self, scheme: str, path: str) -> str:
        return posixpath.normpath(posixpath.join(self.prefix.strip("/"), self._folder(scheme), path))

    def _member(self, archive: ZipFile, info: ZipInfo) -> Iterator[Entry]:
        name = info.filename
        kept = {f"{self.wheel.dist_info}/{special}" for special in ("RECORD", "INSTALLER")}
        if name in kept or "__pycache__" in name.split("/")[:-1]:
            return
        scheme, path = self._scheme(name)
        mode = info.external_attr >> 16
        mode = 0o755 if stat.S_ISREG(mode) and mode & 0o111 else 0o644
        content = _Verified(self.wheel, info, archive)
        if scheme == "scripts":
            yield self._whole(scheme, path, self._with_interpreter(b"".join(content)), mode)
        else:
            yield Entry(self._place(scheme, path), Kind.FILE, mode, info.file_size, content)
            for _ in content:  # what was not taken is verified all the same
                pass
            self._note(scheme, path, content.sha256.digest(), info.file_size)

    def _scheme(self, name: str) -> tuple[str, str]:
        first, _, rest = name.partition("/")
        if not first.endswith(".data"):
            return self._root_scheme, name
        scheme, _, path = rest.partition("/")
        if scheme not in _SCHEMES or not path:
            raise ValueError(f"{name} is in no folder that wheels have")
        return scheme, path

    def _whole(self, scheme: str, path: str, data: bytes, mode: int) -> Entry:
        self._note(scheme, path, hashlib.sha256(data).digest(), len(data))
        return file(self._place(scheme, path), data, mode)

    def _note(self, scheme: str, path: str, digest: bytes, size: int) -> None:
        written = path
        if scheme != self._root_scheme:
            written = f"{posixpath.relpath(self._folder(scheme), self.python.site_packages)}/{path}"
        self.rows.append(_Row(path, written, f"sha256={_encoded(digest)}", size))

    def _new_record(self) -> bytes:
        path = f"{self.wheel.dist_info}/RECORD"
        lines = [(row.path, (row.written, row.digest, str(row.size))) for row in self.rows]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows(row for _, row in sorted([*lines, (path, (path, "", ""))], key=lambda line: line[0]))
        return out.getvalue().encode()

    def _interpreter_line(self) -> bytes:
        executable = f"{self.prefix}/{self.python.executable}"
        if " " in executable or len(executable.encode()) + len("#!\n") > _MAX_SHEBANG:
            return f"#!/bin/sh\n'''exec' {shlex.quote(executable)} \"$0\" \"$@\"\n' '''\n".encode()
        return f"#!{executable}\n".encode()

    def _with_interpreter(self, script: bytes) -> bytes:
        """The ``#!python`` of a script names the environment's python."""
        if not script.startswith(b"#!python"):
            return script
        return self._interpreter_line() + script.partition(b"\n")[2]


class _Verified:
    """The chunks of a member; raises :class:`IntegrityError` at their end unless RECORD agrees."""

    def __init__(self, wheel: Wheel, info: ZipInfo, archive: ZipFile) -> None:
        self._wheel = wheel
        self._info = info
        self._chunks = self._read(archive)
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def _read(self, archive: ZipFile) -> Iterator[bytes]:
        algorithm, _, expected = self._wheel.record.get(self._info.filename, ("", ""))[0].partition("=")
        stated = self.sha256 if algorithm in ("", "sha256") else hashlib.new(algorithm)
        with reading(self._wheel.path), archive.open(self._info) as stream:
            while chunk := stream.read(_CHUNK):
                self.sha256.update(chunk)
                if stated is not self.sha256:
                    stated.update(chunk)
                yield chunk
        if algorithm and _encoded(stated.digest()) != expected:
            raise damaged(self._wheel.path, f"{self._info.filename} does not have the hash in its RECORD")


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
