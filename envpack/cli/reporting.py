"""What all commands share: they report progress, findings and one result, as text or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import click

from envpack.cli import show
from envpack.errors import EnvpackError, Interrupted, OutputError
from envpack.ledger import Ledger
from envpack.progress import Progress


class Result(Protocol):
    """What a command of the pipeline gives back."""

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""


R = TypeVar("R", bound=Result)
F = TypeVar("F", bound=Callable[..., Any])


def report(
    command: Callable[[Progress, Ledger], R], show_result: Callable[[R], None], *, as_json: bool, quiet: bool
) -> None:
    """Call ``command`` with a progress display and a ledger, then show both findings and result."""
    from envpack.cli.progress import reporter

    ledger = Ledger()
    shown: Collection[str] = ()
    try:
        with reporter(quiet=quiet) as progress:
            result = command(progress, ledger)
        shown = getattr(result, "tabulated", ())
    except Interrupted:
        raise
    except EnvpackError as problem:
        if not as_json:
            raise
        # With what was found until then.
        show.as_json({**show.error_document(problem), "findings": [f.as_dict() for f in ledger]})
        raise click.exceptions.Exit(problem.exit_code) from problem
    finally:
        if not as_json:
            with suppress(OSError):  # nobody is there to be told
                show.findings(tuple(ledger), shown)
    try:
        if as_json:
            show.as_json({**result.as_dict(), "findings": [finding.as_dict() for finding in ledger]})
        else:
            show_result(result)
    except BrokenPipeError:
        pass  # the reader left early, as `head` does: the work is done all the same
    except OSError as error:
        raise OutputError(
            "the result cannot be written to standard output",
            why=error.strerror,
            hint="The work is done; run the same command again to see what it gave.",
        ) from error


def reporting(command: F) -> F:
    """The options of every command that reports."""
    command = click.option("-q", "--quiet", is_flag=True, help="No progress; results and errors only.")(
        command
    )
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")(
        command
    )
