from dataclasses import replace

from envpack.image import Digest
from envpack.recipe import Recipe
from envpack.recipes.labels import labels
from envpack.recipes.validation import label_problems

LOCK = Digest("sha256:" + "a" * 64)


def test_labels_come_from_recipe_and_lock_alone(recipe: Recipe) -> None:
    assert labels(recipe, LOCK) == {
        "org.envpack.base.glibc": "2.31",
        "org.envpack.lock.sha256": "a" * 64,
        "org.envpack.platform": "linux-64",
        "org.envpack.prefix": "/opt/env",
        "org.envpack.requested": "numpy=1.26.4 scipy=1.11.4",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.base.digest": "sha256:" + "b" * 64,
        "org.opencontainers.image.base.name": "docker.io/library/ubuntu:20.04",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.title": "climate",
    }


def test_they_are_sorted_and_can_be_written(recipe: Recipe) -> None:
    found = labels(replace(recipe, labels={"aaa": "1"}), LOCK)
    assert list(found) == sorted(found)
    assert list(label_problems(found)) == []


def test_the_recipe_wins(recipe: Recipe) -> None:
    own = {"org.opencontainers.image.title": "Mine", "org.example.x": "y"}
    found = labels(replace(recipe, labels=own), LOCK)
    assert own.items() <= found.items()
