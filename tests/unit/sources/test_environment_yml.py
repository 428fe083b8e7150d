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


def changes(ledger: Ledger) -> list[tuple[Action, str]]:
    """What was done to lines that were not kept."""
    return [(f.action, f.subject) for f in ledger if f.action is not Action.KEPT]


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
        "conda >=23.7",
        "pip",
    ]
    assert [r.text for r in spec.pip] == ["rich>=13", 'humanize ; python_version >= "3.9"']
    assert spec.pip_options == PipOptions(
        "https://pypi.example.org/simple", ("https://wheels.example.org/cu124",), ()
    )
    assert spec.variables == {"OMP_NUM_THREADS": "010", "EMPTY": ""}
    assert spec.platforms == ("linux-64",)
    assert spec.sources == (tmp_path / "environment.yml",)
    assert set(changes(ledger)) == {
        (Action.DROPPED, "prefix"),
        (Action.DROPPED, "platform osx-64"),
        (Action.TRANSLATED, "conda[version='>=23.7']"),
    }
    assert {f.where.line for f in ledger if f.where} == {
        1,
        *range(3, 6),
        *range(7, 14),
        *range(15, 19),
        20,
        21,
        22,
        23,
    }


def test_every_requirement_has_its_place(tmp_path: Path) -> None:
    spec, _ = spec_of(FULL, tmp_path)
    assert [str(r.where) for r in spec.conda[:2]] == ["environment.yml:7:5", "environment.yml:8:5"]
    assert str(spec.pip[0].where) == "environment.yml:15:9"


def test_no_name_is_the_folders_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "my project (1)"
    folder.mkdir()
    spec, ledger = spec_of("channels: [conda-forge]\ndependencies: [numpy]\n", folder)
    assert spec.name == "my-project-1"
    assert changes(ledger) == [(Action.GUESSED, "name: my-project-1")]


def test_a_chosen_name_wins(tmp_path: Path) -> None:
    spec, ledger = spec_of(FULL, tmp_path, name="other")
    assert spec.name == "other"
    assert (Action.REPLACED, "name: study") in changes(ledger)


@pytest.mark.parametrize("channels", ["", "channels:\n", "channels: []\n", "channels: [nodefaults]\n"])
def test_no_channel_is_conda_forge_and_said(tmp_path: Path, channels: str) -> None:
    spec, ledger = spec_of(f"name: x\n{channels}dependencies: [numpy]\n", tmp_path)
    assert spec.channels == ("conda-forge",)
    assert changes(ledger) == [(Action.GUESSED, "channels: conda-forge")]


def test_defaults_stay(tmp_path: Path) -> None:
    spec, ledger = spec_of("name: x\nchannels: [defaults]\ndependencies: [numpy]\n", tmp_path)
    assert spec.channels == ("defaults",)
    assert not changes(ledger)


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
  - pip install uvicorn
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
        "environment.yml:11:9",
        "environment.yml:12:9",
        "environment.yml:15:12",
        "environment.yml:16:1",
    ]
    hints = {p.where.line: p.hint for p in error.problems if p.where}
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


FORMS = [
    ("conda-forge::gdal", "conda-forge::gdal", Action.KEPT),
    ("conda-forge/linux-64::a==1.0=b_0", "conda-forge::a ==1.0 b_0", Action.KEPT),
    ("conda-forge/noarch::a=1.0=b_0", "conda-forge::a ==1.0 b_0", Action.KEPT),
    ("conda-forge/osx-64::a==1.0=b_0", "conda-forge::a ==1.0 b_0", Action.TRANSLATED),
    ("https://host/c/win-64::a=1", "https://host/c::a=1", Action.TRANSLATED),
    ("a=1.2=build_0", "a ==1.2 build_0", Action.KEPT),
    ("a = 1.2 = build_0", "a ==1.2 build_0", Action.KEPT),
    ("x264=1!164.3095=h57fd34a_2", "x264 ==1!164.3095 h57fd34a_2", Action.KEPT),
    ("name[version='>=1',build=*x*]", "name >=1 *x*", Action.TRANSLATED),
    ("h5py[build=*openmpi*]", "h5py * *openmpi*", Action.TRANSLATED),
    ("numpy[version='>=1', channel=conda-forge]", "conda-forge::numpy >=1", Action.TRANSLATED),
    ("numpy[build_number=2]", "numpy", Action.RELAXED),
    ("h5py =*=mpi*", "h5py =*=mpi*", Action.KEPT),
    ("numpy   >=1.21, !=1.24.0, <2.0", "numpy   >=1.21, !=1.24.0, <2.0", Action.KEPT),
    ("fastapi ~=0.78.0", "fastapi ~=0.78.0", Action.KEPT),
    ("uvicorn[standard] >=0.12", "uvicorn >=0.12", Action.RELAXED),
    ("conda-forge::tiled[all]", "conda-forge::tiled", Action.RELAXED),
    ("https://host/c/linux-64/a-b-1.0-h_0.conda", "https://host/c::a-b ==1.0 h_0", Action.TRANSLATED),
    ("/home/me/a-1.0-0.conda", None, Action.NEEDS_YOU),
    ("file:///home/me/channel::a", None, Action.NEEDS_YOU),
]


@pytest.mark.parametrize(("line", "text", "action"), FORMS, ids=[form[0] for form in FORMS])
def test_match_specs_in_all_forms(tmp_path: Path, line: str, text: str | None, action: Action) -> None:
    spec, ledger = spec_of(f'name: x\nchannels: [c]\ndependencies:\n- z\n- "{line}"\n', tmp_path)
    assert [r.text for r in spec.conda] == ["z", *([text] if text else [])]
    assert [(f.action, f.subject) for f in ledger if f.where and f.where.line == 5] == [(action, line)]
    assert all(f.remedy for f in ledger if f.action is Action.NEEDS_YOU)


def test_a_match_spec_s_channel_holds_no_secrets(tmp_path: Path) -> None:
    error = problems_of("name: x\ndependencies: ['https://me:hunter2@host/c::numpy']\n", tmp_path)
    assert "hunter2" not in str(error)


SELECTED = """\
name: x
channels: [c]
dependencies:
- a  # [linux]
- b  # [win]
- c  # [not win]
- d  # [osx or win]
- e  # [unix and not osx]
- f  # [OPTIONAL]
- g  # for people on [win] only in the cluster
- "h" # [ osx ]
- i  # see [1] in the notes
- sel(win): j
- sel(linux): k
- pip:
  - l  # [win]
  - m  # [linux]
- pip:  # [win]
  - n
"""


def test_selectors(tmp_path: Path) -> None:
    spec, ledger = spec_of(SELECTED, tmp_path)
    assert [r.text for r in spec.conda] == list("acefgik")
    assert [r.text for r in spec.pip] == ["m"]
    dropped = [f.subject for f in ledger if f.action is Action.DROPPED]
    assert dropped == ["b", "d", "h", "j", "l", "pip:", "n"]
    assert [f.where.line for f in ledger if f.action is Action.GUESSED and f.where] == [9]


DEVENV = """\
name: x
includes:
- other.devenv.yml
variables: {A: "1"}
environment:
  A: "2"
  B: three
  C: ${C:-4}
  PATH:
  - $CONDA_PREFIX/bin
  - tools
category: main
more: {deep: [one, {two: three}]}
dependencies: [a]
"""


def test_keys_of_other_tools(tmp_path: Path) -> None:
    spec, ledger = spec_of(DEVENV, tmp_path)
    assert spec.variables == {"A": "1", "B": "three"}
    needed = [f for f in ledger if f.action is Action.NEEDS_YOU]
    assert [(f.subject, f.where.line) for f in needed if f.where] == [
        ("environment C", 8),
        ("environment PATH", 10),
        ("environment PATH", 11),
        ("includes: other.devenv.yml", 3),
    ]
    assert {f.subject for f in ledger if f.action is Action.DROPPED} == {
        "environment A",
        "category: main",
        "more: one",
        "more: three",
    }


def test_a_section_for_another_package_manager_needs_the_user(tmp_path: Path) -> None:
    text = "name: x\nchannels: [c]\ndependencies:\n- a\n- npm:\n  - left-pad\n"
    spec, ledger = spec_of(text, tmp_path)
    assert [r.text for r in spec.conda] == ["a"]
    assert changes(ledger) == [(Action.NEEDS_YOU, "npm: left-pad")]


def test_a_folder_as_channel_needs_the_user(tmp_path: Path) -> None:
    text = "name: x\nchannels: [/data/c, 'file:///data/c', local, conda-forge]\ndependencies: [a]\n"
    spec, ledger = spec_of(text, tmp_path)
    assert spec.channels == ("conda-forge",)
    assert [f.action for f in ledger].count(Action.NEEDS_YOU) == 3


def test_a_path_as_name_is_its_last_part(tmp_path: Path) -> None:
    for path in ("/home/me/envs/study", "'C:\\me\\study'"):
        spec, _ = spec_of(f"name: {path}\nchannels: [c]\ndependencies: [a]\n", tmp_path)
        assert spec.name == "study"


def export(*lines: str, prefix: str | None = None) -> str:
    base = [f"lib{n}=1.{n}=h123456{n}_0" for n in range(6)]
    text = "".join(f"- {line}\n" for line in (*base, *lines))
    return f"name: x\nchannels: [c]\ndependencies:\n{text}" + (f"prefix: {prefix}\n" if prefix else "")


@pytest.mark.parametrize(
    ("text", "system"),
    [
        (export(prefix=r"C:\Users\me\envs\x"), "win-64"),
        (export(prefix="/Users/me/envs/x"), "osx-64"),
        (export(prefix="/opt/homebrew/envs/x"), "osx-arm64"),
        (export(prefix="/home/me/envs/x"), "linux-64"),
        (export("libffi=3.4=hca03da5_1", prefix="/Users/me/envs/x"), "osx-arm64"),
        (export("six=1=pyhca03da5_1", prefix="/home/me/x"), "linux-64"),
        (export(prefix="/opt/x/envs/y"), None),
        (export("vs2015_runtime=14=1"), "win-64"),
        (export("pywin32=300=1"), "win-64"),
        (export("appnope=0.1=1"), "osx-64"),
        (export("libcxx=16=1"), "osx-64"),
        (export("_libgcc_mutex=0.1=main"), "linux-64"),
        (export("ld_impl_linux-aarch64=2=1"), "linux-aarch64"),
        (export("c/osx-arm64::z==1=h_0"), "osx-arm64"),
        (export("libffi=3.4.2=h3422bc3_5"), None),
        ("name: x\ndependencies: [libcxx]\n", None),
        ("name: x\ndependencies: [python=3.10]\nprefix: /Users/me/x\n", "osx-64"),
    ],
)
def test_the_system_of_an_export(tmp_path: Path, text: str, system: str | None) -> None:
    spec, _ = spec_of(text, tmp_path)
    assert spec.exported_from == system
    assert spec.complete is ("=h" in text)


@pytest.mark.parametrize("channel", ["defaults", "conda-forge"])
def test_an_export_from_before_2017(tmp_path: Path, channel: str) -> None:
    items = ["numpy=1.11.1=np111py35_0", "python=3.5.2=0", "six=1.10.0=py35_0", "zlib=1.2.8=3", "xz=5.2.2=0"]
    text = f"channels: [{channel}]\ndependencies: [{', '.join(items)}]\n"
    spec, ledger = spec_of(text, tmp_path)
    free = "https://repo.anaconda.com/pkgs/free"
    assert spec.channels == ((channel, free) if channel == "defaults" else (channel,))
    assert any(f.subject == f"channel {free}" for f in ledger) is (channel == "defaults")


def test_an_export_without_builds_is_exact(tmp_path: Path) -> None:
    names = ["openssl", "zlib", "tk", *(f"p{n}" for n in range(15))]
    lines = "".join(f"- {name}=1.2\n" for name in names)
    spec, _ = spec_of(f"name: x\nchannels: [c]\ndependencies:\n{lines}", tmp_path)
    assert spec.complete
    assert spec.conda[0].text == "openssl ==1.2"
    spec, _ = spec_of(f"name: x\nchannels: [c]\ndependencies:\n{lines}- a\n- b\n", tmp_path)
    assert not spec.complete
    assert spec.conda[0].text == "openssl=1.2"


def test_conda_s_lines_in_the_pip_section(tmp_path: Path) -> None:
    text = "name: x\nchannels: [c]\ndependencies:\n- python=3.9\n- pip:\n"
    text += "  - zlib==1.2.11=h0b31af3_1006\n  - rich\n"
    spec, ledger = spec_of(text, tmp_path)
    assert [r.text for r in spec.conda] == ["python=3.9", "zlib ==1.2.11 h0b31af3_1006"]
    assert [r.text for r in spec.pip] == ["rich"]
    assert changes(ledger) == [(Action.TRANSLATED, "zlib==1.2.11=h0b31af3_1006")]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("name: x\n<<<<<<< HEAD\nchannels: [a]\n=======\nchannels: [b]\n>>>>>>> other\n", [2, 4, 6]),
        ("name: {{ cookiecutter.name }}\ndependencies:\n- a\n{% if b %}\n- c\n{% endif %}\n", [1, 4, 6]),
    ],
)
def test_conflicts_and_templates_are_refused(tmp_path: Path, text: str, lines: list[int]) -> None:
    error = problems_of(text, tmp_path)
    assert [p.where.line for p in error.problems if p.where] == lines
    assert all(p.hint for p in error.problems)


def test_quoted_braces_are_a_value(tmp_path: Path) -> None:
    text = "name: x\nchannels: [c]\ndependencies: [a]\nvariables:\n"
    text += """  A: "{{ x }} \\" {% y %}"\n  B: '{{ z }}'\n"""
    spec, _ = spec_of(text, tmp_path)
    assert spec.variables == {"A": '{{ x }} " {% y %}', "B": "{{ z }}"}


def test_a_yaml_head_over_rows_of_conda_list_is_refused(tmp_path: Path) -> None:
    text = "name: x\ndependencies:\n# packages in environment at /x:\nnumpy  1.2  py39_0\nzlib  1.2  h12_0\n"
    error = problems_of(text, tmp_path)
    assert "conda list" in error.what
    assert error.where
    assert error.where.line in (3, 4)


def test_json_is_read_the_same(tmp_path: Path) -> None:
    text = '{\n"name": "x",\n"channels": ["c"],\n"dependencies": ["a=1.0=b_0", {"pip": ["rich"]}]'
    text += ',\n"prefix": "/Users/me/x"\n}\n'
    (tmp_path / "env.json").write_text(text, "utf-8")
    spec = read("env.json", directory=tmp_path, ledger=Ledger())
    assert ([r.text for r in spec.conda], [r.text for r in spec.pip]) == (["a ==1.0 b_0"], ["rich"])
    assert spec.exported_from == "osx-64"


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
