from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envpack.content.compiler import Compiler
from envpack.errors import IntegrityError, ProgramError
from tests.unit.content.archives import conda, info, listed, member
from tests.unit.content.conftest import SHORT, VERSION

# Whatever the order of compiling could change: strings that get interned, codecs that get loaded.
SOURCES = {
    "star.py": b"from os.path import *\n",
    "asterisk.py": b"x = '*', '', '.', '-', 'name', 'two words'\n",
    "latin_name.py": "\N{LATIN SMALL LETTER E WITH ACUTE} = 1\n".encode(),
    "latin_text.py": "x = '\N{LATIN SMALL LETTER E WITH ACUTE}'\n".encode(),
    "named.py": b"x = '\\N{DEGREE SIGN}'\n",
    "cookie.py": b"# -*- coding: latin-1 -*-\nx = '\xe9t\xe9'\n",
    "japanese.py": "# coding: euc_jp\nx = '\N{HIRAGANA LETTER A}'\n".encode("euc_jp"),
    "sets.py": b"def f(x):\n    return x in {'a', 'b', 'c', 1, 2.0, None, (), b'z'}\n",
    "warns.py": b"x = 1 is 1\ny = '\\d'\nassert (x, 'always')\n",
    "nested.py": b"class A:\n    def f(self):\n        return [lambda i=i: i * 1.5 for i in range(300)]\n",
    "empty.py": b"",
    "os_words.py": b"import os, sys, stat\nposix, curdir, stat_result, encodings = 1, 2, 3, 4\n",
}
BROKEN = {
    "syntax.py": b"def f(:\n",
    "nul.py": b"x = 1\0\n",
    "deep.py": b"(" * 5000 + b")" * 5000,
    "cookie.py": b"# coding: no-such-codec\n",
    "undecodable.py": b"x = '\xe9'\n",
    "python2.py": b"print 'hello'\n",
}


@pytest.fixture
def compiler(python_package: Path) -> Iterator[Compiler]:
    with Compiler(python_package) as compiler:
        yield compiler


def compiled(compiler: Compiler, names: list[str]) -> dict[str, bytes | None]:
    asked = {name: compiler.compile(f"/opt/env/{name}", SOURCES[name]) for name in names}
    return {name: answer.result() for name, answer in asked.items()}


def test_what_python_itself_compiles(compiler: Compiler, tmp_path: Path) -> None:
    """``compileall`` in a process of its own for each source: it, too, depends on what it did before.

    Its own modules intern strings as well, which matters before 3.11; there the code objects are compared.
    """
    for name, source in SOURCES.items():
        (tmp_path / name).write_bytes(source)
        interned = "['', '*', *filter(str.isidentifier, map(chr, range(128, 256)))]"
        command = [
            sys.executable, "-S", "-E", "-s", "-W", "ignore", "-c",
            f"import compileall, sys; [sys.intern(c) for c in {interned}]; sys.exit(not compileall.main())",
            "-f", "-q", "--invalidation-mode", "unchecked-hash",
            "-s", str(tmp_path), "-p", "/opt/env", str(tmp_path / name),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        pyc = Path(importlib.util.cache_from_source(str(tmp_path / name)))
        ours = compiler.compile(f"/opt/env/{name}", source).result()
        assert ours is not None
        if sys.version_info >= (3, 11):
            assert ours == pyc.read_bytes(), name
        else:
            import marshal

            assert ours[:16] == pyc.read_bytes()[:16]
            assert marshal.loads(ours[16:]) == marshal.loads(pyc.read_bytes()[16:])


def test_neither_order_nor_number_of_workers_matters(python_package: Path) -> None:
    seen = []
    for seed, workers in ((0, 1), (1, 1), (2, 3), (3, 2)):
        names = sorted(SOURCES) * 2
        random.Random(seed).shuffle(names)
        with Compiler(python_package, workers=workers) as compiler:
            seen.append(compiled(compiler, names))
            seen.append(compiled(compiler, names[::-1]))
    assert all(answers == seen[0] for answers in seen)
    assert None not in seen[0].values()


@pytest.mark.parametrize("name", BROKEN)
def test_sources_that_do_not_compile_have_no_bytecode(compiler: Compiler, name: str) -> None:
    assert compiler.compile(f"/opt/env/{name}", BROKEN[name]).result() is None
    assert compiler.compile("/opt/env/a.py", b"x = 1").result() is not None, "and the next one has"


def test_magic_tag_and_source_hash_are_those_of_the_python(compiler: Compiler) -> None:
    assert compiler.magic == importlib.util.MAGIC_NUMBER
    assert compiler.cache_tag == sys.implementation.cache_tag
    assert compiler.source_hash(b"x = 1\n").result() == importlib.util.source_hash(b"x = 1\n")


def test_large_sources_and_odd_paths(compiler: Compiler) -> None:
    source = b"x = 0\n" * 60_000  # more than a pipe holds
    path = "/opt/env/n\N{LATIN SMALL LETTER AE}me \udcff\n.py"
    answers = [compiler.compile(path, source) for _ in range(3)]
    data = answers[0].result()
    assert data is not None
    assert path.encode("utf-8", "surrogatepass") in data, "as marshal writes it"
    assert all(answer.result() == data for answer in answers)


def test_settings_of_the_user_do_not_reach_it(
    python_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encodings.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    with Compiler(python_package) as compiler:
        data = compiler.compile("/a.py", b"'''documented'''\nassert x\n").result()
    assert data is not None
    assert b"documented" in data


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(python_package: Path, tmp_path: Path, fails: bool) -> None:
    def use() -> None:
        with Compiler(python_package, workers=2, folder=tmp_path) as compiler:
            assert list(tmp_path.iterdir())
            compiler.compile("/a.py", b"x = 1")
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            use()
    else:
        use()
    assert list(tmp_path.iterdir()) == []


def _package(tmp_path: Path, program: bytes) -> Path:
    members = [member(f"bin/python{SHORT}", program, mode=0o755)]
    described = info(listed(members), index={"name": "python", "version": VERSION})
    return conda(tmp_path / f"python-{VERSION}-0.conda", members, described)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"#!/bin/sh\necho libexpat.so.1: cannot open shared object file >&2\nexit 127\n", "libexpat.so.1"),
        (b"#!/bin/sh\nexit 3\n", "exit code 3"),
        (b"no program at all", "Exec format error"),
    ],
)
def test_an_interpreter_that_does_not_start(tmp_path: Path, program: bytes, said: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with pytest.raises(ProgramError) as raised, Compiler(_package(tmp_path, program), folder=folder):
        pass
    assert said in (raised.value.why or "")
    assert list(folder.iterdir()) == []


def test_an_interpreter_that_crashes(tmp_path: Path) -> None:
    hello = rb"printf '\000\000\000\007MAGItag\000\000\000\000'"
    program = b"#!/bin/sh\n" + hello + b"\nread x\necho out of memory >&2\nkill -9 $$\n"
    with (
        Compiler(_package(tmp_path, program), folder=tmp_path) as compiler,
        pytest.raises(ProgramError, match=r"crashed while compiling /a\.py") as raised,
    ):
        compiler.compile("/a.py", b"x = 1\n").result()
    assert "out of memory" in (raised.value.why or "")


def test_a_damaged_package(tmp_path: Path, python_package: Path) -> None:
    path = tmp_path / python_package.name
    path.write_bytes(python_package.read_bytes()[:-100])
    with pytest.raises(IntegrityError), Compiler(path, folder=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [path]
