"""What an image says about itself: OCI annotation keys, also used as Docker and Apptainer labels."""

from __future__ import annotations

from datetime import datetime, timezone

from envpack.image import Digest, Reference
from envpack.recipe import Recipe

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"


def in_stages(recipe: Recipe) -> dict[str, str]:
    """``recipe.labels`` of an image that is built in stages, whose base is the last one's, sorted by key."""
    found = dict(recipe.labels)
    if recipe.stages is not None and BASE_NAME in found:
        runtime = recipe.stages.runtime
        found[BASE_NAME] = str(Reference(runtime.registry, runtime.repository, runtime.tag))
        found[BASE_DIGEST] = str(runtime.digest)
    return dict(sorted(found.items()))


def labels(recipe: Recipe, lock: Digest) -> dict[str, str]:
    """All labels of the image, sorted by key; ``lock`` is the digest of the lock file's bytes.

    The keys are those of the OCI image specification (annotations.md, and conversion.md for the
    architecture) where it has one, else ``org.envpack.…``. ``recipe.labels`` come last and win. Nothing is
    taken from the machine, the user or the command line.
    """
    standard = "org.opencontainers.image."
    own = "org.envpack."
    created = datetime.fromtimestamp(recipe.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {
        standard + "title": recipe.name,
        standard + "created": created,
        standard + "architecture": recipe.platform.oci_architecture,
        BASE_NAME: str(recipe.base.reference),
        BASE_DIGEST: str(recipe.base.digest),
        own + "base.glibc": recipe.base.glibc,
        own + "lock.sha256": lock.hex,
        own + "platform": recipe.platform.subdir,
        own + "prefix": recipe.prefix,
        own + "requested": " ".join(f"{name}={version}" for name, version in recipe.packages),
    }
    return dict(sorted((found | dict(recipe.labels)).items()))
