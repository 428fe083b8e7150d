"""URLs in messages, and the parts of them that decisions hang on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.http_errors import is_loopback, netloc, origin, redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.org/b/c.conda", "https://a.org/b/c.conda"),
        ("https://me:pw@a.org:8443/b", "https://a.org:8443/b"),
        ("https://me:p@w@a.org/b", "https://a.org/b"),
        ("https://a.org/b?token=x&y=z#frag", "https://a.org/b?…"),
        ("https://a.org/t/TOKEN/channel/x", "https://a.org/t/…/channel/x"),
        ("https://me:p/w@a.org/b", "…"),
        ("no url", "…"),
        ("http://[::1", "…"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_a_password_is_never_shown(password: str) -> None:
    secret = f"HUSH{password}HUSH"
    for url in (f"https://me:{secret}@a.org/b", f"https://a.org/b?key={secret}", f"https://a.org/b#{secret}"):
        # what comes after a slash in a password is, by the grammar of URLs, a path
        assert secret not in redact(url) or "/" in password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:5000/a", True),
        ("http://localhost", True),
        ("http://[::1]:80/", True),
        ("http://127.1.2.3", True),
        ("http://127.0.0.1.evil.org", False),
        ("http://localhost.evil.org", False),
        ("http://localhost@evil.org", False),
        ("nonsense", False),
    ],
)
def test_is_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.Org/b", "a.org"),
        ("https://a.org:443/b", "a.org"),
        ("http://a.org:443/b", "a.org:443"),
        ("https://me:pw@a.org:8443", "a.org:8443"),
        ("https://[::1]:5000/", "[::1]:5000"),
    ],
)
def test_netloc(url: str, expected: str) -> None:
    assert netloc(url) == expected


def test_origin() -> None:
    assert origin("https://a.org/b") == origin("https://me@A.ORG:443/c")
    assert (
        len({origin(u) for u in ("http://a.org", "https://a.org", "https://b.org", "https://a.org:444")}) == 4
    )
