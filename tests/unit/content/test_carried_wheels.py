"""Wheels that a lock carries along: what a lock may say, and that nothing but the locked bytes is taken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from envpack.content import carried_wheels
from envpack.errors import LockError
from envpack.lockfile import CarriedWheel

PATH = "lockfiles/wheels/x/own-1.0-py3-none-any.whl"
SHA256 = hashlib.sha256(b"wheel").hexdigest()


def test_text_and_back() -> None:
    wheel = CarriedWheel("own", "1.0", PATH, SHA256, ">=3.9", "-e .[ü]", ".")
    assert CarriedWheel.from_text("own", wheel.to_text()) == wheel
    package = wheel.locked("linux-64")
    assert (package.filename, package.url, package.manager) == ("own-1.0-py3-none-any.whl", "", "pip")


@pytest.mark.parametrize(
    "changed",
    [
        {"path": "../own-1.0-py3-none-any.whl"},
        {"path": "/etc/own-1.0-py3-none-any.whl"},
        {"path": "x/own-1.0-py3-none-any.whl /etc"},
        {"path": "x/own-1.0-$(id)-none-any.whl"},
        {"path": "x/passwd"},
        {"source": "../other"},
        {"sha256": "0"},
        {"version": "1 0"},
        {"name": "../own"},
    ],
)
def test_what_no_lock_may_say(changed: dict[str, str]) -> None:
    values = {"name": "own", "version": "1.0", "path": PATH, "sha256": SHA256} | changed
    with pytest.raises(ValueError, match=r"own|other|passwd|sha256|package"):
        CarriedWheel(**values)


@pytest.mark.parametrize("text", ["[]", "{", '{"path": 1}', "{}", "[" * 100_000])
def test_what_is_no_wheel(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        CarriedWheel.from_text("own", text)


def test_only_the_locked_bytes_are_taken(tmp_path: Path) -> None:
    packages = [CarriedWheel("own", "1.0", PATH, SHA256).locked("linux-64")]
    target = tmp_path / "taken"
    file = tmp_path / PATH
    with pytest.raises(LockError, match="no lockfiles/wheels/x"):
        carried_wheels.take(tmp_path, packages, [target])
    file.parent.mkdir(parents=True)
    file.write_bytes(b"other")
    with pytest.raises(LockError, match="changed"):
        carried_wheels.take(tmp_path, packages, [target])
    file.unlink()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_bytes(b"wheel")
    file.symlink_to(outside)
    with pytest.raises(LockError, match="no lockfiles"):
        carried_wheels.take(tmp_path, packages, [target])
    assert not target.exists()
    file.unlink()
    file.write_bytes(b"wheel")
    carried_wheels.take(tmp_path, packages, [target])
    assert target.read_bytes() == b"wheel"
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "old.whl").touch()
    assert carried_wheels.copy(tmp_path, packages, tmp_path / "wheels")
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [file.name]
    assert not carried_wheels.copy(tmp_path, [], tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()
