"""What an image shall be, apart from its packages: the model every recipe text and engine is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envpack.image import Reference
from envpack.image_settings import ImageSettings
from envpack.lockfile import BasePin
from envpack.platforms import Platform


@dataclass(frozen=True, slots=True)
class Installer:
    """A program that puts conda into an image: where it is, and the sha256 of its bytes (hexadecimal)."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stages:
    """The two stages of a recipe: where packages are installed, and what the environment is then put on.

    Both images are pinned by digest. Without an ``installer``, ``build`` has a conda in ``/opt/conda``
    already, or none is needed. ``reason`` is one sentence: which kind of recipe this is, and why.
    """

    build: Reference
    runtime: Reference
    installer: Installer | None
    reason: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to be built.

    ``prefix`` is the environment's absolute path in the image; ``epoch`` the image's date in seconds since
    1970; ``variables`` are set on activation beside the usual ones; ``imports`` are the python modules whose
    import is the image's test; ``labels`` are OCI annotation keys and values; ``packages`` is the table for
    the help text: (name, version) of what was asked for. ``activated`` is what packages' activation scripts
    set, as far as it is known before they are run. ``stages`` is how Docker and Apptainer build it;
    ``None`` where only the native engine is meant. ``settings`` is what the project adds; the variables and
    labels among them are part of ``variables`` and ``labels`` already. ``system_python`` is the version
    (``3.11``) of the base's own python where that is the environment's, and there is no conda at all.
    """

    name: str
    platform: Platform
    base: BasePin
    prefix: str
    epoch: int
    variables: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[tuple[str, str], ...] = ()
    activated: Mapping[str, str] = field(default_factory=dict)
    stages: Stages | None = None
    settings: ImageSettings = field(default_factory=ImageSettings)
    system_python: str | None = None
