from pathlib import Path

import pytest

from envpack.errors import ConfigError
from envpack.platforms import PLATFORMS
from envpack.recipes import pins

TEXT = f"""
[miniforge]
version = "1.0-0"
url = "https://example.org/{{version}}/{{machine}}.sh"
[miniforge.sha256]
linux-64 = "{"a" * 64}"
[runtime]
reference = "ubuntu:24.04"
digest = "sha256:{"b" * 64}"
"""


def test_our_own_cover_every_platform() -> None:
    own = pins.load()
    assert set(own.sha256) == set(PLATFORMS)
    assert own.installer_url(PLATFORMS["linux-aarch64"]).endswith("-Linux-aarch64.sh")
    assert own.runtime.digest is not None


def test_a_site_can_have_its_own(tmp_path: Path) -> None:
    (tmp_path / "pins.toml").write_text(TEXT)
    found = pins.load(tmp_path / "pins.toml")
    assert found.installer_url(PLATFORMS["linux-64"]) == "https://example.org/1.0-0/x86_64.sh"
    assert str(found.runtime) == f"docker.io/library/ubuntu:24.04@sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[runtime]", "[other]"),
        ("[miniforge]", "[miniforge"),
        ('"1.0-0"', '"1; id"'),
        ("https://example.org", "https://example.org/$(id)"),
        ("https://example.org", "https://u:p w@example.org"),
        ("a" * 64, "a" * 63),
        ("sha256:", "sha512:"),
        ("linux-64", "linux-99"),
        ("ubuntu:24.04", "Ubuntu 24"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str) -> None:
    (tmp_path / "pins.toml").write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError):
        pins.load(tmp_path / "pins.toml")


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        pins.load(tmp_path / "pins.toml")
