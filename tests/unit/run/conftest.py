"""The small image and ways to run it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.run import small_image
from tests.unit.run.runner import AS_USER, Runner, make_runner


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """A folder that another user can read; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="envpack-test-run-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def squashfs(shared: Path) -> Path:
    """The file system alone."""
    return small_image.write_squashfs(small_image.entries(), shared / "small.sqfs")


@pytest.fixture(scope="session")
def image(squashfs: Path) -> Path:
    """The image as a SIF file."""
    architecture = small_image.HOST.sif_architecture
    return small_image.as_sif(squashfs, squashfs.with_name("small.sif"), architecture)


WAYS = [pytest.param("mounted", marks=pytest.mark.engines), "unpacked"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runner(way: str, shared: Path) -> Runner:
    """Runs images as an ordinary user."""
    return make_runner(shared, way, AS_USER)


@pytest.fixture(params=["as it is", "as a user"])
def anyone(request: pytest.FixtureRequest, way: str, shared: Path) -> Runner:
    """Runs images as whoever runs the tests, and as an ordinary user."""
    return make_runner(shared, way, AS_USER if request.param == "as a user" else ())
