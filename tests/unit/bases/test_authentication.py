"""Challenges as registries write them, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.bases.authentication import challenges


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
