"""The configuration by which envpack uses the stand-ins, unmodified names and all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envpack.bases import catalog

CONDA_CHANNELS = (
    "https://conda.anaconda.org/conda-forge",
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
)


def hub_images() -> list[tuple[str, str]]:
    """The names on Docker Hub (repository, tag) of the catalogue's images: the base image has them all."""
    known = [image.reference for image in catalog.load() if image.reference.registry == "docker.io"]
    return [(reference.repository, reference.tag or "latest") for reference in known]


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """``environment`` with stand-ins asked directly, even where a proxy leads to the network."""
    direct = environment.get("no_proxy") or environment.get("NO_PROXY")
    hosts = ",".join([*([direct] if direct else []), "127.0.0.1", "localhost"])
    return {**environment, "NO_PROXY": hosts, "no_proxy": hosts}


def config_toml(cache: Path, channel: str, registry: str) -> str:
    """A ``config.toml``: :data:`CONDA_CHANNELS` from ``channel``, Docker Hub from ``registry`` (URLs)."""
    mirrors = "".join(f'"{name}" = ["{channel}"]\n' for name in CONDA_CHANNELS)
    return f'cache = "{cache}"\n\n[mirrors]\n{mirrors}\n[registries."docker.io"]\nmirror = "{registry}"\n'
