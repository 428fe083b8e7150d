"""A recipe to write texts from."""

import pytest

from envpack import platforms
from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin
from envpack.recipe import Recipe


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        name="climate",
        platform=platforms.get("linux-64"),
        base=BasePin(parse_reference("ubuntu:20.04"), Digest("sha256:" + "b" * 64), "2.31"),
        prefix="/opt/env",
        epoch=1700000000,
        variables={"OMP_NUM_THREADS": "4"},
        imports=("json", "os.path"),
        packages=(("numpy", "1.26.4"), ("scipy", "1.11.4")),
    )
