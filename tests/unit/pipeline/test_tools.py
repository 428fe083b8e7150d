"""Versions that bytes depend on: recorded, read back, and compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envpack.image import Digest, parse_reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin, BuildPins, PlatformPin
from envpack.pipeline import tools

BASE = BasePin(parse_reference("ubuntu:20.04"), Digest(f"sha256:{'cd' * 32}"), "2.31")
PINS = BuildPins("a", "/opt/env", 0, {"linux-64": PlatformPin(BASE)})


def said(changed: dict[str, str], compression: str) -> list[tuple[str, str | None]]:
    ledger = Ledger()
    tools.check({**tools.current(), **changed}, compression, ledger)  # type: ignore[arg-type]  # one of two
    return [(f"{f.subject}: {f.reason}", f.remedy) for f in ledger]


def test_they_are_read_back() -> None:
    here = tools.current()
    assert set(here) == {"envpack", "segments", "zlib", "zstandard", "zstd"}
    pins = replace(PINS, tools=here)
    assert BuildPins.from_metadata(pins.to_metadata(), ["linux-64"]) == pins
    assert f"envpack.tools.zstd={here['zstd']}" in [f"{k}={v}" for k, v in pins.to_metadata().items()]


@pytest.mark.parametrize("version", ["", "1.5; rm -rf /", "a b", "-e", "1" * 65])
def test_what_is_no_version(version: str) -> None:
    metadata = {**PINS.to_metadata(), "envpack.tools.zstandard": version}
    with pytest.raises(ValueError, match=r"envpack\.tools\.zstandard cannot be"):
        BuildPins.from_metadata(metadata, ["linux-64"])


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_nothing_is_said_of_the_same_or_of_none(compression: str) -> None:
    assert said({}, compression) == []
    ledger = Ledger()
    tools.check({}, compression, ledger)  # type: ignore[arg-type]  # one of two
    assert not list(ledger)


def test_only_what_compresses_counts() -> None:
    other = {"zstd": "1.4.0", "zstandard": "0.14.0"}
    ((text, remedy),) = said(other, "zstd")
    assert "zstd 1.4.0" in text
    assert tools.current()["zstd"] in text
    assert "same content, but its bytes may differ" in text
    assert remedy is not None
    assert "zstandard==0.14.0" in remedy
    assert "envpack lock --keep" in remedy
    assert said(other, "gzip") == []
    ((text, _),) = said({"zlib": "1.2.3"}, "gzip")
    assert "zlib 1.2.3" in text
    assert said({"zlib": "1.2.3"}, "zstd") == []


def test_other_segments() -> None:
    for compression in ("zstd", "gzip"):
        ((text, remedy),) = said({"segments": "0.0", "envpack": "0.0.9"}, compression)
        assert "another version of envpack" in text
        assert remedy is not None
        assert "envpack==0.0.9" in remedy
    assert said({"envpack": "0.0.9"}, "zstd") == [], "the version alone changes nothing"
