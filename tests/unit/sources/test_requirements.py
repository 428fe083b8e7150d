"""Lines for pip: requirements, options, includes, and lines that cannot be locked."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.sources.requirements import PipLines, logical_lines, read_file, read_lines, settle


def lines_of(text: str, directory: Path = Path("/nowhere")) -> PipLines:
    into = PipLines(Ledger(), directory)
    read_lines(into, logical_lines(text, "requirements.txt"))
    settle(into)
    return into


def changes(into: PipLines) -> list[tuple[Action, str]]:
    """What was done to lines that were not kept."""
    return [(f.action, f.subject) for f in into.ledger if f.action is not Action.KEPT]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("rich==13.7.0", "rich==13.7.0"),
        ("rich == 13.7.0   # pinned", "rich == 13.7.0"),
        ("uvicorn[standard]>=0.12", "uvicorn[standard]>=0.12"),
        ('colorama; sys_platform == "win32"', 'colorama; sys_platform == "win32"'),
        ("rich===13.7.0", "rich===13.7.0"),
        ("a#b", None),
    ],
)
def test_requirements(line: str, text: str | None) -> None:
    found = lines_of(line)
    assert [r.text for r in found.requirements] == ([text] if text else [])
    assert len(found.problems) == (0 if text else 1)


def test_continuations_and_places() -> None:
    found = lines_of("# head\nrich \\\n  >=13, \\\n  <14\nhumanize\n")
    assert [(r.text.split(), str(r.where)) for r in found.requirements] == [
        (["rich", ">=13,", "<14"], "requirements.txt:2"),
        (["humanize"], "requirements.txt:5"),
    ]


def test_hashes_are_replaced_and_said_once() -> None:
    found = lines_of("a==1 --hash=sha256:00 --hash=sha256:11\nb==1 \\\n  --hash=sha256:22\n")
    assert [r.text for r in found.requirements] == ["a==1", "b==1"]
    assert changes(found) == [(Action.REPLACED, "--hash options")]


@pytest.mark.parametrize(
    "line", ["--index-url {}", "--index-url={}", "-i {}", "-i{}", "--index-url  '{}'", '-i "{}"']
)
def test_an_index_in_every_spelling(line: str) -> None:
    assert lines_of(line.format("https://host/simple")).options.index_url == "https://host/simple"


def test_index_options_keep_their_order() -> None:
    found = lines_of("--extra-index-url https://a/\n--extra-index-url=https://b/\n-f https://c/\n")
    assert found.options.extra_index_urls == ("https://a/", "https://b/")
    assert found.options.find_links == ("https://c/",)


def test_an_index_with_a_password_is_refused_and_not_shown() -> None:
    found = lines_of("--index-url https://me:hunter2@host/simple\n")
    assert found.options.index_url is None
    assert "hunter2" not in str(found.problems)


@pytest.mark.parametrize("option", ["--trusted-host host", "--no-binary :all:", "--upgrade", "-U"])
def test_options_without_meaning_here_are_dropped_and_said(option: str) -> None:
    found = lines_of(option)
    assert [(f.action, f.subject) for f in found.ledger] == [(Action.DROPPED, option.split(maxsplit=1)[0])]
    assert not found.problems


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-e .", "folder or file that is not on this machine"),
        ("-e name", "folder or file that is not on this machine"),
        ("--editable=./src", "folder or file"),
        (".", "folder or file"),
        ("./wheels/a-1-py3-none-any.whl", "file of the machine"),
        ("C:\\work\\x", "folder or file"),
        ("mine @ file:///home/me/mine", "version is lost"),
        ("GDAL @ file:///C:/x/GDAL-3.4.3-cp311-cp311-win_amd64.whl", "another platform"),
        ("-e git://host/x.git@abc#egg=x", "repository"),
        ("-e c:\\\\users\\\\me\\\\x", "folder or file"),
        ("x==0.1.dev3+gabc1234", "between two releases"),
        ("-e git+https://example.org/x.git@abc#egg=x", "repository"),
        ("x @ git+ssh://git@example.org/x.git", "repository"),
        ("git+https://example.org/x.git", "repository"),
        ("https://example.org/x-1-py3-none-any.whl", "outside of any index"),
        ("x @ https://me:hunter2@example.org/x-1-py3-none-any.whl", "outside of any index"),
    ],
)
def test_what_is_not_on_an_index_needs_the_user(line: str, why: str) -> None:
    found = lines_of(line)
    assert not found.requirements
    assert not found.problems
    (finding,) = found.ledger
    assert finding.action is Action.NEEDS_YOU
    assert why in finding.reason
    assert finding.remedy
    assert "hunter2" not in str(finding.as_dict())


@pytest.mark.parametrize(
    ("line", "text", "action"),
    [
        ("numpy @ file:///home/conda/feedstock_root/build_artifacts/numpy_1/work", "numpy", Action.RELAXED),
        ("numpy @ file:///tmp/build/80754af9/numpy_and_numpy_base_1/work", "numpy", Action.RELAXED),
        ("attrs @ file:///C:/b/abs_09s3y775ra/croot/attrs_1668696195628/work", "attrs", Action.RELAXED),
        ("x @ file:///croot/x_1/work/dist/x-0.7.0-py3-none-any.whl", "x==0.7.0", Action.TRANSLATED),
        ("torch==2.1.0+cu121", "torch==2.1.0", Action.RELAXED),
        (
            "torch @ https://download.pytorch.org/whl/cu113/torch-1.12.1%2Bcu113-cp37-cp37m-linux_x86_64.whl",
            "torch==1.12.1",
            Action.REPLACED,
        ),
        ("numpy-groupies==0+unknown", "numpy-groupies", Action.RELAXED),
        ("pytz===2011k-1", "pytz", Action.RELAXED),
        ("old==1.0-r1234", "old==1.0-r1234", Action.KEPT),
        ("old==1.0.custom.7x", "old", Action.RELAXED),
        ("distro-info===0.18ubuntu0.18.04.1", None, Action.DROPPED),
        ("python-debian==0.1.20ubuntu2", None, Action.DROPPED),
        ("python-apt==2.7.7+ubuntu5", None, Action.DROPPED),
        ("ubuntu-drivers-common==0.0.0", None, Action.DROPPED),
        ("pywin32==307", None, Action.DROPPED),
        ("pyobjc-framework-Cocoa==10.1", None, Action.DROPPED),
        ("tensorflow_macos", None, Action.DROPPED),
        ("pywin32 ; os_name == 'nt'", "pywin32 ; os_name == 'nt'", Action.KEPT),
        ("numpy     1.26.4", "numpy==1.26.4", Action.TRANSLATED),
        ("numpy     1.26.4   pypi_0    pypi", "numpy==1.26.4", Action.TRANSLATED),
        ("six=1.10", "six==1.10.*", Action.TRANSLATED),
        ("six = 1.10.*", "six==1.10.*", Action.TRANSLATED),
        (
            "Uvicorn[standard]=0.2 ; os_name == 'posix'",
            "Uvicorn[standard]==0.2.* ; os_name == 'posix'",
            Action.TRANSLATED,
        ),
        ("black=23.1rc1", "black==23.1rc1", Action.TRANSLATED),
        ("torch=2.1.0+cu121", "torch==2.1.0", Action.RELAXED),
        ("pywin32=307", None, Action.DROPPED),
        ("Package    Version", None, Action.DROPPED),
        ("---------- -------", None, Action.DROPPED),
        (
            "WARNING: Could not generate requirement for distribution -ip 21.0 (x): Parse",
            None,
            Action.DROPPED,
        ),
        ("DEPRECATION: Python 2.7 reached the end of its life", None, Action.DROPPED),
        ("You are using pip version 9.0.1, however version 20 is available.", None, Action.DROPPED),
        ("--no-index", None, Action.RELAXED),
        ("--find-links ./wheels", None, Action.NEEDS_YOU),
        ("-r https://host/requirements.txt", None, Action.NEEDS_YOU),
    ],
)
def test_lines_of_every_age(line: str, text: str | None, action: Action) -> None:
    found = lines_of(line)
    assert [r.text for r in found.requirements] == ([text] if text else [])
    assert not found.problems
    assert [f.action for f in found.ledger] == [action]


def test_lines_of_conda_are_asked_from_conda() -> None:
    found = lines_of("numpy=1.19.2=py38h54aff64_0\nZlib  1.2.11  h7b6447c_3  conda-forge\n")
    assert [r.text for r in found.conda] == ["numpy ==1.19.2 py38h54aff64_0", "zlib ==1.2.11 h7b6447c_3"]
    assert not found.requirements


@pytest.mark.parametrize(
    "option", ["--extra-index-url https://host/cu121", "-f https://host/torch_stable.html"]
)
def test_local_versions_stay_where_an_index_is_named(option: str) -> None:
    found = lines_of(f"torch==2.1.0+cu121\n{option}\n")
    assert [r.text for r in found.requirements] == ["torch==2.1.0+cu121"]
    assert not changes(found)


def test_several_options_on_one_line() -> None:
    found = lines_of("rich --extra-index-url https://a/ --trusted-host a\n-i https://b/ --pre\n")
    assert found.options.extra_index_urls == ("https://a/",)
    assert found.options.index_url == "https://b/"
    assert changes(found) == [(Action.DROPPED, "--trusted-host")]
    assert found.options.pre
    assert not lines_of("rich\n").options.pre


def test_pre_names_no_index() -> None:
    found = lines_of("--pre\ntorch==2.1.0+cu121\n")
    assert [r.text for r in found.requirements] == ["torch==2.1.0"]


def test_constraints_narrow_what_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("numpy<2\nscipy==1.11\n", "utf-8")
    found = lines_of("-c c.txt\nNumPy>=1.20\n", tmp_path)
    assert [r.text for r in found.requirements] == ["NumPy<2,>=1.20"]
    assert changes(found) == [
        (Action.TRANSLATED, "-c c.txt"),
        (Action.TRANSLATED, "numpy<2"),
    ]
    assert [(r.text, str(r.where)) for r in found.options.constraints] == [("scipy==1.11", "c.txt:2")]
    assert found.sources == [tmp_path / "c.txt"]


def test_constraints_of_other_systems_and_with_condas_words(tmp_path: Path) -> None:
    text = "a<1 ; sys_platform == 'win32'\nb<1 ; python_version < '3.11'\nc[x]=1.10\nd @ https://h.example/d.whl\n"
    (tmp_path / "c.txt").write_text(text, "utf-8")
    found = lines_of("-c c.txt\na\nb\nc\n", tmp_path)
    assert [r.text for r in found.requirements] == ["a", "b", "c==1.10.*"]
    assert [r.text for r in found.options.constraints] == ['b<1; python_version < "3.11"']
    assert changes(found) == [
        (Action.TRANSLATED, "-c c.txt"),
        (Action.DROPPED, "a<1 ; sys_platform == 'win32'"),
        (Action.TRANSLATED, "c[x]=1.10"),
        (Action.NEEDS_YOU, "d @ https://h.example/d.whl"),
    ]
    (tmp_path / "c.txt").write_text("what is this\n", "utf-8")
    (problem,) = lines_of("-c c.txt\n", tmp_path).problems
    assert str(problem.where) == "c.txt:1"


def test_includes_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = lines_of("-r pipe\n-r nowhere.txt\n-c .\n", tmp_path)
    assert [p.where.line for p in found.problems if p.where] == [1, 2, 3]


def test_pkg_resources_is_dropped_and_said() -> None:
    found = lines_of("pkg-resources==0.0.0\npkg_resources==0.0.0\n")
    assert not found.requirements
    assert [f.action for f in found.ledger] == [Action.DROPPED, Action.DROPPED]
    assert not found.problems


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("rich\n-r b.txt\n", "utf-8")
    (tmp_path / "b.txt").write_text("-r a.txt\n", "utf-8")
    into = PipLines(Ledger(), tmp_path)
    read_file(into, tmp_path / "a.txt", "a.txt")
    assert [r.text for r in into.requirements] == ["rich"]
    assert [str(p.where) for p in into.problems] == ["b.txt:1"]


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet=st.sampled_from("ab =<>[];#-\\\n'\"@:/.+")))
def test_no_text_brings_the_reader_down(text: str) -> None:
    lines_of(text)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\\\n\r#", codec="ascii"))))
def test_without_continuations_every_line_is_one(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert [(t, w.line) for t, w in logical_lines(text, "f")] == [
        (line, n) for n, line in enumerate(text.split("\n"), 1)
    ]
    assert all(isinstance(w, Location) for _, w in logical_lines(text, "f"))
