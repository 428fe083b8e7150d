"""The command line: parses, calls :mod:`envpack.pipeline`, prints. The one place that catches errors."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from envpack.errors import Interrupted


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as Ctrl-C does: work done is kept, nothing half-written is left."""
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    from envpack.cli.commands import run

    signal.signal(signal.SIGTERM, _interrupted)
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # the reader of our output left early, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if "rattler" in sys.modules:
        # py-rattler's runtime threads can crash the interpreter while it is torn down, after all work is
        # done. So the exit hooks run here (temporary folders go), and the tear-down does not.
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)
