from __future__ import annotations

import importlib.util
import struct
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.content.bytecode import source_of, with_bytecode
from envpack.content.compiler import Compiler
from envpack.entry import Entry, Kind, file, symlink
from tests.unit.content.archives import MTIME, content

FOLDER = "opt/env/lib/python3.11"
PACKAGE = f"{FOLDER}/site-packages/p"


@pytest.fixture(scope="module")
def compiler(python_package: Path) -> Iterator[Compiler]:
    with Compiler(python_package, workers=2) as compiler:
        yield compiler


def dated(entry: Entry) -> Entry:
    return replace(entry, mtime=MTIME)


def timestamped(source: bytes, mtime: int = MTIME) -> bytes:
    return importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, mtime, len(source)) + b"code"


def run(entries: list[Entry], compiler: Compiler | None, *, missing: bool = True) -> dict[str, bytes]:
    shipped = [entry.path for entry in entries if entry.path.endswith(".pyc")]
    made = with_bytecode(iter(entries), compiler, folder=FOLDER, shipped=shipped, make_missing=missing)
    return {entry.path: content(entry) for entry in made}


def test_sources_get_bytecode_beside_them(compiler: Compiler) -> None:
    entries = [file(f"{PACKAGE}/a.py", b"x = 1\n", 0o755), file(f"{PACKAGE}/data.txt", b"d")]
    found = list(with_bytecode(iter(entries), compiler, folder=FOLDER, make_missing=True))
    assert [(entry.path, entry.mode) for entry in found] == [
        (f"{PACKAGE}/a.py", 0o755),
        (f"{PACKAGE}/data.txt", 0o644),
        (f"{PACKAGE}/__pycache__/a.{compiler.cache_tag}.pyc", 0o644),
    ]
    assert content(found[2]) == compiler.compile(f"/{PACKAGE}/a.py", b"x = 1\n").result()


def test_a_private_source_has_private_bytecode(compiler: Compiler) -> None:
    entries = [file(f"{PACKAGE}/a.py", b"", 0o400)]
    *_, pyc = with_bytecode(iter(entries), compiler, folder=FOLDER, make_missing=True)
    assert pyc.mode == 0o600


def test_what_gets_no_bytecode(compiler: Compiler) -> None:
    entries = [
        file("opt/env/share/x.py", b"x = 1\n"),
        file(f"{FOLDER}x/x.py", b"x = 1\n"),
        file(f"{PACKAGE}/template.py", b"def {{ name }}():\n"),
        symlink(f"{PACKAGE}/link.py", "a.py"),
        file(f"{PACKAGE}/py", b"x = 1\n"),
    ]
    assert run(entries, compiler).keys() == {entry.path for entry in entries}
    some = [file(f"{PACKAGE}/a.py", b"x = 1\n")]
    assert run(some, compiler, missing=False).keys() == run(some, None).keys() == {f"{PACKAGE}/a.py"}


@pytest.mark.parametrize("first", ["source", "bytecode"])
def test_bytecode_that_fits_gets_another_header(compiler: Compiler, first: str) -> None:
    source = b"x = 1\n"
    path = f"{PACKAGE}/__pycache__/a.{compiler.cache_tag}.pyc"
    entries = [dated(file(f"{PACKAGE}/a.py", source)), dated(file(path, timestamped(source), 0o640))]
    found = run(entries if first == "source" else entries[::-1], compiler)
    header = importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
    assert found[path] == header + importlib.util.source_hash(source) + b"code"
    assert run(entries, None)[path] == header + bytes(8) + b"code"


def test_bytecode_of_another_python_has_no_hash(compiler: Compiler) -> None:
    source = b"x = 1\n"
    path = f"{PACKAGE}/__pycache__/a.cpython-27.pyc"
    data = b"\1\2\r\n" + timestamped(source)[4:]
    found = run([dated(file(f"{PACKAGE}/a.py", source)), dated(file(path, data))], compiler)
    assert found[path] == b"\1\2\r\n\1\0\0\0" + bytes(8) + b"code"
    assert len(found) == 2, "the package ships bytecode of its own for this source"


@pytest.mark.parametrize("mtime", [MTIME, None])
def test_bytecode_that_does_not_fit_is_compiled_anew(compiler: Compiler, mtime: int | None) -> None:
    source = b"x = 1\n"
    path = f"{PACKAGE}/__pycache__/a.{compiler.cache_tag}.pyc"
    stale = timestamped(source, MTIME + 1 if mtime else MTIME)
    entries = [replace(file(f"{PACKAGE}/a.py", source), mtime=mtime), dated(file(path, stale))]
    assert (
        run(entries, compiler, missing=False)[path] == compiler.compile(f"/{PACKAGE}/a.py", source).result()
    )
    assert run(entries, None)[path] == stale


@pytest.mark.parametrize("tag", ["cpython-27", "{}.opt-2"])
def test_other_bytecode_that_does_not_fit_stays(compiler: Compiler, tag: str) -> None:
    path = f"{PACKAGE}/__pycache__/a.{tag.format(compiler.cache_tag)}.pyc"
    stale = timestamped(b"x = 1\n", MTIME + 1)
    assert (
        run([dated(file(f"{PACKAGE}/a.py", b"x = 1\n")), dated(file(path, stale))], compiler)[path] == stale
    )


def test_stale_bytecode_of_a_broken_source_stays(compiler: Compiler) -> None:
    path = f"{PACKAGE}/__pycache__/a.{compiler.cache_tag}.pyc"
    entries = [dated(file(f"{PACKAGE}/a.py", b"def\n")), dated(file(path, timestamped(b"", 1)))]
    assert run(entries, compiler)[path] == timestamped(b"", 1)


def test_sourceless_bytecode_stays(compiler: Compiler) -> None:
    paths = [f"{PACKAGE}/__pycache__/a.{compiler.cache_tag}.pyc", f"{PACKAGE}/a.pyc"]
    found = run([dated(file(path, timestamped(b""))) for path in paths], compiler)
    assert found == dict.fromkeys(paths, timestamped(b""))


class Late(Future[bytes | None]):
    """Not done before it is waited for."""

    def result(self, timeout: float | None = None) -> bytes | None:
        if not self.done():
            self.set_result(b"late")
        return super().result(timeout)


class Timed(Compiler):
    """A compiler that is always, or never, ahead of whoever asks."""

    def __init__(self, late: bool) -> None:
        super().__init__(Path("unused"))
        self.cache_tag = "cpython-311"
        self._late = late

    def compile(self, path: str, source: bytes) -> Future[bytes | None]:
        answer: Future[bytes | None] = Late() if self._late else Future()
        if not self._late:
            answer.set_result(b"at once")
        return answer


def test_the_order_does_not_depend_on_speed() -> None:
    entries = [file(f"{PACKAGE}/m{i}.py", b"x = 1\n") for i in range(150)]
    late, early = (
        [e.path for e in with_bytecode(iter(entries), Timed(late), folder=FOLDER, make_missing=True)]
        for late in (True, False)
    )
    assert late == early
    pycs = [path for path in late if path.endswith(".pyc")]
    assert [source_of(path) for path in pycs] == [entry.path for entry in entries]


def test_streams_pass_untouched() -> None:
    """Only sources and bytecode are looked at; the rest is not even begun."""

    def chunks() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    entry = Entry("opt/env/lib/big.so", Kind.FILE, 0o755, 5, chunks())
    assert list(with_bytecode([entry], None, folder=FOLDER, make_missing=True)) == [entry]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a/__pycache__/b.cpython-311.pyc", "a/b.py"),
        ("__pycache__/b.cpython-311.opt-1.pyc", "b.py"),
        ("a/__pycache__/b.c.cpython-311.pyc", "a/b.c.py"),
        ("a/b.pyc", None),
        ("a/__pycache__/b.pyc", None),
        ("a/__pycache__/b.py", None),
    ],
)
def test_which_source_bytecode_belongs_to(path: str, source: str | None) -> None:
    assert source_of(path) == source
