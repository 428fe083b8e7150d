"""Which wheel a target takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.tags import Tag

from envpack.locking import wheels


def chosen(
    *files: str, python: str = "3.11.7", machine: str = "x86_64", glibc: int = 28, threaded: str = ""
) -> str | None:
    tags = wheels.supported_tags(python, machine, (2, glibc), threaded)
    return wheels.best([f"https://host/a%2Bb/{f}?x#y" for f in files], tags)


def name(url: str | None) -> str | None:
    return wheels.filename(url) if url else None


PURE = "x-1-py3-none-any.whl"
ABI3 = "x-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
OLD = "x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
NEW = "x-1-cp311-cp311-manylinux_2_28_x86_64.whl"
NEWEST = "x-1-cp311-cp311-manylinux_2_34_x86_64.whl"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ([PURE, ABI3, OLD, NEW, NEWEST], NEW),
        ([PURE, ABI3, OLD], OLD),
        ([PURE, ABI3], ABI3),
        ([PURE], PURE),
        ([NEWEST], None),
        (["x-1-cp312-cp312-manylinux_2_17_x86_64.whl"], None),
        (["x-1-cp311-cp311-manylinux_2_17_aarch64.whl"], None),
        (["x-1-cp311-cp311-musllinux_1_2_x86_64.whl", "x-1-cp311-cp311-win_amd64.whl"], None),
        (["x-1.tar.gz", "nonsense.whl", PURE], PURE),
        (["x-1-1-py3-none-any.whl", "x-1-2-py3-none-any.whl"], "x-1-2-py3-none-any.whl"),
    ],
)
def test_the_best_wheel(files: list[str], wanted: str | None) -> None:
    assert name(chosen(*files)) == wanted
    assert name(chosen(*reversed(files))) == wanted


def test_another_machine_and_a_free_threaded_python() -> None:
    arm = "x-1-cp311-cp311-manylinux_2_17_aarch64.whl"
    assert name(chosen(OLD, arm, machine="aarch64")) == arm
    free = "x-1-cp313-cp313t-manylinux_2_28_x86_64.whl"
    gil = "x-1-cp313-cp313-manylinux_2_28_x86_64.whl"
    assert name(chosen(free, gil, python="3.13.1", threaded="t")) == free
    assert name(chosen(free, gil, python="3.13.1")) == gil


@pytest.mark.parametrize(
    ("file", "glibc"),
    [
        (PURE, None),
        (OLD, (2, 17)),
        (NEW, (2, 28)),
        ("x-1-cp311-cp311-manylinux1_x86_64.manylinux_2_28_x86_64.whl", (2, 5)),
        ("x-1-cp311-cp311-manylinux2010_x86_64.whl", (2, 12)),
        ("x-1-cp311-cp311-linux_x86_64.whl", None),
    ],
)
def test_the_glibc_a_wheel_needs(file: str, glibc: tuple[int, int] | None) -> None:
    assert wheels.needed_glibc(f"https://host/{file}") == glibc


@settings(max_examples=20, deadline=None)  # the machine may be busy
@given(st.integers(17, 45), st.sampled_from(["x86_64", "aarch64"]))
def test_no_tag_needs_more_than_the_target_has(glibc: int, machine: str) -> None:
    tags = wheels.supported_tags("3.12.1", machine, (2, glibc))
    assert len(set(tags)) == len(tags)
    assert Tag("py3", "none", "any") in tags
    for tag in tags:
        if tag.platform.startswith("manylinux"):
            assert (wheels.needed_glibc(f"https://h/x-1-{tag}.whl") or (0, 0)) <= (2, glibc)
