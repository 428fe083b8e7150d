"""pixi.toml and pyproject.toml."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from envpack.errors import Location, SourceError
from envpack.ledger import Action, Finding, Ledger
from envpack.sources import read
from envpack.spec import EnvSpec, OwnIndex, PipOptions, Requirement

PIXI = """\
[workspace]
name = "work"
authors = ["Ada"]
channels = ["conda-forge", { channel = "bioconda" }]
platforms = ["linux-64", "osx-arm64", "linux-aarch64"]

[tasks]
run = "python x.py"

[system-requirements]
cuda = "12"

[activation]
scripts = ["env.sh"]
env = { OMP_NUM_THREADS = "1" }

[dependencies]
python = "3.12.*"
numpy = ">=1.26, <2"
any = "*"
exact = "1.2"
torch = { version = "2.*", build = "cuda*", channel = "pytorch" }
cuda = { build = "h_*" }
own = { path = "../own" }

[host-dependencies]
cmake = "~=3.20"

[target.linux.dependencies]
numpy = ">=2"
[target.unix.dependencies]
numpy = ">=1"
[target.linux-64.dependencies]
mkl = "*"
[target.osx-arm64.dependencies]
accelerate = "*"

[pypi-dependencies]
rich = { version = ">=13", extras = ["jupyter"] }
plain = "*"
pinned = "1.0"
code = { git = "https://token:secret@host.example/code.git" }

[pypi-options]
extra-index-urls = ["https://index.example/simple"]
no-build = true

[feature.gpu.dependencies]
cupy = "*"
[feature.test.dependencies]
pytest = "*"

[environments]
default = ["gpu"]
test = ["test"]
"""
UV = """\
[project]
name = "study"
requires-python = ">=3.11"
dependencies = [
    "Torch[opt]>=2; python_version > '3'",
    "mine",
    "member[x]",
    "fork",
    "two",
    "plain",
    "gone",
]

[tool.uv]
constraint-dependencies = ["plain<3", "pulled<2"]
override-dependencies = ["numpy==2.0"]
prerelease = "allow"
dev-dependencies = ["pytest"]
no-binary-package = ["plain"]
package = false

[tool.uv.sources]
torch = { index = "cpu" }
mine = { path = "mine", editable = true }
member = { workspace = true }
fork = { git = "https://host.example/fork", tag = "v1" }
two = [
    { index = "cpu", marker = "platform_machine == 'x86_64'" },
    { path = "no", marker = "sys_platform == 'win32'" },
    { index = "cpu", extra = "gpu" },
]
gone = { path = "../not-there" }
plain = { index = "files" }
pytest = { index = "cpu" }

[tool.uv.workspace]
members = ["packages/*"]
exclude = ["packages/other"]

[[tool.uv.index]]
name = "cpu"
url = "https://index.example/cpu"
explicit = true

[[tool.uv.index]]
url = "https://index.example/more"

[[tool.uv.index]]
name = "mirror"
url = "https://mirror.example/simple"
default = true

[[tool.uv.index]]
name = "files"
url = "https://files.example/list"
format = "flat"
"""
PYPROJECT = """\
[build-system]
requires = ["hatchling"]

[project]
name = "Work.Tool"
version = "1"
requires-python = ">=3.10,==3.*"
dependencies = [
    "numpy>=1.26",
    "rich[jupyter]; python_version > '3'",
    "own @ git+https://host.example/own",
]

[project.optional-dependencies]
docs = ["sphinx"]

[dependency-groups]
test = ["pytest"]
"""


def spec_of(
    tmp_path: Path, text: str, file: str, *, platforms: Sequence[str] = (), python: str | None = None
) -> tuple[EnvSpec, list[Finding]]:
    (tmp_path / file).write_text(text)
    ledger = Ledger()
    spec = read(file, directory=tmp_path, platforms=platforms, python=python, ledger=ledger)
    return spec, list(ledger)


def texts(spec: EnvSpec) -> tuple[list[str], list[str]]:
    return [r.text for r in spec.conda], [r.text for r in spec.pip]


def said(findings: list[Finding], action: Action) -> dict[str, int | None]:
    """Lines by subject."""
    return {f.subject: f.where.line if f.where else None for f in findings if f.action is action}


def line(text: str, start: str) -> int:
    """The line of ``text`` that starts so."""
    (found,) = [n for n, line in enumerate(text.split("\n"), 1) if line.startswith(start)]
    return found


def test_a_pixi_manifest(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, PIXI, "pixi.toml")
    conda, pip = texts(spec)
    assert conda == [
        "python 3.12.*", "numpy >=2", "any", "exact ==1.2", "pytorch::torch 2.* cuda*", "cuda * h_*",
        "cmake ~=3.20", "mkl", "cupy",
    ]  # fmt: skip
    assert pip == ["rich[jupyter]>=13", "plain", "pinned==1.0"]
    assert (spec.name, spec.channels) == ("work", ("conda-forge", "bioconda", "pytorch"))
    assert spec.variables == {"OMP_NUM_THREADS": "1"}
    assert spec.pip_options == PipOptions(extra_index_urls=("https://index.example/simple",))
    assert (spec.complete, spec.platforms) == (False, ("linux-64",))
    assert said(findings, Action.DROPPED) == {
        "platform osx-arm64": line(PIXI, "platforms"),
        "workspace.authors": line(PIXI, "authors"),
        "tasks.run": line(PIXI, "run"),
        "system-requirements.cuda": line(PIXI, 'cuda = "12'),
        "target.osx-arm64.dependencies.accelerate": line(PIXI, "accelerate"),
        "feature.test.dependencies.pytest": line(PIXI, "pytest"),
        "environment test": line(PIXI, "test ="),
        "no-build": line(PIXI, "no-build"),
    }
    needed = [line(PIXI, start) for start in ("scripts", "own", "code")]
    assert sorted(n or 0 for n in said(findings, Action.NEEDS_YOU).values()) == needed
    assert "secret" not in repr(findings)
    assert set(said(findings, Action.REPLACED)) == {"numpy >=1.26,<2", "numpy >=1"}
    assert said(findings, Action.KEPT)['exact = "1.2"'] == line(PIXI, "exact")


def test_a_target_for_the_wanted_platform(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, PIXI, "pixi.toml", platforms=["linux-aarch64"])
    assert "mkl" not in texts(spec)[0]
    assert "target.linux-64.dependencies.mkl" in said(findings, Action.DROPPED)


def test_without_the_default_feature(tmp_path: Path) -> None:
    text = PIXI.replace('default = ["gpu"]', 'default = { features = ["gpu"], no-default-feature = true }')
    assert texts(spec_of(tmp_path, text, "pixi.toml")[0]) == (["cupy"], [])


def test_what_pixi_cannot_mean(tmp_path: Path) -> None:
    text = PIXI.replace('"~=3.20"', '">>3"').replace('any = "*"', "any = 3").replace("bioconda", "file:///x")
    with pytest.raises(SourceError) as caught:
        spec_of(tmp_path, text, "pixi.toml")
    wrong = [line(text, start) for start in ("channels", "any", "cmake")]
    assert sorted(p.where.line or 0 for p in caught.value.problems if p.where) == wrong
    with pytest.raises(SourceError, match="not valid TOML") as caught:
        spec_of(tmp_path, "[workspace]\nx = \n", "pixi.toml")
    assert caught.value.where
    assert caught.value.where.line == 2
    with pytest.raises(SourceError, match="asks for no packages"):
        spec_of(tmp_path, "[workspace]\nchannels = []\n", "pixi.toml")
    with pytest.raises(SourceError, match="cannot be") as caught:
        spec_of(tmp_path, "dependencies = 3\nworkspace = []\n", "pixi.toml")
    assert len(caught.value.problems) == 2


def test_a_project(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, PYPROJECT, "pyproject.toml")
    conda, pip = texts(spec)
    assert conda == ["python 3.*,>=3.10"]
    assert pip == ["numpy>=1.26", "rich[jupyter]; python_version > '3'"]
    assert (spec.name, spec.channels, spec.complete) == ("Work.Tool", ("conda-forge",), False)
    assert said(findings, Action.TRANSLATED) == {"requires-python >=3.10,==3.*": 7}
    assert list(said(findings, Action.NEEDS_YOU).values()) == [11]
    assert said(findings, Action.DROPPED) == {
        "extra docs": 15, "dependency group test": 18, "the project Work.Tool itself": 4,
        "build-system.requires": 2,
        "project.version": 6,
    }  # fmt: skip
    assert str(spec.pip[1].where) == "pyproject.toml:10"


def test_the_python_of_a_project(tmp_path: Path) -> None:
    spec, findings = spec_of(tmp_path, PYPROJECT, "pyproject.toml", python="3.11")
    assert texts(spec)[0] == ["python =3.11"]
    assert "requires-python >=3.10,==3.*" in said(findings, Action.REPLACED)
    spec, _ = spec_of(tmp_path, PYPROJECT, "pyproject.toml", python="system")
    assert (spec.system_python, spec.conda, spec.channels) == (True, (), ())
    text = '[project]\nname = "x"\ndependencies = ["rich"]\n'
    spec, findings = spec_of(tmp_path, text, "pyproject.toml")
    assert (texts(spec)[0], list(said(findings, Action.GUESSED))) == (["python"], [])


def test_where_packages_of_a_uv_project_come_from(tmp_path: Path) -> None:
    for folder, name in (("mine", "mine"), ("packages/other", "member"), ("packages/y", "Member")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    spec, findings = spec_of(tmp_path, UV, "pyproject.toml")
    assert texts(spec)[1] == ["Torch[opt]>=2; python_version > '3'", "two", "plain<3"]
    cpu = "https://index.example/cpu"
    assert spec.pip_options == PipOptions(
        index_url="https://mirror.example/simple",
        extra_index_urls=("https://index.example/more",),
        find_links=("https://files.example/list",),
        pre=True,
        own_indexes=(
            OwnIndex("torch", cpu, index="cpu"),
            OwnIndex("two", cpu, "platform_machine == 'x86_64'", "cpu"),
        ),
        first_index=True,
        constraints=(Requirement("pulled<2", Location("pyproject.toml", line(UV, "constraint"))),),
        overrides=(Requirement("numpy==2.0", Location("pyproject.toml", line(UV, "override"))),),
    )
    assert [(p.name, p.path, p.extras) for p in spec.local] == [
        ("mine", tmp_path / "mine", ()),
        ("member", tmp_path / "packages/y", ("x",)),
    ]
    assert said(findings, Action.NEEDS_YOU) == {
        "fork @ git+https://host.example/fork": line(UV, "fork ="),
        'gone = {path = "../not-there"}': line(UV, "gone ="),
    }
    assert said(findings, Action.RELAXED) == {'plain = {index = "files"}': line(UV, "plain =")}
    dropped = said(findings, Action.DROPPED)
    for subject, start in (
        ('two = {path = "no", marker = "sys_platform == \'win32\'"}', "two ="),
        ('two = {index = "cpu", extra = "gpu"}', "two ="),
        ("sources.pytest", "pytest ="),
        ("dev-dependencies", "dev-dep"),
        ("no-binary-package", "no-binary"),
        ("package", "package ="),
    ):
        assert dropped[subject] == line(UV, start)


def test_what_uv_is_not_asked_as_uv_would_be(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndependencies = ["a"]\n[tool.uv]\nexclude-newer = "DATE"\n'
        'resolution = "lowest"\nindex-strategy = "unsafe-first-match"\n[tool.uv.pip]\nindex-url = "https://h.example/"\n'
    )
    for written, date in (("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), ("3 days", None)):
        spec, findings = spec_of(tmp_path, text.replace("DATE", written), "pyproject.toml")
        assert spec.pip_options == PipOptions(exclude_newer=date)
        relaxed = said(findings, Action.RELAXED)
        assert set(relaxed.values()) == ({5, 6, 7} if date is None else {6, 7})
        assert 9 in said(findings, Action.DROPPED).values()


def test_dates_of_single_packages_of_uv(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndependencies = ["a"]\n[tool.uv.exclude-newer-package]\n'
        'B_b = false\na = "2024-01-01"\nc = "3 days"\nd = true\n'
    )
    spec, findings = spec_of(tmp_path, text, "pyproject.toml")
    limits = (("a", "2024-01-01"), ("b-b", "false"))
    assert spec.pip_options == PipOptions(exclude_newer_package=limits, first_index=True)
    assert list(said(findings, Action.RELAXED).values()) == [7, 8]


def test_a_member_of_a_uv_workspace_is_found_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        (tmp_path / "libs" / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "top"\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
    )
    (tmp_path / "libs/two/pyproject.toml").write_text('[project]\nname = "two"\n')
    text = (
        '[project]\nname = "one"\ndependencies = ["two", "top", "far"]\n[tool.uv.sources]\n'
        "two = { workspace = true }\ntop = { workspace = true }\nfar = { workspace = true }\n"
    )
    spec, findings = spec_of(tmp_path, text, "libs/one/pyproject.toml")
    assert [p.path for p in spec.local] == [tmp_path / "libs/two", tmp_path]
    assert list(said(findings, Action.NEEDS_YOU).values()) == [7]
    with (tmp_path / "pyproject.toml").open("a") as root:
        root.write('[tool.uv.sources]\nnumpy = { index = "x" }\n')
    for written in (text.partition("[tool.uv")[0], text):
        _, findings = spec_of(tmp_path, written, "libs/one/pyproject.toml")
        assert "[tool.uv] of ../../pyproject.toml" in said(findings, Action.NEEDS_YOU)
    monkeypatch.chdir(tmp_path / "libs/one")
    here = read("pyproject.toml", directory=Path(), ledger=Ledger())
    assert [p.path for p in here.local] == [tmp_path / "libs/two", tmp_path]
    _, findings = spec_of(tmp_path, text, "libs/pyproject.toml")  # which is no member
    assert "[tool.uv] of ../pyproject.toml" not in said(findings, Action.NEEDS_YOU)


def test_what_is_said_of_sources_is_in_their_order(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(20)]
    text = '[project]\nname = "x"\ndependencies = ["a"]\n[tool.uv.sources]\n'
    text += "".join(f"{name} = {{ workspace = true }}\n" for name in names)
    _, findings = spec_of(tmp_path, text, "pyproject.toml")
    dropped = [f.subject for f in findings if f.subject.startswith("sources.")]
    assert dropped == [f"sources.{name}" for name in names]


def test_tables_that_only_their_tools_read(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndependencies = ["a", "b"]\n[tool.poetry.dependencies]\n'
        'a = { source = "cpu" }\nb = { version = ">=1" }\n[[tool.poetry.source]]\nname = "cpu"\n'
        '[[tool.pdm.source]]\nurl = "https://me:pass@host.example/"\n'
    )
    _, findings = spec_of(tmp_path, text, "pyproject.toml")
    assert list(said(findings, Action.NEEDS_YOU).values()) == [7, 5, 9]
    assert "pass@" not in str(findings)


def test_what_uv_cannot_mean(tmp_path: Path) -> None:
    text = (
        '[project]\nname = "x"\ndependencies = ["a", "b", "c", "d", "e"]\n[tool.uv.sources]\n'
        'a = { index = "nowhere" }\nb = { marker = "what" , url = "https://h.example/b.whl" }\nc = 3\n'
        'd = { index = "secret" }\ne = { index = "here" }\n'
        '[[tool.uv.index]]\nname = "secret"\nurl = "https://me:pass@host.example/"\nexplicit = true\n'
        '[[tool.uv.index]]\nname = "here"\nurl = "./wheels"\nexplicit = true\n'
        '[[tool.uv.index]]\nname = "no url"\n[tool.uv]\noverride-dependencies = ["what is"]\n'
    )
    with pytest.raises(SourceError) as caught:
        spec_of(tmp_path, text, "pyproject.toml")
    assert [p.where.line for p in caught.value.problems if p.where] == [18, 5, 6, 7, 8, 21]
    assert "pass@" not in str(caught.value)


def test_pixi_in_a_project(tmp_path: Path) -> None:
    text = PYPROJECT + (
        '[tool.pixi.workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
        '[tool.pixi.dependencies]\ngdal = ">=3"\n'
        '[tool.pixi.pypi-dependencies]\nwork-tool = { path = ".", editable = true }\n'
    )
    spec, findings = spec_of(tmp_path, text, "pyproject.toml")
    assert texts(spec)[0] == ["gdal >=3", "python 3.*,>=3.10"]
    assert list(said(findings, Action.NEEDS_YOU).values()) == [line(text, '    "own')]
    assert [(p.text, p.path, p.name) for p in spec.local] == [(".", tmp_path, "work-tool")]
    assert line(text, "work-tool") in said(findings, Action.KEPT).values()
    assert "the project Work.Tool itself" not in said(findings, Action.DROPPED)
    with pytest.raises(SourceError, match="base image's own python"):
        spec_of(tmp_path, text, "pyproject.toml", python="system")


def test_packages_of_a_folder_in_a_pixi_manifest(tmp_path: Path) -> None:
    """A more special table counts for more, both ways; what is not there needs the user."""
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "setup.py").touch()
    text = (
        '[dependencies]\npython = "*"\n[pypi-dependencies]\nown = "1.0"\nother = { path = "./other" }\n'
        'gone = { path = "../gone" }\n[target.linux.pypi-dependencies]\n'
        'own = { path = "own", extras = ["b", "a"], env-markers = "os_name == \'posix\'" }\nother = "2.0"\n'
    )
    spec, findings = spec_of(tmp_path, text, "pixi.toml")
    (own,) = spec.local
    assert (own.text, own.path, own.name) == ("./own", tmp_path / "own", "own")
    assert (own.extras, own.marker) == (("a", "b"), 'os_name == "posix"')
    assert texts(spec)[1] == ["other==2.0"]
    assert list(said(findings, Action.REPLACED)) == ["own==1.0", "./other"]
    assert list(said(findings, Action.NEEDS_YOU).values()) == [line(text, "gone")]


def test_projects_without_packages(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        spec_of(tmp_path, '[tool.poetry.dependencies]\nrich = "^13"\n', "pyproject.toml")
    assert "poetry.lock" in (caught.value.hint or "")
    text = '[project]\nname = "x"\ndynamic = ["dependencies"]\nrequires-python = ">=three"\n'
    with pytest.raises(SourceError) as caught:
        spec_of(tmp_path, text, "pyproject.toml")
    assert [str(p.where) for p in caught.value.problems] == ["pyproject.toml:4"]


@pytest.mark.parametrize("file", ["pixi.toml", "pyproject.toml"])
def test_tables_without_end(tmp_path: Path, file: str) -> None:
    with pytest.raises(SourceError, match="tables in tables"):
        spec_of(tmp_path, f"[project]\n{'.'.join('a' * 30_000)} = 1\n", file)


def test_many_lines_take_no_time(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(3000)]
    lines = "".join(f"[feature.x.dependencies.{name}]\n" for name in names)
    start = time.monotonic()
    spec_of(tmp_path, lines + "[dependencies]\na = '*'\n", "pixi.toml")
    listed = "".join(f'    "{name}",\n' for name in names)
    spec_of(tmp_path, f'[project]\nname = "x"\ndependencies = [\n{listed}]\n', "pyproject.toml")
    assert time.monotonic() - start < 10, "looking through all lines for each of them takes minutes"
