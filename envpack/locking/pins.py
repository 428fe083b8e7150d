"""Exact pins: which match specs name one version, and how each is loosened step by step.

numpy ==1.11.3 py27_0  ->  numpy ==1.11.3  ->  numpy =1.11  ->  numpy =1  ->  numpy
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from envpack.ledger import Action, Ledger
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from rattler import MatchSpec

Pinning = Literal["exact", "minor", "none"]
_EXACT = re.compile(r"==(?P<version>[^|,*]+)\Z")
_FUZZY = re.compile(r"(?P<version>[^|,*<>=!~]+)\.\*\Z")
_NUMBERS = re.compile(r"(?P<epoch>\d+!)?(?P<major>\d+)\.(?P<minor>\d+)(?=[.+]|\Z)")
_WITH_LETTERS = re.compile(r"(?P<epoch>\d+!)?(?P<major>\d+)\.(?P<minor>\d+)")


@dataclass(frozen=True, slots=True)
class Pin:
    """An exact requirement.

    ``texts`` are match specs from the one written to the name alone, each looser than the one before; the
    first ``builds`` of them (0 or 1) name a build.
    """

    name: str
    version: str
    texts: tuple[str, ...]
    builds: int


def read(requirement: Requirement, *, complete: bool) -> Pin | None:
    """``requirement`` as a pin, or ``None`` where it leaves a choice of versions.

    ``==1.2.3``, ``1.2.3`` and ``=1.2.3=build`` are exact. ``=1.2.3`` is as well, where it has three parts or
    the source lists a whole environment (``complete``): what is installed has one version, however written.
    """
    from rattler import MatchSpec

    spec = MatchSpec(requirement.text)
    written = str(spec.version or "")
    exact, fuzzy = _EXACT.match(written), _FUZZY.match(written)
    match = exact or fuzzy
    if match is None or (fuzzy and not complete and match["version"].count(".") < 2):
        return None
    if fuzzy and "*" in requirement.text:  # =1.2.3.*, by hand: a range
        return None
    version, build = match["version"], str(spec.build or "*")
    one_build = "*" not in build and not build.startswith("^")
    builds = int(one_build or bool(spec.md5 or spec.sha256 or spec.subdir))
    rest = "" if one_build or build == "*" else f" {build}"
    head = _channel(requirement.text, spec) + spec.name.normalized
    first = f"=={version}" if exact else f"={version}"
    versions = [first, *(text for text in _looser(version) if text != first)]
    texts = [requirement.text] if builds else []
    texts += [f"{head} {text}{rest}" for text in versions]
    if not builds:
        texts[0] = requirement.text
    texts.append(f"{head} *{rest}" if rest else head)
    return Pin(spec.name.normalized, version, tuple(texts), builds)


def apply(spec: EnvSpec, pin: Pinning, ledger: Ledger) -> tuple[Requirement, ...]:
    """The conda requirements of ``spec`` with exact pins as ``pin`` wants them, said in ``ledger``."""
    if pin == "exact":
        return spec.conda
    found = []
    for requirement in spec.conda:
        exact = read(requirement, complete=spec.complete)
        text = exact.texts[-1] if exact else requirement.text
        if exact and pin == "minor":
            text = next((t for t in exact.texts[exact.builds + 1 :] if _WITH_LETTERS.search(t)), text)
        if text != requirement.text:
            reason = "versions are free (--pin none)" if pin == "none" else "pinned to minor versions only"
            ledger.add(Action.RELAXED, requirement.text, f"{text}: {reason}", where=requirement.where)
        found.append(Requirement(text, requirement.where))
    return tuple(found)


def _looser(version: str) -> list[str]:
    """``=1.2`` and ``=1`` for 1.2.3; a version that these would not match stands beside them."""
    if match := _NUMBERS.match(version):
        kept = f"=={version}|" if "+" in version else ""
    elif match := _WITH_LETTERS.match(version):
        kept = f"=={version}|"
    else:
        return []
    epoch, major, minor = match["epoch"] or "", match["major"], match["minor"]
    prefixes = (f"{epoch}{major}.{minor}", f"{epoch}{major}")
    return [f"{kept}{prefix}.*" if kept else f"={prefix}" for prefix in prefixes]


def _channel(text: str, spec: MatchSpec) -> str:
    """``conda-forge::``, without a subdir, where the match spec names a channel."""
    if spec.channel is None:
        return ""
    name, separator, _ = text.partition("::")
    if not separator:
        name = spec.channel.base_url
    name = name.rstrip("/")
    return f"{name.removesuffix(f'/{spec.subdir}') if spec.subdir else name}::"
