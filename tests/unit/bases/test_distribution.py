"""Which python an image has, by what it says it is."""

from __future__ import annotations

import pytest

from envpack.bases import distribution
from envpack.errors import BaseImageError


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="20.04"\n', "3.8.10"),
        ("VERSION_ID='12'\n# ID=ubuntu\n\nID=debian", "3.11.2"),
        ('BROKEN="no end\nID="debian"\nVERSION_ID=13\n', "3.13.5"),
    ],
)
def test_what_os_release_says_counts(text: str, python: str) -> None:
    assert distribution.identify(text.encode(), "any:1").python == python


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'ID="rocky"\nVERSION_ID="9.3"\n', "it is rocky 9.3;"),
        (b"ID=ubuntu\nVERSION_ID=18.04\n", "it is ubuntu 18.04;"),
        (b"ID=debian\n", "it is debian;"),  # sid has no number
        (b"\xff\xfe=\0", "it does not say which distribution it is;"),
        (None, "it does not say which distribution it is;"),
    ],
)
def test_others_are_refused_and_the_known_are_named(text: bytes | None, said: str) -> None:
    with pytest.raises(BaseImageError, match="which python my:base has is not known") as caught:
        distribution.identify(text, "my:base")
    assert (caught.value.why or "").startswith(said)
    for known in ("ubuntu 20.04", "ubuntu 24.04", "debian 11", "debian 13"):
        assert known in (caught.value.why or "")
    assert "--base" in (caught.value.hint or "")


def test_the_table_has_whole_versions_each_once() -> None:
    known = distribution.load()
    assert len({str(entry) for entry in known}) == len(known)
    for entry in known:
        assert len([int(part) for part in entry.python.split(".")]) == 3
