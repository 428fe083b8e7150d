from __future__ import annotations

import hashlib
import json
import struct
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from envpack.content import conda_package
from envpack.content.python_layout import PythonLayout
from envpack.entry import Entry, Kind
from envpack.errors import IntegrityError
from tests.unit.content.archives import (
    MTIME,
    conda,
    content,
    folder,
    hard_link,
    info,
    listed,
    locked,
    member,
    path_info,
    symlink,
)

PREFIX = "/opt/env"
LAYOUT = PythonLayout("3.11.7", "lib/python3.11/site-packages")
OLD = "/opt/placeholder_placeholder_placeholder"
FORMATS = pytest.mark.parametrize("name", ["demo-1.0-0.conda", "demo-1.0-0.tar.bz2"])


def linked(
    path: Path, python: PythonLayout | None = LAYOUT, prefix: str = PREFIX, **options: Any
) -> dict[str, tuple[Entry, bytes]]:
    """What the package puts below the prefix, by path."""
    package = conda_package.open(path, locked(filename=path.name))
    start = prefix[1:] + "/"
    return {
        entry.path.removeprefix(start): (entry, content(entry))
        for entry in package.entries(prefix, python, **options)
    }


def record(found: dict[str, tuple[Entry, bytes]]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(found["conda-meta/demo-1.0-0.json"][1])
    return data


@FORMATS
def test_files_links_and_modes(tmp_path: Path, name: str) -> None:
    members = [
        member("bin/a", b"A", mode=0o4755),
        symlink("bin/b", "../bin/a"),
        hard_link("bin/c", "bin/a"),
        folder("var/empty", 0o700),
        folder("unlisted", 0o700),
    ]
    found = linked(conda(tmp_path / name, members, info(listed(members[:-1]))))
    shown = {path: (e.kind, e.mode, e.target, data) for path, (e, data) in found.items()}
    del shown["conda-meta/demo-1.0-0.json"]
    assert shown == {
        "bin/a": (Kind.FILE, 0o755, "", b"A"),
        "bin/b": (Kind.SYMLINK, 0o777, "../bin/a", b""),
        "bin/c": (Kind.HARDLINK, 0o755, "opt/env/bin/a", b""),
        "var/empty": (Kind.DIRECTORY, 0o755, "", b""),
    }
    assert {entry.mtime for entry, _ in found.values()} == {None}


@FORMATS
def test_hard_links_that_are_changed_differently(tmp_path: Path, name: str) -> None:
    data = OLD.encode() + b"/x"
    patched = {"prefix_placeholder": OLD, "file_mode": "text"}
    members = [
        member("a", data, mode=0o755),
        hard_link("b", "a"),
        hard_link("c", "a"),
        member("d.py", b"pass"),
        hard_link("e", "d.py"),
    ]
    lines = [path_info("a", data, **patched), path_info("b", data), path_info("c", data, **patched)]
    lines += [path_info("d.py", b"pass"), path_info("e", b"pass")]
    found = linked(conda(tmp_path / name, members, info(lines)))
    assert found["a"][1] == b"/opt/env/x"
    assert found["b"][1] == data
    assert found["b"][0].mode == 0o755
    assert found["c"][0].target == "opt/env/a"
    assert found["e"][1] == b"pass", "python sources are paired with bytecode one by one"
    hashes = {line["_path"]: line.get("sha256_in_prefix") for line in record(found)["paths_data"]["paths"]}
    assert hashes["a"] == hashes["c"] == hashlib.sha256(b"/opt/env/x").hexdigest()
    assert hashes["b"] is None


def test_the_record_knows_every_path(tmp_path: Path) -> None:
    text, blob = OLD.encode(), b"\0" + OLD.encode() + b"\0"
    members = [
        member("site-packages/m.py", b"x = 1\n"),
        member("share/text", text),
        member("lib/blob.so", blob),
        symlink("share/link", "text"),
    ]
    lines = listed(members)
    lines[1] |= {"prefix_placeholder": OLD, "file_mode": "text"}
    lines[2] |= {"prefix_placeholder": OLD, "file_mode": "binary"}
    described = info(lines, index={"noarch": "python", "depends": ["python"]}, entry_points=["run = m:main"])
    found = linked(conda(tmp_path / "demo-1.0-0.conda", members, described), requested=("demo >=1",))
    data = record(found)
    assert data["files"] == sorted(set(found) - {"conda-meta/demo-1.0-0.json"})
    for line in data["paths_data"]["paths"]:
        entry, got = found[line["_path"]]
        digest = hashlib.sha256(entry.target.encode() if entry.kind is Kind.SYMLINK else got).hexdigest()
        assert line.get("sha256_in_prefix", line["sha256"]) == digest
        if entry.kind is Kind.FILE:
            assert line["size_in_bytes"] == len(got)
    assert data["requested_spec"] == "demo >=1"
    assert data["requested_specs"] == ["demo >=1"]
    assert data["depends"] == ["python"]
    assert data["channel"] == "https://conda.anaconda.org/conda-forge"
    assert str(tmp_path) not in json.dumps(data)


def test_the_record_is_right_when_content_is_not_taken(tmp_path: Path) -> None:
    lines = [path_info("a", OLD.encode(), prefix_placeholder=OLD, file_mode="binary")]
    path = conda(tmp_path / "demo-1.0-0.conda", [member("a", OLD.encode())], info(lines))
    *_, last = conda_package.open(path, locked()).entries(PREFIX, LAYOUT)
    expected = hashlib.sha256(b"/opt/env".ljust(len(OLD), b"\0")).hexdigest()
    assert json.loads(content(last))["paths_data"]["paths"][0]["sha256_in_prefix"] == expected


def test_rattler_reads_the_record(tmp_path: Path) -> None:
    from rattler import PrefixRecord

    members = [member("site-packages/m.py", b"x"), symlink("share/l", "m")]
    described = info(listed(members), index={"noarch": "python", "depends": ["python"], "build_number": 0})
    found = linked(conda(tmp_path / "demo-1.0-0.conda", members, described))
    path = tmp_path / "demo-1.0-0.json"
    path.write_bytes(found["conda-meta/demo-1.0-0.json"][1])
    read = PrefixRecord.from_path(path)
    assert read.name.normalized == "demo"
    assert [str(name) for name in read.files] == ["lib/python3.11/site-packages/m.py", "share/l"]


def test_files_of_noarch_packages_go_to_the_environments_python(tmp_path: Path) -> None:
    names = ["site-packages/m.py", "python-scripts/run", "site-packages", "share/site-packages/x"]
    members = [member(name) for name in names if name != "site-packages"]
    path = conda(tmp_path / "demo-1.0-0.conda", members, info(listed(members), index={"noarch": "python"}))
    free_threaded = PythonLayout("3.13.0", "lib/python3.13t/site-packages")
    assert set(linked(path, free_threaded)) == {
        "lib/python3.13t/site-packages/m.py",
        "bin/run",
        "share/site-packages/x",
        "conda-meta/demo-1.0-0.json",
    }


def test_files_of_other_packages_stay(tmp_path: Path) -> None:
    assert "site-packages/m" in linked(conda(tmp_path / "demo-1.0-0.conda", [member("site-packages/m")]))


def test_a_python_package_without_a_python(tmp_path: Path) -> None:
    path = conda(tmp_path / "demo-1.0-0.conda", [], info([], index={"noarch": "python"}))
    with pytest.raises(IntegrityError, match="the environment has no python") as raised:
        linked(path, None)
    assert "Add python" in (raised.value.hint or "")


def test_entry_points(tmp_path: Path) -> None:
    described = info([], index={"noarch": "python"}, entry_points=["run-it = pkg.cli:App.main"])
    entry, data = linked(conda(tmp_path / "demo-1.0-0.conda", [], described))["bin/run-it"]
    assert entry.mode == 0o775
    assert data.startswith(b"#!/opt/env/bin/python3.11\n")
    assert b"from pkg.cli import App\n" in data
    assert b"sys.exit(App.main())" in data


def test_an_entry_point_takes_the_place_of_a_script(tmp_path: Path) -> None:
    members = [member("python-scripts/run", b"script")]
    described = info(listed(members), index={"noarch": "python"}, entry_points=["run = m:main"])
    found = linked(conda(tmp_path / "demo-1.0-0.conda", members, described))
    assert b"from m import main" in found["bin/run"][1]
    assert record(found)["files"] == ["bin/run"]


def test_two_files_that_go_to_one_place(tmp_path: Path) -> None:
    members = [member("python-scripts/run"), member("bin/run")]
    path = conda(tmp_path / "demo-1.0-0.conda", members, info(listed(members), index={"noarch": "python"}))
    with pytest.raises(IntegrityError, match="damaged") as raised:
        linked(path)
    assert "both go to /opt/env/bin/run" in (raised.value.why or "")


@pytest.mark.parametrize(
    "text",
    [
        "../evil = a:b",
        "a/b = c:d",
        "x",
        "x = y",
        "x = y:z; import os",
        "x = os:system('x')",
        "= a:b",
        "x = a:b\nc",
    ],
)
def test_entry_points_that_cannot_be(tmp_path: Path, text: str) -> None:
    described = info([], index={"noarch": "python"}, entry_points=[text])
    with pytest.raises(IntegrityError, match="damaged") as raised:
        linked(conda(tmp_path / "demo-1.0-0.conda", [], described))
    assert repr(text) in (raised.value.why or "")


@pytest.mark.parametrize(
    ("members", "lines", "said"),
    [
        ([member("a")], [path_info("a"), path_info("b"), path_info("c")], "lacks b and 1 more"),
        ([member("a")], [path_info("b")], "lacks b that"),
        ([member("a"), member("a")], [path_info("a")], "holds a twice"),
        ([member("a"), member("./a")], [path_info("a")], "holds a twice"),
        ([member("a", b"xy")], [path_info("a", b"x")], "a has 2 bytes, and info/paths.json says 1"),
        ([hard_link("a", "b"), member("b")], [path_info("a"), path_info("b")], "which is no file before it"),
        ([hard_link("a", "../../etc/passwd")], [path_info("a")], "which is no file before it"),
        ([member("a", type=tarfile.CHRTYPE)], [path_info("a")], "a device or a pipe"),
        ([member("a", type=tarfile.FIFOTYPE)], [path_info("a")], "a device or a pipe"),
    ],
)
@FORMATS
def test_archives_that_are_not_what_they_say(
    tmp_path: Path, name: str, members: list[tuple[tarfile.TarInfo, bytes]], lines: list[Any], said: str
) -> None:
    with pytest.raises(IntegrityError) as raised:
        linked(conda(tmp_path / name, members, info(lines)))
    assert raised.value.what == f"{name} is damaged"
    assert said in (raised.value.why or "")


@FORMATS
def test_what_is_not_listed_is_not_linked(tmp_path: Path, name: str) -> None:
    found = linked(conda(tmp_path / name, [member("a"), member("stray")], info([path_info("a")])))
    assert "a" in found
    assert "stray" not in found


@pytest.mark.parametrize(
    "index",
    [
        {"name": "other"},
        {"version": "2.0"},
        {"build": "../x"},
        {"build": 7},
        {"name": "de/mo"},
        {"build": ""},
    ],
)
def test_another_package_than_the_lock_says(tmp_path: Path, index: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="damaged"):
        linked(conda(tmp_path / "demo-1.0-0.conda", [], info([], index=index)))


def test_a_prefix_too_long_for_a_binary(tmp_path: Path) -> None:
    lines = [path_info("lib/x.so", OLD.encode(), prefix_placeholder=OLD, file_mode="binary")]
    path = conda(tmp_path / "demo-1.0-0.conda", [member("lib/x.so", OLD.encode())], info(lines))
    with pytest.raises(IntegrityError, match="cannot be placed at /opt/") as raised:
        linked(path, prefix="/opt/" + "x" * 80)
    assert "lib/x.so" in (raised.value.why or "")
    assert "shorter prefix" in (raised.value.hint or "")


def test_link_scripts_are_told(tmp_path: Path) -> None:
    scripts = [member(f"bin/.demo-{kind}.sh") for kind in ("post-link", "pre-link", "pre-unlink")]
    other = member("bin/.other-post-link.sh")
    package = conda_package.open(conda(tmp_path / "demo-1.0-0.conda", [*scripts, other]), locked())
    assert package.link_scripts == ("bin/.demo-pre-link.sh", "bin/.demo-post-link.sh")


def _pyc(mtime: int, source: bytes, code: bytes = b"code") -> bytes:
    return b"\xa7\r\r\n" + bytes(4) + struct.pack("<II", mtime, len(source)) + code


@pytest.mark.parametrize("order", ["sources first", "bytecode first"])
def test_shipped_bytecode_is_mended_where_it_fits(tmp_path: Path, order: str) -> None:
    base = "lib/python3.11/site-packages/"
    source = b"x = 1\n"
    shipped = {
        "fits": _pyc(MTIME, source),
        "older": _pyc(MTIME - 1, source),
        "shorter": _pyc(MTIME, source[1:]),
        "changed": _pyc(MTIME, source),
        "checked": b"\xa7\r\r\n\3\0\0\0" + b"H" * 8 + b"code",
        "short": b"\xa7\r\r\n",
    }
    sources = [member(f"{base}{stem}.py", source) for stem in shipped]
    pycs = [member(f"{base}__pycache__/{stem}.cpython-311.pyc", d) for stem, d in shipped.items()]
    pycs.append(member(f"{base}__pycache__/fits.cpython-311.opt-1.pyc", shipped["fits"]))
    pycs.append(member(f"{base}__pycache__/orphan.cpython-311.pyc", shipped["fits"]))
    members = sources + pycs if order == "sources first" else pycs + sources
    lines = listed(members)
    for line in lines:
        if line["_path"] == f"{base}changed.py":
            line |= {"prefix_placeholder": "x", "file_mode": "text"}
    found = linked(conda(tmp_path / "demo-1.0-0.conda", members, info(lines)))

    def pyc(stem: str, optimized: str = "") -> bytes:
        return found[f"{base}__pycache__/{stem}.cpython-311{optimized}.pyc"][1]

    mended = b"\xa7\r\r\n\1\0\0\0" + bytes(8) + b"code"
    assert pyc("fits") == pyc("fits", ".opt-1") == mended
    for stem in ("older", "shorter", "changed", "checked", "short"):
        assert pyc(stem) == shipped[stem], "python looks at these and compiles the source instead"
    assert pyc("orphan") == shipped["fits"]
    in_prefix = {p["_path"]: p.get("sha256_in_prefix") for p in record(found)["paths_data"]["paths"]}
    name = f"{base}__pycache__/fits.cpython-311.pyc"
    assert in_prefix[name] == hashlib.sha256(mended).hexdigest()
    assert in_prefix[f"{base}__pycache__/orphan.cpython-311.pyc"] is None


@FORMATS
def test_big_files_are_never_in_memory(tmp_path: Path, name: str) -> None:
    size = 24 << 20
    placeholder = {"prefix_placeholder": OLD, "file_mode": "binary"}
    members = [member("plain", bytes(size)), member("patched", bytes(size))]
    lines = [path_info("plain", members[0][1]), path_info("patched", members[1][1], **placeholder)]
    path = conda(tmp_path / name, members, info(lines))
    del members
    tracemalloc.start()
    try:
        for entry in conda_package.open(path, locked(filename=name)).entries(PREFIX, None):
            assert entry.size == sum(map(len, entry.chunks))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
