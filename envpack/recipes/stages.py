"""The kinds of recipes, and the rule that picks one.

=====================  ================================  ==================================
the lock's base image  packages are installed in         the environment is then put on
=====================  ================================  ==================================
condaforge/miniforge3  that image, whose conda is used   the distribution it is made from
any other              that image, with Miniforge        that image
with its own python    that image, with that and pip     that image
=====================  ================================  ==================================

In all only the environment's folder gets into the final image: no conda, no package cache.
"""

from __future__ import annotations

from envpack.errors import LockError
from envpack.image import Reference
from envpack.lockfile import BasePin
from envpack.platforms import Platform
from envpack.recipe import Installer, Stages
from envpack.recipes.pins import Pins

MINIFORGE_IMAGE = "condaforge/miniforge3"


def stages(base: BasePin, platform: Platform, pins: Pins, system_python: str | None = None) -> Stages:
    """How Docker and Apptainer build an image on ``base``, whose own python is that of the environment if
    ``system_python`` is its version.

    Copies of ``condaforge/miniforge3`` in other registries count as that image. Raises :class:`LockError`
    where there is no Miniforge for the platform.
    """
    named = base.reference
    image = Reference(named.registry, named.repository, named.tag, base.digest)
    if system_python is not None:
        return Stages(
            image,
            image,
            None,
            f"python is the {system_python} that apt has for {named.familiar}, without any conda: pip "
            "installs the packages in a stage of its own, of which only the environment is kept",
        )
    if named.repository.endswith(MINIFORGE_IMAGE):
        return Stages(
            image,
            pins.runtime,
            None,
            f"{named.familiar} brings its own conda, which installs the packages; the environment is then "
            f"put on {_tagged(pins.runtime)}, the distribution that image is made from",
        )
    if platform.subdir not in pins.sha256:
        raise LockError(
            f"there is no Miniforge for {platform.subdir}",
            hint="Build with the native engine, which needs none.",
        )
    name = f"Miniforge {pins.version}"
    installer = Installer(name, pins.installer_url(platform), pins.sha256[platform.subdir])
    return Stages(
        image,
        image,
        installer,
        f"{named.familiar} has no conda: {name} installs the packages in a stage of its own, of which only "
        "the environment is kept",
    )


def _tagged(image: Reference) -> str:
    return Reference(image.registry, image.repository, image.tag).familiar
