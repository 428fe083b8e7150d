"""A recipe to write texts from, and packages to write into them."""

from dataclasses import replace

import pytest

from envpack import platforms
from envpack.image import Digest, Reference, parse_reference
from envpack.lockfile import BasePin, LockedPackage
from envpack.recipe import Recipe
from envpack.recipes.pins import Pins
from envpack.recipes.stages import stages

CONDA = "https://conda.anaconda.org/conda-forge/linux-64"
FILES = "https://files.example.org"


@pytest.fixture
def pins() -> Pins:
    runtime = Reference("docker.io", "library/ubuntu", "24.04", Digest("sha256:" + "d" * 64))
    url = "https://example.org/{version}/Miniforge3-{version}-Linux-{machine}.sh"
    return Pins("1.2-3", url, {"linux-64": "e" * 64}, runtime)


@pytest.fixture
def packages() -> list[LockedPackage]:
    """A python with pip and six, and one wheel."""
    return [
        LockedPackage(
            "python", "3.11.7", "conda", "linux-64", f"{CONDA}/python-3.11.7-0_cpython.conda", "1" * 64
        ),
        LockedPackage("pip", "25.1", "conda", "linux-64", f"{CONDA}/pip-25.1-0.conda", "2" * 64),
        LockedPackage("six", "1.16.0", "conda", "linux-64", f"{CONDA}/six-1.16.0-0.tar.bz2", "3" * 64),
        LockedPackage("rich", "13.7.0", "pip", "linux-64", f"{FILES}/rich-13.7.0-py3-none-any.whl", "4" * 64),
    ]


@pytest.fixture
def wheels() -> list[LockedPackage]:
    """What a lock for a distribution's own python has: pip, and rich."""
    return [
        LockedPackage("pip", "25.1", "pip", "linux-64", f"{FILES}/pip-25.1-py3-none-any.whl", "5" * 64),
        LockedPackage("rich", "13.7.0", "pip", "linux-64", f"{FILES}/rich-13.7.0-py3-none-any.whl", "4" * 64),
    ]


@pytest.fixture
def on_system_python(recipe: Recipe, pins: Pins) -> Recipe:
    """A recipe on the python 3.8 of its base."""
    made = stages(recipe.base, recipe.platform, pins, "3.8")
    return replace(recipe, stages=made, system_python="3.8")


@pytest.fixture
def recipe(pins: Pins) -> Recipe:
    platform = platforms.get("linux-64")
    base = BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "b" * 64), "2.31")
    return Recipe(
        name="climate",
        platform=platform,
        base=base,
        stages=stages(base, platform, pins),
        prefix="/opt/env",
        epoch=1700000000,
        variables={"OMP_NUM_THREADS": "4"},
        imports=("json", "os.path"),
        packages=(("numpy", "1.26.4"), ("scipy", "1.11.4")),
    )
