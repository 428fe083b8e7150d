"""What a test needs and this machine lacks: skipped on a developer's machine, failed in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skip the test that runs, or fail it where ``CI`` is set: there nobody reads what was skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI (variable CI) no test is skipped for that")
    pytest.skip(reason)
