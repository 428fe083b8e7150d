"""Which base image, and why."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.bases import catalog, choose
from envpack.errors import BaseImageError, UsageError
from envpack.image import parse_reference

TODAY = date(2025, 1, 1)


@pytest.mark.parametrize(
    ("glibc", "expected"),
    [
        ("2.17", "ubuntu:20.04"),
        ("2.31", "ubuntu:20.04"),
        ("2.32", "ubuntu:22.04"),
        ("2.36", "ubuntu:24.04"),
        ("2.40", "debian:13-slim"),
    ],
)
def test_the_first_that_is_new_enough(glibc: str, expected: str) -> None:
    choice = choose.choose({"linux-64": (glibc, "numpy")}, today=TODAY)
    assert choice.reference.familiar == expected
    assert choice.known is not None
    assert f"the packages need {glibc} (numpy)" in choice.reason


def test_the_reason_is_a_sentence() -> None:
    choice = choose.choose({"linux-64": ("2.28", "numpy")}, today=TODAY)
    assert choice.reason == "ubuntu:20.04 (glibc 2.31): the packages need 2.28 (numpy), for linux-64"
    assert choice.notes == ()


def test_the_most_demanding_platform_decides() -> None:
    needed = {"linux-64": ("2.17", "zlib"), "linux-aarch64": ("2.35", "torch")}
    choice = choose.choose(needed, today=TODAY)
    assert choice.reason == (
        "ubuntu:22.04 (glibc 2.35): the packages need 2.35 (torch) on linux-aarch64, "
        "for linux-64 and linux-aarch64"
    )


def test_no_need_at_all() -> None:
    choice = choose.choose({"linux-64": None}, today=TODAY)
    assert choice.reason == "ubuntu:20.04 (glibc 2.31): the packages need no particular glibc on linux-64"


def test_the_end_of_support_is_told() -> None:
    choice = choose.choose({"linux-64": None}, today=date(2026, 1, 1))
    assert choice.notes == (
        "security updates for ubuntu:20.04 ended on 2025-05-29; Ubuntu Pro goes on until 2030-04-23",
    )


def test_nothing_fits() -> None:
    with pytest.raises(BaseImageError) as caught:
        choose.choose({"linux-64": ("2.99", "future")}, today=TODAY)
    assert caught.value.why == "the packages need 2.99 (future), for linux-64"


def test_the_users_choice_wins() -> None:
    choice = choose.choose({"linux-64": ("2.28", "numpy")}, requested="rockylinux:9", today=TODAY)
    assert choice.reference.familiar == "rockylinux:9"
    assert choice.reason.startswith(
        "rockylinux:9 (glibc 2.34): asked for with --base; the packages need 2.28"
    )


def test_an_image_that_nobody_knows() -> None:
    needed: choose.Needed = {"linux-64": ("2.28", "numpy")}
    choice = choose.choose(needed, requested="registry.example.org/our/base:3", today=TODAY)
    assert choice.known is None
    assert "read from the image" in choice.reason
    choose.check_glibc(choice.reference, "2.28", "linux-64", needed)
    choose.check_glibc(choice.reference, "2.1", "linux-aarch64", needed)
    with pytest.raises(BaseImageError) as caught:
        choose.check_glibc(choice.reference, "2.5", "linux-64", needed)
    assert (
        caught.value.what == "registry.example.org/our/base:3 has glibc 2.5, but numpy needs 2.28 on linux-64"
    )
    with pytest.raises(BaseImageError):
        choose.check_glibc(choice.reference, "musl", "linux-64", needed)


def test_the_users_choice_is_too_old_on_two_platforms() -> None:
    needed = {"linux-64": ("2.34", "numpy"), "linux-aarch64": ("2.39", "torch")}
    with pytest.raises(BaseImageError) as caught:
        choose.choose(needed, requested="ubuntu:20.04", today=TODAY)
    assert [p.what for p in caught.value.problems] == [
        "ubuntu:20.04 has glibc 2.31, but numpy needs 2.34 on linux-64",
        "ubuntu:20.04 has glibc 2.31, but torch needs 2.39 on linux-aarch64",
    ]
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("These would do: ubuntu:24.04 (glibc 2.39), debian:13-slim")
    assert "22.04" not in caught.value.hint


def test_the_users_choice_lacks_a_platform() -> None:
    with pytest.raises(BaseImageError) as caught:
        choose.choose({"linux-64": None, "linux-riscv64": None}, requested="ubuntu:20.04", today=TODAY)
    assert caught.value.what == "ubuntu:20.04 does not exist for linux-riscv64"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("No image of the catalogue would do")


def test_what_is_no_image_name() -> None:
    with pytest.raises(UsageError):
        choose.choose({"linux-64": None}, requested="Ubuntu 20.04", today=TODAY)


@given(
    st.dictionaries(
        st.sampled_from(["linux-64", "linux-aarch64"]), st.none() | st.integers(0, 45), min_size=1
    )
)
def test_the_rule(minor: dict[str, int | None]) -> None:
    needed: choose.Needed = {k: None if v is None else (f"2.{v}", "x") for k, v in minor.items()}
    most = max((v for v in minor.values() if v is not None), default=0)
    fitting = [
        i for i in catalog.load() if int(i.glibc.split(".")[1]) >= most and set(needed) <= set(i.platforms)
    ]
    if not fitting:
        with pytest.raises(BaseImageError):
            choose.choose(needed, today=TODAY)
        return
    assert choose.choose(needed, today=TODAY).known == fitting[0]
    name = fitting[-1].reference.familiar
    assert choose.choose(needed, requested=name, today=TODAY).reference == parse_reference(name)


def test_of_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    rocky_first = sorted(catalog.load(), key=lambda image: image.family != "rhel")
    monkeypatch.setattr(catalog, "load", lambda: rocky_first)
    needed = {"linux-64": ("2.31", "numpy")}
    assert choose.choose(needed, today=TODAY).reference.familiar == "rockylinux:9"
    assert choose.choose(needed, family="debian", today=TODAY).reference.familiar == "ubuntu:20.04"
    requested = choose.choose(needed, requested="rockylinux:9", family="debian", today=TODAY)
    assert requested.reference.familiar == "rockylinux:9"
