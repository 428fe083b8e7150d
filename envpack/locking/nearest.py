"""The names somebody may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from envpack.locking.names import conda_name

_SEPARATORS = re.compile(r"[-_.]+")


def nearest(name: str, names: Collection[str], limit: int = 3) -> list[str]:
    """Up to ``limit`` of ``names`` like ``name``: the conda name of a PyPI project of that name first, then
    those that differ in separators or a few letters. Only lengths within three letters are compared, for a
    channel has some 30,000 names.
    """
    found = []
    if (conda := conda_name(name)) in names and conda is not None:
        found.append(conda)
    plain = _SEPARATORS.sub("", name).lower()
    candidates: dict[str, str] = {}
    for other in sorted(names):
        if abs(len(other) - len(name)) <= 3:
            candidates.setdefault(_SEPARATORS.sub("", other).lower(), other)
    close = difflib.get_close_matches(plain, candidates, n=limit, cutoff=0.75)
    found += [candidates[match] for match in close if candidates[match] not in found]
    return found[:limit]
