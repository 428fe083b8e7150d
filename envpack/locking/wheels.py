"""Which wheels run on the target: compatibility tags (PEP 425, PEP 600) of a system that is not this one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

# PEP 600: the names before manylinux_X_Y, and the glibc each stands for.
LEGACY = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}
_MANYLINUX = re.compile(r"manylinux_(?P<major>\d+)_(?P<minor>\d+)_")


@cache
def supported_tags(python: str, machine: str, glibc: tuple[int, int], threaded: str = "") -> tuple[Tag, ...]:
    """The tags that CPython ``python`` (``3.11.7``) takes on Linux, best first.

    ``machine`` is that of ``uname -m``, ``threaded`` is ``"t"`` for a build without the global lock.
    """
    major, minor = (int(part) for part in python.split(".")[:2])
    interpreter = f"cp{major}{minor}"
    platforms = _platforms(machine, glibc)
    tags = list(cpython_tags((major, minor), abis=[interpreter + threaded], platforms=platforms))
    tags += compatible_tags((major, minor), interpreter=interpreter, platforms=platforms)
    return tuple(tags)


def _platforms(machine: str, glibc: tuple[int, int]) -> list[str]:
    oldest = 5 if machine == "x86_64" else 17
    names = []
    for minor in range(glibc[1], oldest - 1, -1):
        names.append(f"manylinux_2_{minor}_{machine}")
        names += [f"{name}_{machine}" for name, version in LEGACY.items() if version == (2, minor)]
    return [*names, f"linux_{machine}"]


def filename(url: str) -> str:
    """The file name at the end of ``url``."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def best(urls: Sequence[str], tags: Sequence[Tag]) -> str | None:
    """The wheel among ``urls`` that an installer takes: of the best tag, then of the highest build number.

    ``None`` where none of them runs on the target.
    """
    order = {tag: number for number, tag in enumerate(tags)}
    ranked = []
    for url in urls:
        try:
            _, _, build, offered = parse_wheel_filename(filename(url))
        except InvalidWheelFilename:
            continue
        ranks = [order[tag] for tag in offered if tag in order]
        if ranks:
            ranked.append((min(ranks), tuple(-part if isinstance(part, int) else 0 for part in build), url))
    return min(ranked)[2] if ranked else None


def needed_glibc(url: str) -> tuple[int, int] | None:
    """The oldest glibc that the wheel at ``url`` says it runs on; ``None`` where it does not say."""
    _, _, _, offered = parse_wheel_filename(filename(url))
    versions = []
    for tag in offered:
        if match := _MANYLINUX.match(tag.platform):
            versions.append((int(match["major"]), int(match["minor"])))
        versions += [version for name, version in LEGACY.items() if tag.platform.startswith(f"{name}_")]
    return min(versions, default=None)
