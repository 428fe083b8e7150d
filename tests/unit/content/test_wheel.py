"""Wheels, compared with what PyPI's ``installer`` makes of them.

One difference: where the interpreter's path is too long for a first line, ours starts ``#!python`` scripts
through the shell, as it does entry points; installer's could not be run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from envpack.content import wheel
from envpack.content.python_layout import PythonLayout
from envpack.errors import IntegrityError
from tests.unit.content import archives
from tests.unit.content.archives import content, digest

LAYOUT = PythonLayout("3.11.7", "lib/python3.11/site-packages")
SITE = LAYOUT.site_packages
NAME = "Demo_Pkg-1.0-py3-none-any.whl"
LOCKED = replace(archives.locked("demo-pkg", filename=NAME), manager="pip")
INFO = "demo_pkg-1.0.dist-info"
DATA = "Demo_Pkg-1.0.data"

FILES = {
    "demo/__init__.py": b"x = 1\n",
    "demo/tool.sh": b"#!/bin/sh\n",
    "demo/with,comma.txt": b"c",
    "demo/__pycache__/__init__.cpython-311.pyc": b"never installed",
    "demo_pkg.libs/lib.so": bytes(range(256)) * 9000,
    f"{DATA}/scripts/run": b"#!python -E\nprint(1)\n",
    f"{DATA}/scripts/runw": b"#!pythonw\nprint(1)\n",
    f"{DATA}/scripts/shell": b"#!/bin/sh\n",
    f"{DATA}/data/share/man/demo.1": b"man",
    f"{DATA}/data/etc/demo.conf": b"conf",
    f"{DATA}/headers/demo.h": b"/* */",
    f"{DATA}/purelib/pure.py": b"p = 1\n",
    f"{DATA}/platlib/plat.py": b"p = 2\n",
    f"{INFO}/licenses/LICENSE": b"free",
    f"{INFO}/entry_points.txt": (
        b"[console_scripts]\ndemo = demo.cli:main\ndemo-x=demo : App.run [extra]\n"
        b"[gui_scripts]\nGui = demo.gui:main\n[other]\nx = not a script\n"
    ),
}
EXECUTABLE = ("demo/tool.sh", f"{DATA}/scripts/run", f"{DATA}/scripts/shell")
Tree = Mapping[str, tuple[int, bytes]]


def by_us(path: Path, prefix: str) -> Tree:
    entries = wheel.open(path, LOCKED).entries(prefix, LAYOUT)
    found = [(entry.path.removeprefix(prefix[1:] + "/"), entry.mode, content(entry)) for entry in entries]
    assert len({name for name, _, _ in found}) == len(found)
    return {name: (mode, data) for name, mode, data in found}


def by_installer(path: Path, prefix: str, root: Path) -> Tree:
    scheme = {
        "purelib": f"{prefix}/{SITE}",
        "platlib": f"{prefix}/{SITE}",
        "scripts": f"{prefix}/bin",
        "data": prefix,
        "headers": f"{prefix}/include/python3.11/demo_pkg",
    }
    destination = SchemeDictionaryDestination(
        scheme, interpreter=f"{prefix}/bin/python3.11", script_kind="posix", destdir=str(root)
    )
    with WheelFile.open(path) as source:
        source.validate_record()
        install(source, destination, additional_metadata={"INSTALLER": b"pip\n"})
    top = root / prefix[1:]
    return {
        file.relative_to(top).as_posix(): (file.stat().st_mode & 0o777, file.read_bytes())
        for file in top.rglob("*")
        if file.is_file()
    }


@pytest.mark.filterwarnings("ignore:Skip installing")
@pytest.mark.parametrize("purelib", [True, False])
@pytest.mark.parametrize("prefix", ["/opt/env", "/opt/" + "x" * 104], ids=["usual", "longest"])
def test_the_same_as_installer(tmp_path: Path, purelib: bool, prefix: str) -> None:
    path = archives.wheel(tmp_path / NAME, FILES, executable=EXECUTABLE, purelib=purelib)
    ours, theirs = by_us(path, prefix), by_installer(path, prefix, tmp_path / "root")
    assert ours.keys() == theirs.keys()
    assert {name: ours[name] for name in ours if ours[name] != theirs[name]} == {}


@pytest.mark.parametrize("prefix", ["/opt/" + "x" * 120, "/opt/my env"])
def test_interpreters_that_a_first_line_cannot_name(tmp_path: Path, prefix: str) -> None:
    entry_point = {f"{INFO}/entry_points.txt": FILES[f"{INFO}/entry_points.txt"]}
    path = archives.wheel(tmp_path / NAME, entry_point)
    assert by_us(path, prefix) == by_installer(path, prefix, tmp_path / "root")
    path = archives.wheel(tmp_path / NAME, {f"{DATA}/scripts/run": FILES[f"{DATA}/scripts/run"]})
    script = by_us(path, prefix)["bin/run"][1]
    assert script.startswith(b"#!/bin/sh\n'''exec' ")
    assert script.endswith(b"\nprint(1)\n")


def test_files_that_installers_write_are_not_taken_from_the_wheel(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, {"demo.py": b"", f"{INFO}/INSTALLER": b"someone\n"})
    found = by_us(path, "/opt/env")
    assert found[f"{SITE}/{INFO}/INSTALLER"][1] == b"pip\n"
    assert f"{SITE}/{INFO}/REQUESTED" not in found
    record = found[f"{SITE}/{INFO}/RECORD"][1].decode()
    assert f"{INFO}/INSTALLER,sha256={digest(b'pip' + bytes([10]))},4\n" in record
    assert f"{INFO}/RECORD,,\n" in record


@pytest.mark.parametrize(
    ("files", "record", "said"),
    [
        ({"a.py": b"x"}, {"a.py": f"sha256={digest(b'y')},1"}, "a.py does not have the hash"),
        ({"a.py": b"x"}, {"a.py": f"sha256={digest(b'x')},2"}, "its RECORD says 2"),
        ({"a.py": b"x"}, {"a.py": ","}, "no sha256 and size of a.py"),
        ({"a.py": b"x"}, {"a.py": "md5=abc,1"}, "no sha256 and size of a.py"),
        ({"a.py": b"x"}, {"a.py": "1"}, "not path, hash and size"),
        ({"../evil.py": b"x"}, {}, "'../evil.py'"),
        ({"/evil.py": b"x"}, {}, "'/evil.py'"),
        ({f"{DATA}/scripts/../../../evil": b"x"}, {}, "evil"),
        ({f"{DATA}/nowhere/x": b"x"}, {}, "no folder that wheels have"),
        ({"other-1.0.dist-info/METADATA": b"x"}, {}, "2 .dist-info folders"),
        ({f"{INFO}/entry_points.txt": b"[console_scripts]\n../x = a:b\n"}, {}, "entry point ../x"),
        ({f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a:b;import os\n"}, {}, "entry point x"),
        ({f"{INFO}/entry_points.txt": b"[console_scripts]\nx = a\n"}, {}, "entry point x"),
        ({f"{INFO}/entry_points.txt": b"x = a\n"}, {}, "malformed"),
    ],
)
def test_wheels_that_are_refused(
    tmp_path: Path, files: Mapping[str, bytes], record: Mapping[str, str], said: str
) -> None:
    path = archives.wheel(tmp_path / NAME, files, record=record)
    with pytest.raises(IntegrityError) as raised:
        by_us(path, "/opt/env")
    assert raised.value.what == f"{NAME} is damaged"
    assert said in (raised.value.why or "")


def test_other_hashes_in_record(tmp_path: Path) -> None:
    import base64
    import hashlib

    stated = base64.urlsafe_b64encode(hashlib.sha512(b"x").digest()).rstrip(b"=").decode()
    path = archives.wheel(tmp_path / NAME, {"a.py": b"x"}, record={"a.py": f"sha512={stated},1"})
    assert f"a.py,sha256={digest(b'x')},1" in by_us(path, "/opt/env")[f"{SITE}/{INFO}/RECORD"][1].decode()


def test_a_hash_is_compared_even_when_content_is_not_taken(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, {"a.so": b"x"}, record={"a.so": f"sha256={digest(b'y')},1"})
    with pytest.raises(IntegrityError, match="damaged"):
        list(wheel.open(path, LOCKED).entries("/opt/env", LAYOUT))


def test_a_file_that_record_does_not_list(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, {"a.py": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.py", b"")
    with pytest.raises(IntegrityError, match="damaged") as raised:
        wheel.open(path, LOCKED)
    assert "more.py, which its RECORD does not list" in (raised.value.why or "")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, {"a.py": b"x"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a.py", b"x")
    with pytest.raises(IntegrityError, match="damaged"):
        wheel.open(path, LOCKED)


def test_another_package_than_the_lock_says(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, {})
    with pytest.raises(IntegrityError, match="damaged") as raised:
        wheel.open(path, replace(LOCKED, name="other"))
    assert "it is demo_pkg, not other" in (raised.value.why or "")


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_cut_wheel(tmp_path: Path, size: int) -> None:
    path = archives.wheel(tmp_path / NAME, FILES)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IntegrityError, match="damaged"):
        wheel.open(path, LOCKED)


def test_a_flipped_byte(tmp_path: Path) -> None:
    path = archives.wheel(tmp_path / NAME, FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"lib.so") + 300] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        by_us(path, "/opt/env")
