"""The configuration by which envpack uses the stand-ins, unmodified names and all."""

from __future__ import annotations

from pathlib import Path

CONDA_CHANNELS = (
    "https://conda.anaconda.org/conda-forge",
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
)
# The names on Docker Hub (repository, tag) that the base image is served under.
HUB_IMAGES = (
    ("condaforge/miniforge3", "latest"),
    ("library/debian", "12-slim"),
    ("library/debian", "bookworm-slim"),
    ("library/rockylinux", "8"),
    ("library/rockylinux", "9"),
    ("library/ubuntu", "20.04"),
    ("library/ubuntu", "22.04"),
    ("library/ubuntu", "24.04"),
)


def config_toml(cache: Path, channel: str, registry: str) -> str:
    """A ``config.toml``: :data:`CONDA_CHANNELS` from ``channel``, Docker Hub from ``registry`` (URLs)."""
    mirrors = "".join(f'"{name}" = ["{channel}"]\n' for name in CONDA_CHANNELS)
    return f'cache = "{cache}"\n\n[mirrors]\n{mirrors}\n[registries."docker.io"]\nmirror = "{registry}"\n'
