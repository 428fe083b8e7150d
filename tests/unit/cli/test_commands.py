import json

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


def test_json_errors_are_one_document(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run(["build", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["kind"] == "UsageError"
    assert document["error"]["exit_code"] == 2
    assert "seconds since 1970" in document["error"]["hint"]
