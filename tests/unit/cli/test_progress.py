import io
import os
import pty
from pathlib import Path

import pytest

from envpack.cli.progress import Lines, amount, reporter
from envpack.progress import Quiet, Unit


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (999, "bytes", "999 B"),
        (1_000, "bytes", "1.0 kB"),
        (20_500_000, "bytes", "20.5 MB"),
        (3_210_000_000, "bytes", "3.21 GB"),
        (22_000, "items", "22,000"),
    ],
)
def test_amounts_are_for_people(value: int, unit: Unit, text: str) -> None:
    assert amount(value, unit) == text


def test_a_log_gets_one_line_a_step() -> None:
    out = io.StringIO()
    with Lines(out).step("Downloading", 3_000_000, "bytes") as task:
        task.advance(1_000_000)
        task.advance(2_000_000)
    assert out.getvalue().startswith("Downloading: 3.0 MB of 3.0 MB, ")
    assert out.getvalue().count("\n") == 1


def test_a_step_that_fails_says_so() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="x"), Lines(out).step("Linking"):
        raise ValueError("x")
    assert out.getvalue() == "Linking: stopped\n"


def test_quiet_is_quiet() -> None:
    out = io.StringIO()
    with reporter(quiet=True, stream=out) as progress:
        assert isinstance(progress, Quiet)
        with progress.step("x") as task:
            task.advance()
        progress.note("y")
    assert out.getvalue() == ""


def test_a_terminal_gets_bars_with_names_as_they_are(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal, reporter(quiet=False, stream=terminal) as progress:
        with progress.step("Pulling [red]ubuntu[/red]", 2_000_000, "bytes") as task:
            task.advance(2_000_000)
        progress.note("a [note]")
    shown = b""
    os.set_blocking(master, False)
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(master)
    assert b"Pulling [red]ubuntu[/red]" in shown
    assert b"2.0 MB of 2.0 MB" in shown
    assert b"a [note]" in shown
