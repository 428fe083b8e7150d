"""Challenges as registries write them, and as nobody should."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.bases.authentication import Authentication, challenges
from envpack.config import Config
from envpack.errors import NetworkError
from envpack.http_client import HttpClient


def parsed(header: str) -> list[tuple[str, dict[str, str]]]:
    return [(c.scheme, dict(c.parameters)) for c in challenges(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull",
                    },
                )
            ],
        ),
        ('Basic realm="Registry Realm"', [("basic", {"realm": "Registry Realm"})]),
        ("BEARER Realm=https://a/b , service=x", [("bearer", {"realm": "https://a/b", "service": "x"})]),
        ('Bearer scope="repository:a:pull,push"', [("bearer", {"scope": "repository:a:pull,push"})]),
        ('Bearer realm="a \\"quoted\\" word"', [("bearer", {"realm": 'a "quoted" word'})]),
        (
            'Basic realm="x", Bearer realm="https://t",service="s"',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "https://t", "service": "s"})],
        ),
        ("Negotiate", [("negotiate", {})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"})]),
        ("", []),
        ("==", []),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parsed(header) == expected


@given(st.text(max_size=200) | st.from_regex(r'(Bearer|Basic|,|=|"|realm| |\\){0,40}', fullmatch=True))
def test_nonsense_is_survived(header: str) -> None:
    for challenge in challenges(header):
        assert challenge.scheme


def test_a_long_header_takes_no_time() -> None:
    assert challenges('Bearer realm="' + "\\" * 50_000)[0].scheme == "bearer"
    assert challenges("a=" * 50_000 + "," * 50_000) == ()


def test_no_login_over_an_unencrypted_connection(tmp_path: Path) -> None:
    http = HttpClient(Config(tmp_path))
    asks = Authentication(http, "r.org", "https://r.org", "a/b", {"HOME": str(tmp_path)})
    with pytest.raises(NetworkError, match="unencrypted") as caught:
        asks('Bearer realm="http://tokens.invalid/t?key=hush"')
    assert caught.value.why == "http://tokens.invalid/t?…"
