from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from envpack.content.conda_archive import CondaArchive, PathInfo
from envpack.errors import IntegrityError
from tests.unit.content.archives import conda, folder, info, listed, member, path_info, tar, zstd

FILES = [member("bin/a", b"A" * 3000, mode=0o755), member("share/b", b"B")]
FORMATS = pytest.mark.parametrize("name", ["demo-1.0-0.conda", "demo-1.0-0.tar.bz2"])


def contents(archive: CondaArchive) -> dict[str, bytes]:
    return {found.name: stream.read() for found, stream in archive.members()}


@FORMATS
def test_both_formats(tmp_path: Path, name: str) -> None:
    archive = CondaArchive.open(conda(tmp_path / name, FILES))
    assert archive.index["name"] == "demo"
    assert [(p.path, p.size, p.path_type) for p in archive.paths.values()] == [
        ("bin/a", 3000, "hardlink"),
        ("share/b", 1, "hardlink"),
    ]
    assert contents(archive) == {"bin/a": b"A" * 3000, "share/b": b"B"}
    assert contents(archive) == {"bin/a": b"A" * 3000, "share/b": b"B"}, "a second pass"


@FORMATS
def test_placeholders_and_entry_points(tmp_path: Path, name: str) -> None:
    paths = [path_info("bin/a", b"", prefix_placeholder="/old", file_mode="text", no_link=True)]
    described = info(paths, index={"noarch": "python"}, entry_points=["a = a:main"])
    archive = CondaArchive.open(conda(tmp_path / name, [member("bin/a")], described))
    found = archive.paths["bin/a"]
    assert (found.placeholder, found.file_mode, found.no_link) == ("/old", "text", True)
    assert archive.entry_points == ("a = a:main",)
    assert archive.is_noarch_python


def test_the_description_may_be_anywhere(tmp_path: Path) -> None:
    described = [member(n, d) for n, d in info(listed(FILES), index={"noarch": "python"}).items()]
    link = member("info/link.json", json.dumps({"noarch": {"entry_points": ["x = y:z"]}}).encode())
    path = tmp_path / "demo-1.0-0.tar.bz2"
    conda(path, [described[0], FILES[0], described[1], FILES[1], link], {})
    archive = CondaArchive.open(path)
    assert archive.entry_points == ("x = y:z",)
    assert contents(archive).keys() == {"bin/a", "share/b"}


@FORMATS
def test_packages_without_paths_json(tmp_path: Path, name: str) -> None:
    old = {
        "info/files": b"bin/a\nbin/b\nshare/c d\nshare/e\n",
        "info/has_prefix": b'bin/a\n/old binary bin/b\n"/o ld" text "share/c d"\n',
        "info/no_link": b"share/e\n",
    }
    names = ("bin/a", "bin/b", "share/c d", "share/e")
    archive = CondaArchive.open(conda(tmp_path / name, [member(n) for n in names], info(None, files=old)))
    assert list(archive.paths.values()) == [
        PathInfo("bin/a", placeholder="/opt/anaconda1anaconda2anaconda3", file_mode="text"),
        PathInfo("bin/b", placeholder="/old", file_mode="binary"),
        PathInfo("share/c d", placeholder="/o ld", file_mode="text"),
        PathInfo("share/e", no_link=True),
    ]


@FORMATS
def test_names_are_normalised_and_info_is_left_out(tmp_path: Path, name: str) -> None:
    members = [folder("./"), member("./bin/a", b"x"), folder("share/"), member("info/recipe/meta.yaml", b"y")]
    archive = CondaArchive.open(conda(tmp_path / name, members, info([path_info("bin/a", b"x")])))
    assert list(contents(archive)) == ["bin/a", "share"]


def read(path: Path) -> None:
    contents(CondaArchive.open(path))


@FORMATS
def test_a_cut_archive_names_itself_and_what_to_do(tmp_path: Path, name: str) -> None:
    path = conda(tmp_path / name, [member("a", bytes(range(256)) * 400)])
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError) as raised:
            read(path)
        assert raised.value.what == f"{name} is damaged"
        assert str(path) in (raised.value.hint or "")


@FORMATS
def test_a_flipped_bit_in_the_data(tmp_path: Path, name: str) -> None:
    import random

    noise = random.Random(1).randbytes(30000)
    path = conda(tmp_path / name, [member("a", noise)])
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(IntegrityError, match="damaged"):
        read(path)


@pytest.mark.parametrize("evil", ["../evil", "/etc/passwd", "a/../../evil", "a//b", "share/./x"])
@FORMATS
def test_names_that_leave_the_package(tmp_path: Path, name: str, evil: str) -> None:
    with pytest.raises(IntegrityError, match="damaged") as raised:
        read(conda(tmp_path / name, [member(evil, b"x")], info([])))
    assert repr(evil) in str(raised.value)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([path_info("../evil")], "a file with the name '../evil'"),
        ([path_info("/evil")], "a file with the name '/evil'"),
        ([path_info("a"), path_info("a")], "lists a twice"),
        ([path_info("a", path_type="device")], "unknown type 'device'"),
        ([path_info("a", prefix_placeholder="/x")], "file mode None"),
        ([path_info("a", prefix_placeholder="/x", file_mode="other")], "file mode 'other'"),
        ([{"path_type": "hardlink"}], "malformed"),
        ([17], "malformed"),
    ],
)
def test_lists_that_cannot_be(tmp_path: Path, paths: list[Any], said: str) -> None:
    with pytest.raises(IntegrityError) as raised:
        CondaArchive.open(conda(tmp_path / "demo-1.0-0.conda", [member("a")], info(paths)))
    assert said in (raised.value.why or "")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({}, "no info/index.json"),
        (info(None), "neither info/paths.json nor info/files"),
        ({**info([]), "info/index.json": b"{"}, "Expecting"),
        ({**info([]), "info/index.json": b"[]"}, "not a JSON object"),
        ({**info([]), "info/index.json": b"\xff\xfe\xfa"}, "decode"),
        ({**info([]), "info/paths.json": b'{"paths": [], "paths_version": 2}'}, "version 2"),
        ({**info([]), "info/link.json": b'{"noarch": {"entry_points": 5}}'}, "malformed"),
    ],
)
@FORMATS
def test_descriptions_that_cannot_be(
    tmp_path: Path, name: str, described: dict[str, bytes], said: str
) -> None:
    with pytest.raises(IntegrityError) as raised:
        CondaArchive.open(conda(tmp_path / name, [], described))
    assert said in (raised.value.why or "")


def test_another_version_of_the_format(tmp_path: Path) -> None:
    path = conda(tmp_path / "demo-1.0-0.conda", [], metadata=b'{"conda_pkg_format_version": 3}')
    with pytest.raises(IntegrityError, match="damaged") as raised:
        CondaArchive.open(path)
    assert "version is 3" in (raised.value.why or "")


def test_a_zip_with_other_parts(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-0.conda"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr("info-demo.tar.zst", zstd(tar([member(n, d) for n, d in info([]).items()])))
    with pytest.raises(IntegrityError) as raised:
        read(path)
    assert "0 parts pkg-" in (raised.value.why or "")


@FORMATS
def test_something_else_under_the_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<html>login please</html>" * 100)
    with pytest.raises(IntegrityError, match="damaged"):
        CondaArchive.open(path)
