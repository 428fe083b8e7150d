"""Programs that end with the process that started them, however that ends: killed tests leave no server."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path


def tied(command: Sequence[str | Path]) -> list[str | Path]:
    """``command`` such that it gets SIGTERM when its parent ends (prctl(2), PR_SET_PDEATHSIG).

    The same command where there is no setpriv of util-linux, whose option that is.
    """
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM", "--", *command] if program else [*command]
