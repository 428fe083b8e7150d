"""Which reader reads what."""

from pathlib import Path

import pytest

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Ledger
from envpack.sources import read

YAML = "name: x\nchannels: [conda-forge]\ndependencies: [numpy]\n"
FREEZE = "numpy==1.26.4\nrich==13.7.0\n"


def test_the_folders_file(tmp_path: Path) -> None:
    (tmp_path / "environment.yaml").write_text(YAML, "utf-8")
    assert read(None, directory=tmp_path, ledger=Ledger()).name == "x"
    (tmp_path / "environment.yml").write_text(YAML.replace("x", "y"), "utf-8")
    assert read(None, directory=tmp_path, ledger=Ledger()).name == "y"


def test_no_file_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(None, directory=tmp_path, ledger=Ledger())
    assert caught.value.what == f"there is no environment.yml or environment.yaml in {tmp_path}"
    assert caught.value.hint


def test_a_named_file_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no file nowhere/x\.yml"):
        read("nowhere/x.yml", directory=tmp_path, ledger=Ledger())


def test_a_list_for_pip(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(FREEZE, "utf-8")
    ledger = Ledger()
    spec = read("requirements.txt", directory=tmp_path, ledger=ledger)
    assert [r.text for r in spec.pip] == ["numpy==1.26.4", "rich==13.7.0"]
    assert [r.text for r in spec.conda] == ["python"]
    assert spec.sources == (tmp_path / "requirements.txt",)
    assert [(f.action, f.subject) for f in ledger if f.action is not Action.KEPT] == [
        (Action.GUESSED, f"name: {spec.name}"),
    ]


@pytest.mark.parametrize(
    ("lines", "python"),
    [
        ("x @ file:///home/me/x-1.0-cp39-cp39-manylinux2014_x86_64.whl#sha256=00\n", "3.9"),
        ("x @ https://host/x-1.0%2Bcu118-cp310-cp310-linux_x86_64.whl\n", "3.10"),
        ("x @ file:///C:/x-1.0-cp27-cp27mu-win_amd64.whl\n", "2.7"),
        (
            "x @ file:///x-1.0-cp38-cp38-linux_x86_64.whl\ny @ file:///y-1.0-cp39-cp39-linux_x86_64.whl\n"
            "z @ file:///z-1.0-cp38-cp38-linux_x86_64.whl\n",
            "3.8",
        ),
        ("x @ file:///x-1.0-cp36-abi3-manylinux2014_x86_64.whl\n", None),
        ("x @ file:///x-1.0-py3-none-any.whl\n", None),
    ],
)
def test_the_python_of_the_wheels_that_a_list_names(tmp_path: Path, lines: str, python: str | None) -> None:
    (tmp_path / "r.txt").write_text(f"rich==13.0\n{lines}", "utf-8")
    ledger = Ledger()
    spec = read("r.txt", directory=tmp_path, name="x", ledger=ledger)
    assert [r.text for r in spec.conda] == [f"python ={python}" if python else "python"]
    guessed = [f.subject for f in ledger if f.action is Action.GUESSED]
    assert guessed == ([f"python {python}"] if python else [])
    spec = read("r.txt", directory=tmp_path, name="x", python="3.12", ledger=Ledger())
    assert [r.text for r in spec.conda] == ["python =3.12"]


def test_a_python_version_is_taken(tmp_path: Path) -> None:
    ledger = Ledger()
    spec = read("-", directory=tmp_path, stdin=FREEZE.encode(), name="n", python="3.11", ledger=ledger)
    assert [r.text for r in spec.conda] == ["python =3.11"]
    assert spec.name == "n"
    assert spec.sources == ()
    assert {finding.action for finding in ledger} == {Action.KEPT}


@pytest.mark.parametrize("python", ["3", "three", "3.11; rm", "3.11.*", ""])
def test_a_python_version_that_is_none(tmp_path: Path, python: str) -> None:
    with pytest.raises(UsageError):
        read("-", directory=tmp_path, stdin=FREEZE.encode(), name="n", python=python, ledger=Ledger())


def test_the_python_of_the_base_image(tmp_path: Path) -> None:
    ledger = Ledger()
    spec = read("-", directory=tmp_path, stdin=FREEZE.encode(), name="n", python="system", ledger=ledger)
    assert spec.system_python
    assert (spec.conda, spec.channels) == ((), ())
    assert [r.text for r in spec.pip] == ["numpy==1.26.4", "rich==13.7.0"]
    assert {finding.action for finding in ledger} == {Action.KEPT}
    spec = read("-", directory=tmp_path, stdin=FREEZE.encode(), name="n", python="3.11", ledger=ledger)
    assert not spec.system_python


def test_conda_packages_are_not_for_the_python_of_the_base_image(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(YAML, "utf-8")
    with pytest.raises(UsageError, match="cannot be installed on the base image's own python") as caught:
        read(None, directory=tmp_path, python="system", ledger=Ledger())
    assert "conda" in (caught.value.why or "")
    assert caught.value.hint


@pytest.mark.parametrize("stdin", [None, b"", b" \n"])
def test_nothing_on_standard_input(tmp_path: Path, stdin: bytes | None) -> None:
    with pytest.raises(SourceError, match="nothing came on standard input"):
        read("-", directory=tmp_path, stdin=stdin, ledger=Ledger())


def test_an_environment_on_standard_input(tmp_path: Path) -> None:
    spec = read("-", directory=tmp_path, stdin=YAML.encode("utf-16"), ledger=Ledger())
    assert spec.name == "x"


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("envpack.toml", "apt = []\n", "says how an image is made"),
        ("pdm.lock", "[[package]]\n", "no source that envpack reads"),
        ("data.json", '[{"a": 1}]\n', "a .json file"),
        ("empty.txt", "# nothing\n", "asks for no packages"),
        ("unpinned.txt", "-e .\nnumpy==?\n", "lines that cannot be used"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(SourceError) as caught:
        read(name, directory=tmp_path, ledger=Ledger())
    assert what in caught.value.what


def test_all_lines_that_cannot_be_used_at_once(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("-e .\nnumpy\nx==?\n??\n", "utf-8")
    with pytest.raises(SourceError) as caught:
        read("r.txt", directory=tmp_path, ledger=Ledger())
    assert [str(p.where) for p in caught.value.problems] == ["r.txt:3", "r.txt:4"]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("spec-file.txt", "@EXPLICIT\nhttps://host/c/linux-64/a-1-h_0.conda\n", "a ==1 h_0"),
        ("urls", "https://host/c/linux-64/a-1-h_0.conda#0123\n", "a ==1 h_0"),
        ("list.txt", "# packages\nnumpy=1.26.4=py311_0\n", "numpy ==1.26.4 py311_0"),
        ("pinned.yml", "numpy=1.26.4=py311_0\n", "numpy ==1.26.4 py311_0"),
        ("out.txt", "numpy    1.26.4    py311_0   conda-forge\n", "numpy ==1.26.4 py311_0"),
        (
            "list.json",
            '[{"dist_name": "a-1-0", "name": "a", "version": "1", "build_string": "0"}]',
            "a ==1 0",
        ),
        ("env.json", '{"channels": ["c"], "dependencies": ["a=1=0"]}', "a ==1 0"),
        ("pixi.toml", '[workspace]\nchannels = ["c"]\n[dependencies]\na = "1.*"\n', "a 1.*"),
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["a"]\n', "python"),
    ],
)
def test_the_reader_is_found(tmp_path: Path, file: str, text: str, expected: str) -> None:
    (tmp_path / file).write_text(text, "utf-8")
    for spec in (
        read(file, directory=tmp_path, name="n", ledger=Ledger()),
        *([] if ".toml" in file else [read("-", directory=tmp_path, stdin=text.encode(), ledger=Ledger())]),
    ):
        assert [requirement.text for requirement in spec.conda] == [expected]


def test_what_could_be_the_source_is_named(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").touch()
    with pytest.raises(SourceError) as caught:
        read(None, directory=tmp_path, ledger=Ledger())
    assert caught.value.hint == "Name what is there: envpack lock pixi.toml"
