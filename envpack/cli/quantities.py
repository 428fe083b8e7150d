"""Times and sizes as people write them: ``30d``, ``12h``, ``20G``, ``1.5 GiB``."""

from __future__ import annotations

import re

from envpack.errors import UsageError

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)\Z")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LARGEST = 1 << 62


def seconds(text: str, option: str) -> float:
    """A time in minutes, hours, days or weeks; raises :class:`UsageError` naming the ``option``."""
    match = _NUMBER.match(text)
    unit = _SECONDS.get(match[2].lower()) if match else None
    if match is None or unit is None or (value := float(match[1]) * unit) > _LARGEST:
        raise UsageError(
            f"{option} {text!r} is no time", hint=f"Write e.g. {option} 30d; units are m, h, d, w."
        )
    return value


def size(text: str, option: str) -> int:
    """A size in bytes: G and GB are 1000³ bytes, GiB 1024³; raises :class:`UsageError`."""
    match = _NUMBER.match(text)
    unit = match[2].lower() if match else "?"
    base = 1024 if unit.endswith("ib") else 1000
    power = None if unit == "ib" else _POWERS.get(unit.removesuffix("ib" if base == 1024 else "b"))
    if match is None or power is None or (value := float(match[1]) * base**power) > _LARGEST:
        raise UsageError(
            f"{option} {text!r} is no size",
            hint=f"Write e.g. {option} 20G; units are k, M, G, T and KiB … TiB.",
        )
    return int(value)
