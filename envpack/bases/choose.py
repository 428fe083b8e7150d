"""Which base image: the first of the catalogue that has every platform and a C library new enough.

conda packages say what they need of the C library as a dependency on the virtual package ``__glibc``; a
base image must bring at least that, on each platform of the lock. Of those that do, the catalogue's order
decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from envpack.bases import catalog
from envpack.bases.catalog import KnownImage
from envpack.errors import BaseImageError, Problem
from envpack.image import Reference, parse_reference

Needed = Mapping[str, tuple[str, str] | None]
"""By conda subdir: the oldest glibc that will do and the package that needs it; ``None`` if any will."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A base image, why it is this one (one sentence), and what the user should know about it.

    ``known`` holds the catalogue's facts; ``None`` for an image outside it, whose C library has to be read
    from its layers and checked with :func:`check_glibc`.
    """

    reference: Reference
    known: KnownImage | None
    reason: str
    notes: tuple[str, ...] = ()


def choose(needed: Needed, *, requested: str | None = None, family: str | None = None, today: date) -> Choice:
    """Pick the base image for the platforms that are the keys of ``needed``.

    ``requested`` is the user's own choice (``--base``), which wins if it can. Without one the image is of
    the ``family``, if that is given. ``today`` tells whether a
    distribution's support has ended. Raises :class:`BaseImageError` when the image asked for does not
    exist for a platform or is too old, or when no image of the catalogue fits;
    :class:`envpack.errors.UsageError` when ``requested`` is not an image name.
    """
    if requested is not None:
        return _requested(parse_reference(requested), needed, today)
    for image in catalog.load():
        if family in (None, image.family) and _fits(image, needed):
            return Choice(image.reference, image, f"{image}: {_because(needed)}", _notes(image, today))
    raise BaseImageError(
        "no known base image fits",
        why=_because(needed),
        hint="Name one with --base, or ask for older packages.",
    )


def check_glibc(reference: Reference, glibc: str, subdir: str, needed: Needed) -> None:
    """Raise :class:`BaseImageError` if ``glibc`` of this image is older than the packages of ``subdir`` need.

    An image whose version is not made of numbers and dots is refused too.
    """
    if short := _shortfall(reference, glibc, subdir, needed):
        raise BaseImageError(short, hint=_alternatives(needed))


def _requested(reference: Reference, needed: Needed, today: date) -> Choice:
    image = catalog.find(reference)
    name = reference.familiar
    if image is None:
        return Choice(reference, None, f"{name}: asked for with --base; its glibc is read from the image")
    if absent := sorted(set(needed) - set(image.platforms)):
        raise BaseImageError(
            f"{name} does not exist for {', '.join(absent)}",
            why=f"it exists for {', '.join(image.platforms)}",
            hint=_alternatives(needed),
        )
    short = [s for subdir in sorted(needed) if (s := _shortfall(reference, image.glibc, subdir, needed))]
    if len(short) == 1:
        raise BaseImageError(short[0], hint=_alternatives(needed))
    if short:
        problems = [Problem(what) for what in short]
        raise BaseImageError(f"{name} is too old", problems=problems, hint=_alternatives(needed))
    reason = f"{image}: asked for with --base; {_because(needed)}"
    return Choice(reference, image, reason, _notes(image, today))


def _shortfall(reference: Reference, glibc: str, subdir: str, needed: Needed) -> str | None:
    """What the image lacks for the packages of one platform, if anything."""
    need = needed.get(subdir)
    if need is None:
        return None
    try:
        if catalog.version(glibc) >= catalog.version(need[0]):
            return None
    except ValueError:
        pass  # not a version: not enough
    return f"{reference.familiar} has glibc {glibc}, but {need[1]} needs {need[0]} on {subdir}"


def _fits(image: KnownImage, needed: Needed) -> bool:
    have = catalog.version(image.glibc)
    return set(needed) <= set(image.platforms) and all(
        need is None or have >= catalog.version(need[0]) for need in needed.values()
    )


def _because(needed: Needed) -> str:
    """What the packages need, the most demanding platform first."""
    needs = sorted((catalog.version(n[0]), subdir, *n) for subdir, n in needed.items() if n is not None)
    where = " and ".join(sorted(needed))
    if not needs:
        return f"the packages need no particular glibc on {where}"
    _, subdir, glibc, package = needs[-1]
    on = f" on {subdir}" if len(needed) > 1 else ""
    return f"the packages need {glibc} ({package}){on}, for {where}"


def _notes(image: KnownImage, today: date) -> tuple[str, ...]:
    note = image.support(today)
    return (note,) if note else ()


def _alternatives(needed: Needed) -> str:
    """The images of the catalogue that would do, as a hint."""
    fitting = [str(image) for image in catalog.load() if _fits(image, needed)]
    if not fitting:
        return "No image of the catalogue would do: name another one with --base, or ask for older packages."
    return f"These would do: {', '.join(fitting)}."
