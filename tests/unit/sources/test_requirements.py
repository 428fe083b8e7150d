"""Lines for pip: requirements, options, includes, and lines that cannot be locked."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.sources.requirements import PipLines, logical_lines, read_file, read_lines


def lines_of(text: str, directory: Path = Path("/nowhere")) -> PipLines:
    into = PipLines(Ledger(), directory)
    read_lines(into, logical_lines(text, "requirements.txt"))
    return into


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("rich==13.7.0", "rich==13.7.0"),
        ("rich == 13.7.0   # pinned", "rich == 13.7.0"),
        ("torch==2.1.0+cu118", "torch==2.1.0+cu118"),
        ("uvicorn[standard]>=0.12", "uvicorn[standard]>=0.12"),
        ('colorama; sys_platform == "win32"', 'colorama; sys_platform == "win32"'),
        ("distro-info===0.18ubuntu0.18.04.1", "distro-info===0.18ubuntu0.18.04.1"),
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
    assert [(f.action, f.subject) for f in found.ledger] == [(Action.REPLACED, "--hash options")]


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


@pytest.mark.parametrize("option", ["--pre", "--trusted-host host", "--no-binary :all:", "--upgrade", "-U"])
def test_options_without_meaning_here_are_dropped_and_said(option: str) -> None:
    found = lines_of(option)
    assert [(f.action, f.subject) for f in found.ledger] == [(Action.DROPPED, option.split(maxsplit=1)[0])]
    assert not found.problems


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-e .", "folder or file"),
        ("--editable=./src", "folder or file"),
        (".", "folder or file"),
        ("./wheels/a-1-py3-none-any.whl", "folder or file"),
        ("C:\\work\\x", "folder or file"),
        ("numpy @ file:///home/conda/feedstock_root/work", "version is lost"),
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
    (problem,) = found.problems
    assert why in (problem.why or "")
    assert problem.hint
    assert [f.action for f in found.ledger] == [Action.NEEDS_YOU]
    assert "hunter2" not in str([f.as_dict() for f in found.ledger]) + str(problem)


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
