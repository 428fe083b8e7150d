"""What an image says about itself: OCI annotation keys, also used as Docker and Apptainer labels."""

from __future__ import annotations

from datetime import datetime, timezone

from envpack.image import Digest
from envpack.recipe import Recipe


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
        standard + "base.name": str(recipe.base.reference),
        standard + "base.digest": str(recipe.base.digest),
        own + "base.glibc": recipe.base.glibc,
        own + "lock.sha256": lock.hex,
        own + "platform": recipe.platform.subdir,
        own + "prefix": recipe.prefix,
        own + "requested": " ".join(f"{name}={version}" for name, version in recipe.packages),
    }
    return dict(sorted((found | dict(recipe.labels)).items()))
