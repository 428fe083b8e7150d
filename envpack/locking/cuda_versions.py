"""CUDA versions and the NVIDIA drivers that they run with; the table is ``cuda_drivers.toml`` beside this."""

from __future__ import annotations

import sys
from functools import cache
from importlib import resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@cache
def _table() -> tuple[dict[str, str], dict[str, str]]:
    text = resources.files("envpack.locking").joinpath("cuda_drivers.toml").read_text("utf-8")
    data = tomllib.loads(text)
    return data["series"], data["toolkit"]


def known() -> tuple[str, ...]:
    """The CUDA versions of the table, newest first."""
    return tuple(_table()[1])


def newest(series: str) -> str:
    """The newest known version of a series (``12``)."""
    return next((v for v in known() if v.partition(".")[0] == series), f"{series}.0")


def pair(version: str) -> tuple[int, int]:
    """``version`` (``12.4``, ``12``) as numbers."""
    major, _, minor = version.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)


def _numbers(driver: str) -> list[int]:
    return [int(part) for part in driver.split(".")]


def driver_floor(version: str) -> str:
    """The oldest NVIDIA driver for Linux with which programs for CUDA ``version`` run.

    For a version that the table lacks, that of the next newer one, or of the newest series.
    """
    series, toolkit = _table()
    major = version.partition(".")[0]
    if major in series:
        # 11.0 came with an older driver than the later ones of its series need.
        return min(series[major], toolkit.get(version, series[major]), key=_numbers)
    newer = [v for v in known() if pair(v) >= pair(version)]
    return toolkit[newer[-1]] if newer else series[max(series, key=int)]


def own_driver(version: str) -> str | None:
    """The driver that came with CUDA ``version``, where it is known."""
    return _table()[1].get(version)
