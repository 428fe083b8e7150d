"""Times and sizes as people write them."""

from __future__ import annotations

import pytest

from envpack.cli.quantities import seconds, size
from envpack.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"), [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("2W", 1209600), ("1.5 h", 5400)]
)
def test_times(text: str, value: float) -> None:
    assert seconds(text, "--older-than") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("1000", 1000), ("20G", 20 * 10**9), ("20GB", 20 * 10**9), ("1.5 k", 1500), ("3B", 3),
        ("1GiB", 1 << 30), ("2 tib", 2 << 40), ("7MiB", 7 << 20),
    ],
)  # fmt: skip
def test_sizes(text: str, value: int) -> None:
    assert size(text, "--max-size") == value


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3y", "3 d d", "1e3d", "٣d", "9" * 30 + "d", "3d\n"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match=r"--older-than .* is no time") as caught:
        seconds(text, "--older-than")
    assert caught.value.hint is not None
    assert "30d" in caught.value.hint


@pytest.mark.parametrize("text", ["", "G", "-1G", "1Q", "1 G B", "1ib", "nan", "inf", "9" * 30 + "T", "1G\n"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-size .* is no size") as caught:
        size(text, "--max-size")
    assert caught.value.hint is not None
    assert "20G" in caught.value.hint
