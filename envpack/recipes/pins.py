"""What recipes download that is not in a lock: ``pins.toml``, checked."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from envpack.errors import ConfigError, EnvpackError
from envpack.image import Digest, Reference, parse_reference
from envpack.platforms import PLATFORMS, Platform

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_VERSION = re.compile(r"[0-9][0-9A-Za-z.-]*\Z")
# Stands unquoted in a Dockerfile and in a shell: what RFC 3986 allows, without what either would expand.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?@!=+,%&-]+\Z")


@dataclass(frozen=True, slots=True)
class Pins:
    """The Miniforge installer (``url`` with ``{version}`` and ``{machine}``, ``sha256`` by conda subdir), and
    the image under environments that were installed in ``condaforge/miniforge3``.
    """

    version: str
    url: str
    sha256: Mapping[str, str]
    runtime: Reference

    def installer_url(self, platform: Platform) -> str:
        """Where the installer of one platform is."""
        return self.url.replace("{version}", self.version).replace("{machine}", platform.machine)


def load(path: Path | None = None) -> Pins:
    """The pins that come with envpack, or those of a file of the same form.

    Raises :class:`ConfigError` when the file cannot be read or says something that cannot be.
    """
    own = resources.files("envpack.recipes").joinpath("pins.toml")
    try:
        return _pins(tomllib.loads((path or own).read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the pins {path}", why=str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} does not have the form of pins",
            why=f"{type(error).__name__}: {error}",
            hint=f"Start from a copy of {own}.",
        ) from error
    except (ValueError, EnvpackError) as error:
        raise ConfigError(f"{path} holds a value that cannot be", why=str(error)) from error


def _pins(data: dict[str, Any]) -> Pins:
    miniforge, runtime = data["miniforge"], data["runtime"]
    named = parse_reference(runtime["reference"])
    digest = Digest(runtime["digest"])
    pins = Pins(
        miniforge["version"],
        miniforge["url"],
        {subdir: Digest(f"sha256:{digits}").hex for subdir, digits in miniforge["sha256"].items()},
        Reference(named.registry, named.repository, named.tag, digest),
    )
    if not _VERSION.match(pins.version):
        raise ValueError(f"not a version: {pins.version!r}")
    for subdir in pins.sha256:
        if not _URL.match(pins.installer_url(PLATFORMS[subdir])):
            raise ValueError(f"not an http(s) URL: {pins.url!r}")
    return pins
