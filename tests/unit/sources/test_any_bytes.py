"""Whatever bytes come as a source: a specification or an :class:`EnvpackError`, soon, in little memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envpack.errors import EnvpackError
from envpack.ledger import Ledger
from envpack.sources import read
from envpack.spec import EnvSpec

ENVIRONMENT = """\
name: study
channels: [conda-forge, https://host/channel]
dependencies:
  - numpy=1.26=py311_0  # [linux]
  - "scipy >=1.2,!=1.3"
  - conda-forge/osx-64::gdal[version='>=3']
  - pip:
      - -r more.txt
      - torch==2.1.0+cu121 --hash=sha256:00
      - --extra-index-url https://host/simple
variables: {A: &a b, C: *a}
prefix: C:\\Users\\me
"""
FREEZE = """\
WARNING: a message
numpy==1.26.4 \\
    --hash=sha256:00
x @ file:///croot/x_1/work
-e git+https://me:pw@host/x.git@abc#egg=x
distro-info===0.18ubuntu0.18.04.1
zlib=1.2.11=h0_0
rich[jupyter]>=13 ; python_version >= "3.9"
-c c.txt
"""
LIST = "# packages in environment at /x:\n#\n# Name Version Build Channel\nzlib  1.2.11  h0_0  conda-forge\n"
EXPLICIT = "@EXPLICIT\nhttps://host/c/linux-64/zlib-1.2.11-h0_0.conda#00112233445566778899aabbccddeeff\n"
PYLOCK = """\
lock-version = "1.0"
version = 1
requires-python = "^3.9"
[[packages]]
name = "rich"
version = "13.9.4"
marker = "sys_platform == 'win32'"
vcs = {type = "git", url = "https://host/x"}
[[package]]
name = "rich"
version = "13.9.4"
groups = ["main"]
[package.source]
type = "legacy"
url = "https://host/simple"
[packages]
rich = {version = "*", extras = ["x"]}
"""
PIPFILE_LOCK = (
    '{"_meta": {"sources": [{"url": "x"}]}, "default": {"rich": {"version": "==1", "markers": "x"}}}\n'
)
TEXTS = (ENVIRONMENT, FREEZE, LIST, EXPLICIT, PYLOCK, PIPFILE_LOCK)
NAMES = (
    *("environment.yml", "requirements.txt", "list", "env.json", "pyproject.toml", "pixi.toml", "a.lock"),
    *("pylock.toml", "uv.lock", "poetry.lock", "Pipfile", "Pipfile.lock"),
)
SECONDS = 20


def outcome(data: bytes, name: str | None, folder: Path) -> EnvSpec | EnvpackError:
    """What comes of ``data`` in a file called ``name``, or on standard input."""
    try:
        if name is None:
            return read("-", directory=folder, stdin=data, name="x", ledger=Ledger())
        (folder / name).write_bytes(data)
        return read(name, directory=folder, name="x", ledger=Ledger())
    except EnvpackError as error:
        return error


ANY = settings(
    deadline=None,  # the machine may be busy
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # every example writes the file anew
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])


@ANY
@given(st.binary(max_size=400), st.sampled_from((None, *NAMES)))
def test_any_bytes(tmp_path: Path, data: bytes, name: str | None) -> None:
    outcome(data, name, tmp_path)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file that looks real, with pieces taken out, put in, doubled, and moved; in any encoding."""
    lines = draw(st.sampled_from(TEXTS)).splitlines(keepends=True)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines)))
        lines[at:at] = draw(st.sampled_from(TEXTS)).splitlines(keepends=True)[: draw(st.integers(0, 3))]
    text = "".join(lines)
    for _ in range(draw(st.integers(0, 6))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 8))
        text = text[:at] + draw(st.text(max_size=6)) + text[at + length :]
    data = text.encode(draw(ENCODINGS), "replace")
    if draw(st.booleans()):
        data += draw(st.sampled_from(TEXTS)).encode(draw(ENCODINGS))
    return data.replace(b"\n", b"\r\n") if draw(st.booleans()) else data


@ANY
@given(mutated(), st.sampled_from((None, *NAMES)))
def test_files_that_look_real(tmp_path: Path, data: bytes, name: str | None) -> None:
    outcome(data, name, tmp_path)


def bomb(key: str) -> bytes:
    """Thirty lines that stand for ten to the thirtieth texts, as the value of ``key``."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join([*lines, f"{key}: *a29", ""]).encode()


HUGE = {
    "bomb of dependencies": bomb("dependencies"),
    "bomb of variables": bomb("variables"),
    "bomb of a key that is not known": bomb("dependencies: [a]\nmore"),
    "deep in YAML": b"dependencies: " + b"[" * 200_000,
    "deep in JSON": b'{"dependencies": ' + b'[{"a":' * 100_000,
    "many items": b"name: x\ndependencies:\n" + b"- numpy=1.26\n" * 40_000,
    "ten megabytes of one line": b"a" * 10_000_000,
    "ten megabytes of blanks": b" \n" * 5_000_000,
    "ten megabytes of requirements": b"numpy==1.26.4\n" * 700_000,
    "ten megabytes of rows": b"numpy  1.26.4  py311_0  conda-forge\n" * 300_000,
    "ten megabytes of equals": b"=" * 10_000_000,
    "half a megabyte of blanks and one letter": b"x" + b" " * 500_000 + b"y",
    "half a megabyte of brackets": b"x" + b"[" * 500_000,
    "half a megabyte of options": b"-i x " * 100_000,
    "half a megabyte of continuations": b"a\\\n" * 160_000,
    "half a megabyte of templates that do not end": b"{{" * 250_000,
    "half a megabyte of conditions": b"dependencies:\n- a  # " + b"[" * 500_000,
    "half a megabyte of zeros": b"\0" * 500_000,
}


@pytest.mark.parametrize("name", ["environment.yml", "requirements.txt", "list", None])
@pytest.mark.parametrize("data", HUGE.values(), ids=HUGE)
def test_time_and_memory_are_bounded(tmp_path: Path, data: bytes, name: str | None) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    outcome(data, name, tmp_path)
    assert time.process_time() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # KiB
