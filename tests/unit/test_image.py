"""Image names as Docker reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.errors import UsageError
from envpack.image import Digest, Reference, parse_reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("ubuntu:20.04", "docker.io/library/ubuntu:20.04"),
        ("condaforge/miniforge3", "docker.io/condaforge/miniforge3:latest"),
        ("docker.io/ubuntu:20.04", "docker.io/library/ubuntu:20.04"),
        ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest"),
        ("registry-1.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("127.0.0.1:5055/debian:bookworm", "127.0.0.1:5055/debian:bookworm"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("registry.example.org/group/name", "registry.example.org/group/name:latest"),
        ("quay.io/a__b/c-d.e:V1.0_x-y", "quay.io/a__b/c-d.e:V1.0_x-y"),
        (f"ubuntu@{DIGEST}", f"docker.io/library/ubuntu@{DIGEST}"),
        (f"ubuntu:20.04@{DIGEST}", f"docker.io/library/ubuntu:20.04@{DIGEST}"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
    ],
)
def test_names(text: str, whole: str) -> None:
    assert str(parse_reference(text)) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ubuntu",
        "ubuntu 20.04",
        "ubuntu:",
        "ubuntu:20.04\n",
        "/ubuntu",
        "a//b",
        "../b",
        "a/../b",
        "ubuntu@sha256:abc",
        f"ubuntu@sha512:{HEX}",
        "ubuntu:" + "a" * 129,
        "-a",
        "a_.b",
        "host.org:port/a",
        "https://docker.io/ubuntu",
        "ubuntu;rm -rf /",
        "$(id)",
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not an image name"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("reference", "familiar"),
    [
        (Reference("docker.io", "library/ubuntu", "20.04"), "ubuntu:20.04"),
        (Reference("docker.io", "a/b", "c"), "a/b:c"),
        (Reference("docker.io", "library/a/b", "c"), "library/a/b:c"),
        (Reference("docker.io", "a.b/c", "d"), "docker.io/a.b/c:d"),
        (Reference("quay.io", "a/b", None, Digest(DIGEST)), f"quay.io/a/b@{DIGEST}"),
    ],
)
def test_familiar(reference: Reference, familiar: str) -> None:
    assert reference.familiar == familiar
    assert parse_reference(familiar) == reference


COMPONENT = st.from_regex(r"[a-z0-9]{1,4}((\.|_|__|-{1,2})[a-z0-9]{1,3})?", fullmatch=True)
REFERENCES = st.builds(
    Reference,
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "quay.io", "[::1]:5000", "127.0.0.1:80"]),
    st.lists(COMPONENT, min_size=2, max_size=4).map("/".join),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,5}", fullmatch=True),
    st.none() | st.just(Digest(DIGEST)),
)


@given(REFERENCES)
def test_both_forms_are_read_back(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text())
def test_anything_is_a_name_or_an_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(reference)) == reference


def test_digests() -> None:
    assert Digest(DIGEST).hex == HEX
    assert str(Digest(DIGEST)) == DIGEST


@pytest.mark.parametrize(
    "text", ["", HEX, f"sha512:{HEX}", f"sha256:{HEX.upper()}", DIGEST + "\n", DIGEST[:-1]]
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        Digest(text)


def test_short_is_what_people_call_it() -> None:
    digest = "sha256:" + "0" * 64
    assert parse_reference(f"ubuntu:20.04@{digest}").short == "ubuntu:20.04"
    assert parse_reference(f"ubuntu@{digest}").short == f"ubuntu@{digest}"
