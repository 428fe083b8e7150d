"""Reading environment.yml: what is kept, what is said, where what is wrong."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.errors import EnvpackError, SourceError
from envpack.ledger import Action, Ledger
from envpack.sources import environment_yml, read
from envpack.spec import EnvSpec, PipOptions

FULL = """\
name: study
channels:
  - conda-forge
  - nodefaults
  - https://repo.example.org/own
dependencies:
  - numpy=1.26
  - "scipy >=1.2,<2"
  - python 3.10
  - conda-forge::gdal
  - 'h5py =*=mpi_mpich*'
  - conda[version='>=23.7']
  - pip
  - pip:
      - rich>=13
      - --extra-index-url https://wheels.example.org/cu124
      - -i https://pypi.example.org/simple
      - humanize ; python_version >= "3.9"   # a comment
variables:
  OMP_NUM_THREADS: 010
  EMPTY:
platforms: [linux-64, osx-64]
prefix: /home/me/miniconda3/envs/study
"""


def spec_of(text: str, tmp_path: Path, name: str | None = None) -> tuple[EnvSpec, Ledger]:
    (tmp_path / "environment.yml").write_text(text, "utf-8")
    ledger = Ledger()
    return read(None, directory=tmp_path, name=name, ledger=ledger), ledger


def problems_of(text: str, tmp_path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        spec_of(text, tmp_path)
    return caught.value


def test_a_whole_file(tmp_path: Path) -> None:
    spec, ledger = spec_of(FULL, tmp_path)
    assert spec.name == "study"
    assert spec.channels == ("conda-forge", "https://repo.example.org/own")
    assert [r.text for r in spec.conda] == [
        "numpy=1.26",
        "scipy >=1.2,<2",
        "python 3.10",
        "conda-forge::gdal",
        "h5py =*=mpi_mpich*",
        "conda[version='>=23.7']",
        "pip",
    ]
    assert [r.text for r in spec.pip] == ["rich>=13", 'humanize ; python_version >= "3.9"']
    assert spec.pip_options == PipOptions(
        "https://pypi.example.org/simple", ("https://wheels.example.org/cu124",), ()
    )
    assert spec.variables == {"OMP_NUM_THREADS": "010", "EMPTY": ""}
    assert spec.platforms == ("linux-64",)
    assert spec.sources == (tmp_path / "environment.yml",)
    said = {(f.action, f.subject) for f in ledger}
    assert said == {(Action.DROPPED, "prefix"), (Action.DROPPED, "platform osx-64")}


def test_every_requirement_has_its_place(tmp_path: Path) -> None:
    spec, _ = spec_of(FULL, tmp_path)
    assert [str(r.where) for r in spec.conda[:2]] == ["environment.yml:7:5", "environment.yml:8:5"]
    assert str(spec.pip[0].where) == "environment.yml:15:9"


def test_no_name_is_the_folders_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "my project (1)"
    folder.mkdir()
    spec, ledger = spec_of("channels: [conda-forge]\ndependencies: [numpy]\n", folder)
    assert spec.name == "my-project-1"
    assert [(f.action, f.subject) for f in ledger] == [(Action.GUESSED, "name: my-project-1")]


def test_a_chosen_name_wins(tmp_path: Path) -> None:
    spec, ledger = spec_of(FULL, tmp_path, name="other")
    assert spec.name == "other"
    assert not [f for f in ledger if f.action is Action.GUESSED]


@pytest.mark.parametrize("channels", ["", "channels:\n", "channels: []\n", "channels: [nodefaults]\n"])
def test_no_channel_is_conda_forge_and_said(tmp_path: Path, channels: str) -> None:
    spec, ledger = spec_of(f"name: x\n{channels}dependencies: [numpy]\n", tmp_path)
    assert spec.channels == ("conda-forge",)
    assert [(f.action, f.subject) for f in ledger] == [(Action.GUESSED, "channels: conda-forge")]


def test_defaults_stay(tmp_path: Path) -> None:
    spec, ledger = spec_of("name: x\nchannels: [defaults]\ndependencies: [numpy]\n", tmp_path)
    assert spec.channels == ("defaults",)
    assert not list(ledger)


def test_versions_stay_as_they_are_written(tmp_path: Path) -> None:
    spec, _ = spec_of("name: 3.10\nchannels: [c]\ndependencies: [python=3.10]\n", tmp_path)
    assert spec.name == "3.10"
    assert spec.conda[0].text == "python=3.10"


def test_all_problems_at_once_in_order(tmp_path: Path) -> None:
    error = problems_of(
        """\
name: [a]
channels: conda-forge
dependencies:
  - numpy==
  - uvicorn[standard]
  - python: 3.10
  - [a, b]
  - npm:
      - left-pad
  - pip:
      - not a requirement
      - rich >
      - -e .
      - -e git+https://example.org/x.git#egg=x
variables: [a]
variables: {}
""",
        tmp_path,
    )
    assert [str(p.where) for p in error.problems] == [
        "environment.yml:1:7",
        "environment.yml:2:11",
        "environment.yml:4:5",
        "environment.yml:5:5",
        "environment.yml:6:5",
        "environment.yml:7:5",
        "environment.yml:8:5",
        "environment.yml:11:9",
        "environment.yml:12:9",
        "environment.yml:13:9",
        "environment.yml:14:9",
        "environment.yml:15:12",
        "environment.yml:16:1",
    ]
    hints = {p.where.line: p.hint for p in error.problems if p.where}
    assert (hints[5] or "").startswith("conda packages have no extras")
    assert hints[6] == "Write it as one text: python=3.10"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", None, "is empty"),
        ("\n# only a comment\n", None, "is empty"),
        ("name: x\n", None, "asks for no packages"),
        ("name: x\ndependencies:\n", None, "asks for no packages"),
        ("a: [\n", "environment.yml:2:1", "not valid YAML"),
        ("name: x\n\tdependencies: y\n", "environment.yml:2:1", "not valid YAML"),
        ("name: x: y\n", "environment.yml:1:8", "not valid YAML"),
        ("name: \x01\n", "environment.yml", "not valid YAML"),
        ("- numpy\n", "environment.yml:1:1", "keys and values"),
        ("numpy\n", "environment.yml:1:1", "keys and values"),
        ("a: 1\n---\nb: 1\n", "environment.yml:2:1", "not valid YAML"),
        ("dependencies: *x\n", "environment.yml:1:15", "not valid YAML"),
    ],
)
def test_files_that_are_no_environment(tmp_path: Path, text: str, where: str | None, what: str) -> None:
    error = problems_of(text, tmp_path)
    assert what in error.what
    assert (str(error.where) if error.where else None) == where


def test_bombs_are_refused_quickly(tmp_path: Path) -> None:
    assert "nested too deeply" in problems_of("a: " + "[" * 1000, tmp_path).what
    assert "nested too deeply" in problems_of("a: " + "{a: " * 1000 + "}" * 1000, tmp_path).what
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    error = problems_of("\n".join([*lines, "dependencies: *a29", ""]), tmp_path)
    assert len(error.problems) == 9


def test_deep_block_nesting_is_refused(tmp_path: Path) -> None:
    text = "".join(f"{' ' * n}a:\n" for n in range(700))
    assert "nested too deeply" in problems_of(text, tmp_path).what


def test_channels_with_secrets_are_refused_and_not_shown(tmp_path: Path) -> None:
    error = problems_of("name: x\nchannels: ['https://me:hunter2@host/c']\ndependencies: [numpy]\n", tmp_path)
    assert "hunter2" not in str(error)
    assert str(error.problems[0].where) == "environment.yml:2:12"


def test_requirements_files_are_read_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("rich\n-r more/extra.txt\n", "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "extra.txt").write_text("humanize==4.0\n", "utf-8")
    text = "name: x\nchannels: [c]\ndependencies:\n- python\n- pip:\n  - -r requirements.txt\n"
    spec, _ = spec_of(text, tmp_path)
    assert [(r.text, str(r.where)) for r in spec.pip] == [
        ("rich", "requirements.txt:1"),
        ("humanize==4.0", "more/extra.txt:1"),
    ]
    assert [p.name for p in spec.sources] == ["environment.yml", "requirements.txt", "extra.txt"]


def test_a_missing_requirements_file_is_a_problem_at_its_line(tmp_path: Path) -> None:
    text = "name: x\nchannels: [c]\ndependencies:\n- pip:\n  - -r nowhere.txt\n"
    error = problems_of(text, tmp_path)
    assert [(p.what, str(p.where)) for p in error.problems] == [
        ("there is no file nowhere.txt", "environment.yml:5:5")
    ]


def test_a_name_that_cannot_be_a_file_name(tmp_path: Path) -> None:
    error = problems_of("name: ../x\nchannels: [c]\ndependencies: [numpy]\n", tmp_path)
    assert [str(p.where) for p in error.problems] == ["environment.yml:1:7"]


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*|>\n #'\"=!\t%@,?")))
def test_no_text_brings_the_reader_down(text: str) -> None:
    ledger = Ledger()
    try:
        spec = environment_yml.read(
            text, shown="f", path=None, directory=Path("/nowhere"), name=None, folder="x", ledger=ledger
        )
    except EnvpackError:
        return
    assert isinstance(spec, EnvSpec)
