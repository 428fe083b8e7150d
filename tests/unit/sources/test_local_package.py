"""What a line for pip names on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.sources.local_package import find
from envpack.spec import LocalPackage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("pkg", "a b", "mono/python"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "pyproject.toml").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "own-1.0-py3-none-any.whl").touch()
    (tmp_path / "own-1.0.tar.gz").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "path", "rest"),
    [
        ("./pkg", "pkg", (None, (), None)),
        ("pkg/../pkg", "pkg", (None, (), None)),
        ("./pkg[b, a]", "pkg", (None, ("a", "b"), None)),
        ("file:pkg", "pkg", (None, (), None)),
        ("file:./a%20b", "a b", (None, (), None)),
        ("file://{}/pkg#egg=Own", "pkg", (None, (), None)),
        ("file://localhost{}/pkg", "pkg", (None, (), None)),
        ("./mono#subdirectory=python", "mono/python", (None, (), None)),
        ("Own_1[x] @ file://{}/pkg ; python_version > '3'", "pkg", ("own-1", ("x",), 'python_version > "3"')),
        ("dist/own-1.0-py3-none-any.whl", "dist/own-1.0-py3-none-any.whl", (None, (), None)),
        ("own-1.0.tar.gz", "own-1.0.tar.gz", (None, (), None)),
    ],
)
def test_what_is_there(
    folder: Path, line: str, path: str, rest: tuple[str | None, tuple[str, ...], str | None]
) -> None:
    found = find(line.format(folder), folder)
    assert isinstance(found, LocalPackage)
    assert found.path == folder / path
    assert (found.name, found.extras, found.marker) == rest


@pytest.mark.parametrize(
    "line",
    ["pkg", "rich==13.0", "rich ; python_version > '3'", "rich @ https://host/pkg/x.whl", "./absent",
     "file:///absent", "C:\\pkg", "\\\\host\\pkg", "//host/pkg", "file://host/pkg", "git+file:///pkg",
     "./pkg\0", "./" + "x" * 5000, "own-2.0.tar.gz", ""],
)  # fmt: skip
def test_what_is_not(folder: Path, line: str) -> None:
    assert find(line, folder) is None


def test_an_editable_one_may_be_a_bare_name(folder: Path) -> None:
    """As for pip: ``-e pkg`` is the folder, also a link to it."""
    (folder / "linked").symlink_to("pkg")
    for line in ("pkg", "linked", "pkg[a]"):
        found = find(line, folder, editable=True)
        assert isinstance(found, LocalPackage)
        assert found.path == folder / line.partition("[")[0]
    assert find("absent", folder, editable=True) is None


@pytest.mark.parametrize("line", ["./notes", ".", "./pkg ; nonsense"])
def test_what_is_there_and_no_package(folder: Path, line: str) -> None:
    assert isinstance(find(line, folder), str)
