import pytest

from envpack import platforms
from envpack.errors import LockError
from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin
from envpack.recipes.pins import Pins
from envpack.recipes.stages import stages

LINUX = platforms.get("linux-64")
DIGEST = Digest("sha256:" + "a" * 64)


def base(name: str) -> BasePin:
    return BasePin(parse_reference(name), DIGEST, "2.31")


@pytest.mark.parametrize("name", ["ubuntu:20.04", "rockylinux:9", "registry.example.org:5000/group/own:1"])
def test_any_base_gets_miniforge_for_one_stage(name: str, pins: Pins) -> None:
    found = stages(base(name), LINUX, pins)
    assert found.build == found.runtime
    assert str(found.build) == f"{parse_reference(name)}@{DIGEST}"
    assert found.installer is not None
    assert found.installer.url == "https://example.org/1.2-3/Miniforge3-1.2-3-Linux-x86_64.sh"
    assert found.installer.sha256 == "e" * 64
    assert "has no conda" in found.reason


@pytest.mark.parametrize("name", ["condaforge/miniforge3", "quay.io/condaforge/miniforge3:26.3.2-2"])
def test_miniforge3_installs_and_stays_behind(name: str, pins: Pins) -> None:
    found = stages(base(name), LINUX, pins)
    assert str(found.build) == f"{parse_reference(name)}@{DIGEST}"
    assert found.runtime == pins.runtime
    assert found.installer is None
    assert "ubuntu:24.04" in found.reason


@pytest.mark.parametrize("name", ["ubuntu:20.04", "condaforge/miniforge3"])
@pytest.mark.parametrize("subdir", ["linux-64", "linux-aarch64"])
def test_the_python_of_the_base_needs_nothing_else(name: str, subdir: str, pins: Pins) -> None:
    found = stages(base(name), platforms.get(subdir), pins, "3.8")
    assert str(found.build) == str(found.runtime) == f"{parse_reference(name)}@{DIGEST}"
    assert found.installer is None
    assert "python is the 3.8 that apt has" in found.reason


def test_a_platform_without_miniforge(pins: Pins) -> None:
    with pytest.raises(LockError, match="linux-aarch64"):
        stages(base("ubuntu:20.04"), platforms.get("linux-aarch64"), pins)
