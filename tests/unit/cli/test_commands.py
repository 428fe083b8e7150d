import json
from pathlib import Path

import pytest

from envpack.cli import show
from envpack.cli.commands import run
from envpack.errors import EnvpackError, Location, Problem, SolveError
from envpack.ledger import Action, Finding


def kinds(base: type[EnvpackError] = EnvpackError) -> list[type[EnvpackError]]:
    return [
        k for sub in base.__subclasses__() if sub.__module__ == base.__module__ for k in (sub, *kinds(sub))
    ]


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in kinds()]
    assert len(codes) > 10
    assert len(set(codes)) == len(codes)
    assert not {0, EnvpackError.exit_code} & set(codes)


def test_an_error_says_what_where_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show.error(
        SolveError(
            "packages do not exist",
            where=Location("environment.yml", 3),
            why="channels: a\nand b",
            hint="Correct them.",
            problems=[Problem("no channel has x", Location("environment.yml", 7, 5), hint="Did you mean y?")],
        )
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: environment.yml:3: packages do not exist",
        "  environment.yml:7:5: no channel has x. Did you mean y?",
        "  why: channels: a",
        "    and b",
        "  do: Correct them.",
    ]


def test_what_to_do_for_all_problems_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("a is absent", hint="Ask."), Problem("b is absent", hint="Look.")]
    show.error(EnvpackError("two things are absent", problems=problems, hint="Ask."))
    assert capsys.readouterr().err.splitlines()[1:] == ["  a is absent", "  b is absent. Look.", "  do: Ask."]


def test_findings_are_lines_with_remedies(capsys: pytest.CaptureFixture[str]) -> None:
    show.findings(
        [
            Finding(
                Action.DROPPED,
                "prefix",
                "it is another machine's",
                Location("e.yml", 9),
                "Nothing to do.",
            )
        ]
    )
    assert capsys.readouterr().err.splitlines() == [
        "dropped: e.yml:9: prefix: it is another machine's",
        "    Nothing to do.",
    ]


@pytest.mark.parametrize(
    "arguments", [["lock", "--nonsense"], ["nonsense"], ["build", "--compression", "rar"]]
)
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "--help`" in error


def test_no_command_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage: envpack" in capsys.readouterr().err
    assert run(["--version"]) == 0


def test_findings_until_an_error_are_in_the_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVPACK_CONFIG", "/dev/null")
    (tmp_path / "environment.yml").write_text("name: x\nprefix: /home/me\ndependencies: [six]\n")
    (tmp_path / "envpack.toml").write_text("apt = 1\n")
    assert run(["lock", "--json", "--quiet"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["exit_code"] == 3
    assert "dropped" in [finding["action"] for finding in document["findings"]]


def test_what_needs_the_user_comes_last_and_tables_are_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.findings(
        [
            Finding(Action.NEEDS_YOU, "a", "r"),
            Finding(Action.KEPT, "b", "r"),
            Finding(Action.RELAXED, "c ==1", "r"),
            Finding(Action.RELAXED, "d ==1", "r"),
        ],
        shown={"d ==1"},
    )
    assert capsys.readouterr().err.splitlines() == ["relaxed: c ==1: r", "needs you: a: r"]


def test_json_errors_are_one_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run(["build", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["kind"] == "UsageError"
    assert document["error"]["exit_code"] == 2
    assert "seconds since 1970" in document["error"]["hint"]
