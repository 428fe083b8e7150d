"""What an image shall be, apart from its packages: the model every recipe text and engine is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from envpack.lockfile import BasePin
from envpack.platforms import Platform


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to be built.

    ``prefix`` is the environment's absolute path in the image; ``epoch`` the image's date in seconds since
    1970; ``variables`` are set on activation beside the usual ones; ``imports`` are the python modules whose
    import is the image's test; ``labels`` are OCI annotation keys and values; ``packages`` is the table for
    the help text: (name, version) of what was asked for.
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
