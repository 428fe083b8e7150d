"""Locks: read as conda-lock writes them, and believed only as far as they make sense."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from envpack import lockfile
from envpack.errors import LockError
from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin, BuildPins, PlatformPin

SHA256 = "ab" * 32
DIGEST = "sha256:" + "cd" * 32
CHANNEL = "https://conda.anaconda.org/conda-forge"
PINS = BuildPins(
    "analysis",
    "/opt/env",
    1_700_000_000,
    {
        "linux-64": PlatformPin(
            BasePin(parse_reference("ubuntu:20.04"), Digest(DIGEST), "2.31"), ("conda:numpy", "pip:rich")
        )
    },
    {"OMP_NUM_THREADS": "1", "GREETING": "it's $HOME\n"},
)


def package(name: object = "numpy", **changes: object) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1.26.4",
        "manager": "conda",
        "platform": "linux-64",
        "dependencies": {"python": ">=3.11,<3.12.0a0"},
        "url": f"{CHANNEL}/linux-64/{name}-1.26.4-py311_0.conda",
        "hash": {"md5": "0" * 32, "sha256": SHA256},
        "category": "main",
        "optional": False,
    } | changes


def lock(*packages: dict[str, Any], **metadata: object) -> dict[str, Any]:
    return {
        "version": 1,
        "metadata": {
            "content_hash": {"linux-64": "e" * 64},
            "channels": [{"url": "conda-forge", "used_env_vars": []}],
            "platforms": ["linux-64"],
            "sources": ["environment.yml"],
            "custom_metadata": PINS.to_metadata(),
        }
        | metadata,
        "package": list(packages) or [package()],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "analysis.conda-lock.yml"


def read(path: Path, data: object) -> lockfile.Lockfile:
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(data, file)
    return lockfile.read(path)


def test_a_lock(path: Path) -> None:
    found = read(
        path, lock(package(), package("rich", manager="pip", version="13.7.1", hash={"sha256": SHA256}))
    )
    assert found.platforms == ("linux-64",)
    assert found.channels == ("conda-forge",)
    assert found.content_hash == {"linux-64": "e" * 64}
    assert found.pins == PINS
    numpy, rich = found.packages
    assert (numpy.name, numpy.version, numpy.manager, numpy.md5) == ("numpy", "1.26.4", "conda", "0" * 32)
    assert numpy.dependencies == {"python": ">=3.11,<3.12.0a0"}
    assert numpy.filename == "numpy-1.26.4-py311_0.conda"
    assert (rich.manager, rich.md5) == ("pip", None)


def test_packages_by_platform(path: Path) -> None:
    two = lock(
        package(),
        package("zlib", platform="linux-aarch64"),
        package("pip"),
        platforms=["linux-64", "linux-aarch64"],
        custom_metadata={},
    )
    found = read(path, two)
    assert [p.name for p in found.for_platform("linux-64")] == ["numpy", "pip"]
    assert [p.name for p in found.for_platform("linux-aarch64")] == ["zlib"]


@pytest.mark.parametrize("suffix", ["", "?token=x", "#sha256=abc", "?a/b#c/d"])
def test_file_names_of_urls(suffix: str) -> None:
    one = lockfile.LockedPackage(
        "a", "1", "conda", "linux-64", f"{CHANNEL}/linux-64/a-1-0.conda{suffix}", SHA256
    )
    assert one.filename == "a-1-0.conda"


def test_a_lock_of_somebody_else(path: Path) -> None:
    assert read(path, lock(custom_metadata=None)).pins is None
    assert read(path, lock(custom_metadata={"theirs": "1"})).pins is None


def test_the_base_is_pulled_by_digest() -> None:
    assert str(PINS.platforms["linux-64"].base.pinned) == f"docker.io/library/ubuntu@{DIGEST}"


def test_pins_are_sorted_texts() -> None:
    written = PINS.to_metadata()
    assert list(written) == sorted(written)
    assert all(isinstance(value, str) for value in written.values())


NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(
    st.builds(
        BuildPins,
        NAME,
        st.sampled_from(["/opt/env", "/opt/conda/envs/a-b", "/x"]),
        st.integers(0, 2**32 - 1),
        st.just(PINS.platforms),
        st.dictionaries(NAME, st.text(max_size=20)),
    )
)
def test_pins_are_read_back(pins: BuildPins) -> None:
    assert BuildPins.from_metadata(pins.to_metadata(), ["linux-64"]) == pins


def test_absent(path: Path) -> None:
    with pytest.raises(LockError, match="there is no lock") as caught:
        lockfile.read(path)
    assert caught.value.hint == "Run `envpack lock` first."


def test_unreadable(path: Path) -> None:
    path.mkdir()
    with pytest.raises(LockError, match="cannot read the lock"):
        lockfile.read(path)
    path.rmdir()
    path.write_bytes(b"version: 1\n\xff\xff")
    with pytest.raises(LockError, match="not valid UTF-8") as caught:
        lockfile.read(path)
    assert str(caught.value.where) == f"{path}:2"
    path.write_bytes(b" " * (5 << 20))
    with pytest.raises(LockError, match="larger than"):
        lockfile.read(path)


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: b: c", "\t", "a: !!python/object:os.system x", "&a [*b]", "\x07", "[" * 1000, "{a: " * 1000],
)
def test_not_yaml(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(LockError) as caught:
        lockfile.read(path)
    assert str(caught.value.where).startswith(str(path))


def test_aliases_are_never_expanded(path: Path) -> None:
    """Twelve lines that stand for ten to the eleventh texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    for key in ("version", "metadata", "package"):
        path.write_text("\n".join([*lines, f"{key}: *a11"]))
        with pytest.raises(LockError):
            lockfile.read(path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "the file does not consist of keys and values"),
        ([], "the file does not consist of keys and values"),
        ("text", "the file does not consist of keys and values"),
        ({}, "version is missing"),
        ({"version": 1}, "metadata is missing"),
        ({"version": 1, "metadata": [], "package": []}, "metadata does not consist of keys and values"),
        (lock() | {"package": 5}, "package is not a list"),
        (lock() | {"version": 2}, "the lock has format version 2, and envpack reads 1"),
        (lock(platforms="linux-64"), "platforms is not a list"),
        (lock(channels=[{}]), "url is missing"),
    ],
)
def test_not_a_lock(path: Path, data: object, why: str) -> None:
    with pytest.raises(LockError) as caught:
        read(path, data)
    assert caught.value.why == why
    assert str(caught.value.where).startswith(f"{path}")


def test_all_packages_that_are_wrong_are_named_with_their_lines(path: Path) -> None:
    with pytest.raises(LockError) as caught:
        read(
            path,
            lock(package("a", hash={"md5": "0" * 32}), package("b"), package("c", hash=None), package("b")),
        )
    assert [p.what for p in caught.value.problems] == [
        "a has no sha256, so its bytes cannot be checked",
        "the hash of c does not consist of keys and values",
        "b (conda, linux-64) is listed twice",
    ]
    lines = path.read_text().splitlines()
    assert [
        lines[p.where.line - 1].strip()[:4] for p in caught.value.problems if p.where and p.where.line
    ] == [
        "hash",
        "hash",
        "- ca",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../../etc/cron.d/x"},
        {"name": "a b"},
        {"name": "a\nb"},
        {"name": ""},
        {"version": "1/2"},
        {"version": "1\n2"},
        {"version": "$(id)"},
        {"manager": "npm"},
        {"hash": {"sha256": "AB" * 32}},
        {"hash": {"sha256": "../x"}},
        {"platform": "linux-65"},
        {"platform": "../x"},
        {"url": "file:///etc/passwd"},
        {"url": f"{CHANNEL}/linux-64/"},
        {"url": f"{CHANNEL}/linux-64/.."},
        {"url": f"{CHANNEL}/linux-64/.hidden.conda"},
        {"url": f"{CHANNEL}/linux-64/a b.conda"},
        {"url": f"{CHANNEL}/linux-64/a.conda\nDockerfile"},
        {"url": f"{CHANNEL}/linux-64/{'a' * 300}.conda"},
    ],
)
def test_hostile_packages(path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(LockError, match="describes packages wrongly") as caught:
        read(path, lock(package(**changes)))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("envpack.format", "2"),
        ("envpack.name", "../x"),
        ("envpack.name", ""),
        ("envpack.prefix", "opt/env"),
        ("envpack.prefix", "/"),
        ("envpack.prefix", "/opt/../etc"),
        ("envpack.prefix", "/opt//env"),
        ("envpack.prefix", "/opt/my env"),
        ("envpack.prefix", "/opt/env\n#!"),
        ("envpack.prefix", "/opt/$(id)"),
        ("envpack.epoch", "-1"),
        ("envpack.epoch", "1e9"),
        ("envpack.epoch", "4294967296"),
        ("envpack.linux-64.base.reference", "Not An Image"),
        ("envpack.linux-64.base.digest", "latest"),
        ("envpack.linux-64.base.glibc", "musl"),
        ("envpack.linux-64.requested", ["conda:numpy"]),
        ("envpack.variable.A-B", "x"),
        ("envpack.variable.A;id", "x"),
    ],
)
def test_hostile_pins(path: Path, key: str, value: object) -> None:
    with pytest.raises(LockError, match="not a lock that envpack can use"):
        read(path, lock(custom_metadata=PINS.to_metadata() | {key: value}))


@pytest.mark.parametrize(
    "key", [key for key in PINS.to_metadata() if "format" not in key and "variable" not in key]
)
def test_missing_pins(path: Path, key: str) -> None:
    metadata = PINS.to_metadata()
    del metadata[key]
    with pytest.raises(LockError) as caught:
        read(path, lock(custom_metadata=metadata))
    assert caught.value.why == f"{key} is missing"


JUNK: st.SearchStrategy[object] = (
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.just({})
)


def test_a_platform_without_images(path: Path) -> None:
    other = {key.replace("linux-64", "osx-64"): value for key, value in PINS.to_metadata().items()}
    with pytest.raises(LockError) as caught:
        read(path, lock(package(platform="osx-64"), platforms=["osx-64"], custom_metadata=other))
    assert caught.value.why == "images cannot be built for the platform osx-64"
    assert read(path, lock(package(platform="osx-64"), platforms=["osx-64"], custom_metadata={})).pins is None


@given(st.data())
def test_whatever_is_wrong_only_lock_errors_are_raised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    broken = copy.deepcopy(lock())
    spot: Any = broken
    while True:
        key = data.draw(st.sampled_from(list(spot) if isinstance(spot, dict) else list(range(len(spot)))))
        if isinstance(spot[key], (dict, list)) and spot[key] and data.draw(st.booleans()):
            spot = spot[key]
            continue
        spot[key] = data.draw(JUNK)
        break
    with contextlib.suppress(LockError):
        read(tmp_path_factory.getbasetemp() / "lock.yml", broken)
