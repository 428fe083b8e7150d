"""Locks for pip alone, and Pipfile, as sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Finding, Ledger
from envpack.sources import read
from envpack.sources.pip_lock import conda_range
from envpack.spec import EnvSpec, OwnIndex, PipOptions

PYLOCK = """\
lock-version = "1.0"
requires-python = ">=3.10"
created-by = "a test"

[[packages]]
name = "rich"
version = "13.9.4"
wheels = [{url = "https://files.example/rich-13.9.4-py3-none-any.whl", hashes = {sha256 = "00"}}]

[[packages]]
name = "pywin32"
version = "307"
marker = "sys_platform == 'win32'"
index = "https://index.example/simple"

[[packages]]
name = "odd"
version = "1.0"
marker = "this is none"

[[packages]]
name = "docs"
version = "1.0"
marker = "'docs' in dependency_groups"

[[packages]]
name = "own"
vcs = {type = "git", url = "https://host.example/own", commit-id = "00"}

[[packages]]
name = "here"
directory = {path = "."}

[[packages]]
name = "file"
archive = {url = "https://files.example/file-2.0.tar.gz"}
"""
POETRY = """\
[[package]]
name = "rich"
version = "13.9.4"
optional = false
groups = ["main", "dev"]
files = [{file = "rich-13.9.4-py3-none-any.whl", hash = "sha256:00"}]

[[package]]
name = "pytest"
version = "8.0"
optional = false
groups = ["dev"]

[[package]]
name = "sphinx"
version = "7.0"
optional = false
category = "dev"

[[package]]
name = "colorama"
version = "0.4.6"
optional = false
groups = ["main", "dev"]
markers = {main = "sys_platform == 'win32'"}

[[package]]
name = "extra"
version = "1.0"
optional = true

[[package]]
name = "numpy"
version = "1.24"
optional = false

[[package]]
name = "numpy"
version = "2.0"
optional = false

[[package]]
name = "private"
version = "1.0"
optional = false
[package.source]
type = "legacy"
url = "https://index.example/simple"
reference = "own"

[[package]]
name = "own"
version = "0.1"
optional = false
[package.source]
type = "git"
url = "https://host.example/own"

[extras]
all = ["extra"]

[metadata]
lock-version = "2.1"
python-versions = "^3.9"
"""
UV = """\
version = 1
requires-python = ">=3.10"

[[package]]
name = "study"
version = "0.1"
source = { editable = "." }
dependencies = [
    { name = "rich", extra = ["jupyter"] },
    { name = "colorama", marker = "sys_platform == 'win32'" },
    { name = "own" },
    { name = "numpy", version = "2.0", marker = "python_full_version >= '3.11'" },
    { name = "numpy", version = "1.24", marker = "python_full_version < '3.11'" },
]
[package.dev-dependencies]
dev = [{ name = "pytest" }]

[[package]]
name = "rich"
version = "13.9.4"
source = { registry = "https://index.example/simple" }
dependencies = [{ name = "pygments" }]
[package.optional-dependencies]
jupyter = [{ name = "ipywidgets" }]

[[package]]
name = "pygments"
version = "2.18"
dependencies = [{ name = "rich" }]

[[package]]
name = "ipywidgets"
version = "8.0"

[[package]]
name = "colorama"
version = "0.4.6"
dependencies = [{ name = "deep" }]

[[package]]
name = "deep"
version = "1.0"

[[package]]
name = "numpy"
version = "1.24"

[[package]]
name = "numpy"
version = "2.0"

[[package]]
name = "pytest"
version = "8.0"

[[package]]
name = "own"
version = "1.0"
source = { git = "https://host.example/own?rev=00" }
"""
PIPFILE_LOCK = {
    "_meta": {
        "requires": {"python_version": "3.11"},
        "sources": [{"name": "own", "url": "https://index.example/simple", "verify_ssl": True}],
    },
    "default": {
        "rich": {"hashes": ["sha256:00"], "index": "own", "version": "==13.9.4"},
        "colorama": {"markers": "sys_platform == 'win32'", "version": "==0.4.6"},
        "own": {"git": "https://host.example/own", "ref": "00"},
        "here": {"editable": True, "path": "."},
    },
    "develop": {"pytest": {"version": "==8.0"}},
}
PIPFILE = """\
[[source]]
url = "https://index.example/simple"
verify_ssl = true
name = "own"

[packages]
rich = ">=13"
humanize = "*"
pinned = {version = "1.0", index = "own"}
uvicorn = {version = "*", extras = ["a"], markers = "python_version >= '3.8'", sys_platform = "== 'linux'"}
own = {git = "https://host.example/own", editable = true}

[dev-packages]
pytest = "*"

[requires]
python_version = "3.11"
"""


def spec_of(tmp_path: Path, text: str, file: str, python: str | None = None) -> tuple[EnvSpec, list[Finding]]:
    (tmp_path / file).write_text(text)
    ledger = Ledger()
    return read(file, directory=tmp_path, name="x", python=python, ledger=ledger), list(ledger)


def pip(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.pip]


def conda(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.conda]


def lines(findings: list[Finding], action: Action) -> list[int | None]:
    return [f.where.line if f.where else None for f in findings if f.action is action]


@pytest.mark.parametrize("file", ["pylock.toml", "pylock.dev.toml"])
def test_pylock(tmp_path: Path, file: str) -> None:
    spec, findings = spec_of(tmp_path, PYLOCK, file)
    assert pip(spec) == ["rich==13.9.4", "pywin32==307 ; sys_platform == 'win32'", "file==2.0"]
    assert (conda(spec), spec.channels, spec.complete) == (["python >=3.10"], ("conda-forge",), True)
    own = OwnIndex("pywin32", "https://index.example/simple", "sys_platform == 'win32'")
    assert spec.pip_options == PipOptions(own_indexes=(own,))
    assert lines(findings, Action.KEPT) == [5, 10, 10, 34]
    assert lines(findings, Action.NEEDS_YOU) == [16, 26, 30]
    assert lines(findings, Action.DROPPED) == [21]
    assert lines(findings, Action.TRANSLATED) == [2]


def test_another_version_of_pylock(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"pylock\.toml:1: .* version 2\.0 of the format"):
        spec_of(tmp_path, PYLOCK.replace('"1.0"', '"2.0"', 1), "pylock.toml")


def test_poetry_lock(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, POETRY, "poetry.lock")
    assert pip(spec) == [
        "rich==13.9.4", "colorama==0.4.6 ; sys_platform == 'win32'", "numpy==1.24", "private==1.0"
    ]  # fmt: skip
    assert conda(spec) == ["python >=3.9,<4"]
    own = OwnIndex("private", "https://index.example/simple")
    assert spec.pip_options == PipOptions(own_indexes=(own,))
    said = [f.subject for f in findings if f.action is Action.DROPPED]
    assert said == ["pytest 8.0", "sphinx 7.0", "extra 1.0", "numpy 2.0"]
    assert [f.subject for f in findings if f.action is Action.NEEDS_YOU] == ["git+https://host.example/own"]


def test_uv_lock(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, UV, "uv.lock")
    assert pip(spec) == [
        "rich==13.9.4",
        "pygments==2.18",
        "ipywidgets==8.0",
        "colorama==0.4.6 ; (sys_platform == 'win32')",
        "deep==1.0 ; (sys_platform == 'win32')",
        "numpy==1.24 ; (python_full_version < '3.11')",
        "numpy==2.0 ; (python_full_version >= '3.11')",
    ]
    assert conda(spec) == ["python >=3.10"]
    said = [f.subject for f in findings if f.action is Action.DROPPED]
    assert said == ["the project study itself", "pytest 8.0"]
    assert len(lines(findings, Action.NEEDS_YOU)) == 1
    (own,) = spec.pip_options.own_indexes
    assert own.url == "https://index.example/simple"
    with pytest.raises(SourceError, match="version 2 of uv's format"):
        spec_of(tmp_path, UV.replace("version = 1", "version = 2", 1), "uv.lock")


def test_pipfile_lock(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, json.dumps(PIPFILE_LOCK, indent=1), "Pipfile.lock")
    assert pip(spec) == ["rich==13.9.4", "colorama==0.4.6 ; sys_platform == 'win32'"]
    assert conda(spec) == ["python =3.11"]
    url = "https://index.example/simple"
    assert spec.pip_options == PipOptions(extra_index_urls=(url,), own_indexes=(OwnIndex("rich", url),))
    assert [f.subject for f in findings if f.action is Action.DROPPED] == ["pytest"]
    needs = [f.subject for f in findings if f.action is Action.NEEDS_YOU]
    assert needs == ["git+https://host.example/own", "."]
    assert all(f.where and f.where.line for f in findings)


def test_pipfile(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, PIPFILE, "Pipfile")
    marker = "(python_version >= '3.8') and sys_platform == 'linux'"
    assert pip(spec) == ["rich>=13", "humanize", "pinned==1.0", f"uvicorn[a] ; {marker}"]
    assert (conda(spec), spec.complete) == (["python =3.11"], False)
    url = "https://index.example/simple"
    assert spec.pip_options == PipOptions(extra_index_urls=(url,), own_indexes=(OwnIndex("pinned", url),))
    assert lines(findings, Action.NEEDS_YOU) == [11]
    assert lines(findings, Action.DROPPED) == [14]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pylock.toml", PYLOCK),
        ("uv.lock", UV),
        ("poetry.lock", POETRY),
        ("Pipfile.lock", json.dumps(PIPFILE_LOCK)),
        ("Pipfile", PIPFILE),
    ],
)
def test_the_python_that_is_given(tmp_path: Path, file: str, text: str) -> None:
    spec, findings = spec_of(tmp_path, text, file, "3.12")
    assert conda(spec) == ["python =3.12"]
    assert [f.reason for f in findings if f.action is Action.REPLACED] == ["--python 3.12 is asked for"]
    spec, _ = spec_of(tmp_path, text, file, "system")
    assert (spec.system_python, spec.conda, spec.channels) == (True, (), ())


def test_a_python_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        spec_of(tmp_path, PYLOCK, "pylock.toml", "three")


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        (">=3.9", ">=3.9"),
        ("^3.9.1", ">=3.9.1,<4"),
        ("~3.9", ">=3.9,<3.10"),
        (">=3.8,<3.13", ">=3.8,<3.13"),
        ("3.11", "=3.11"),
        ("==3.11.*", "3.11.*"),
        ("3.9 || 3.10", None),
        ("", None),
    ],
)
def test_ranges_of_python(requires: str, expected: str | None) -> None:
    assert conda_range(requires) == expected


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pylock.toml", 'lock-version = "1.0"\npackages = 3\n'),
        ("uv.lock", "version = 1\npackage = [1]\n"),
        ("poetry.lock", "package = [1]\nmetadata = 3\n"),
        ("Pipfile.lock", '{"default": [1], "_meta": 3}'),
        ("Pipfile", "requires = 3\n"),
    ],
)
def test_locks_of_another_shape(tmp_path: Path, file: str, text: str) -> None:
    with pytest.raises(SourceError):
        spec_of(tmp_path, text, file)


OF_FOLDERS = {
    "uv.lock": """\
version = 1

[[package]]
name = "study"
source = { editable = "." }
dependencies = [{ name = "here", marker = "os_name == 'posix'" }, { name = "group" }, { name = "gone" }]

[[package]]
name = "here"
source = { directory = "packages/here" }

[[package]]
name = "gone"
source = { editable = "packages/gone" }

[[package]]
name = "group"
source = { virtual = "packages/group" }
""",
    "poetry.lock": """\
[[package]]
name = "here"
version = "1.0"
markers = "os_name == 'posix'"
[package.source]
type = "directory"
url = "packages/here"

[[package]]
name = "gone"
version = "1.0"
[package.source]
type = "file"
url = "gone-1.0.tar.gz"
""",
    "pylock.toml": """\
lock-version = "1.0"

[[packages]]
name = "here"
marker = "os_name == 'posix'"
directory = { path = "packages", subdirectory = "here", editable = true }

[[packages]]
name = "docs"
marker = "'docs' in dependency_groups"
directory = { path = "packages/here" }

[[packages]]
name = "gone"
archive = { path = "gone-1.0.tar.gz" }
""",
    "Pipfile.lock": json.dumps(
        {
            "default": {
                "e1839a8": {"editable": True, "path": "packages/here", "markers": "os_name == 'posix'"},
                "gone": {"path": "./packages/gone"},
            }
        }
    ),
    "Pipfile": """\
[packages]
here = {path = "packages/here", editable = true, os_name = "== 'posix'"}
gone = {path = "packages/gone"}
rich = "*"
""",
}


@pytest.mark.parametrize("file", list(OF_FOLDERS))
def test_folders_that_are_there_are_packages(tmp_path: Path, file: str) -> None:
    for folder in (tmp_path, tmp_path / "packages/here"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pyproject.toml").touch()
    spec, findings = spec_of(tmp_path, OF_FOLDERS[file], file)
    root = [(".", tmp_path, None)] if file == "uv.lock" else []
    here = ("./packages/here", tmp_path / "packages/here", 'os_name == "posix"')
    assert [(p.text, p.path, p.marker) for p in spec.local] == [*root, here]
    assert {p.name for p in spec.local} <= {"study", "here", None if file == "Pipfile.lock" else "here"}
    assert all(p.where and p.where.line for p in spec.local)
    (needs,) = (f.subject for f in findings if f.action is Action.NEEDS_YOU)
    assert "gone" in needs
    dropped = {"uv.lock": ["group"], "pylock.toml": ["packages/here"]}
    assert [f.subject for f in findings if f.action is Action.DROPPED] == dropped.get(file, [])
