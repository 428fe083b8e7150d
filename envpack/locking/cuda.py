"""GPU said plainly: which requests imply CUDA, for which driver they are solved, and whether they got it.

A solver that is told of no GPU takes builds for the CPU and says nothing. So whatever names CUDA in a request
(``cudatoolkit=11.3``, ``pytorch=*=*cuda*``, ``torch==2.1.0+cu121``, ``jax[cuda12]``, ``nvidia-*``) makes it a
solve for a machine with a driver, of the version that the request tells, and the result is looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from envpack.errors import Location, UsageError
from envpack.ledger import Action, Ledger
from envpack.locking import cuda_signs as signs
from envpack.locking.cuda_versions import driver_floor, known, newest, own_driver, pair
from envpack.locking.names import project_of
from envpack.spec import EnvSpec, PipOptions, Requirement

__all__ = ["NONE", "Implied", "check", "driver_floor", "implied", "read_version", "settle"]

NONE = "none"
_GIVEN = re.compile(r"(?P<major>\d{1,2})(\.(?P<minor>\d{1,2}))?(\.\d+)?\Z")
_PYTORCH_INDEX = re.compile(r"(https?://download\.pytorch\.org/whl/(?:nightly/|test/)?)cu\d+(/?)\Z")
_WANTED_NONE = "builds without CUDA are wanted"


class Record(Protocol):
    """A chosen package, conda's or pip's; conda's also has a ``build``."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version."""


@dataclass(frozen=True, slots=True)
class Implied:
    """What a request implies: the newest CUDA ``version`` it names, and the line that does.

    ``None`` is any version. Of a series (``12``) ``version`` is the newest, and not ``exact``.
    """

    version: str | None
    where: Location | None
    because: str
    exact: bool = True


def read_version(text: str) -> str:
    """What the user gave: ``none``, or a version (``12`` is its newest). Raises :class:`UsageError`."""
    if text == NONE:
        return NONE
    match = _GIVEN.match(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a CUDA version", hint="Write it as 12.4, or none for builds without CUDA."
        )
    return f"{int(match['major'])}.{int(match['minor'])}" if match["minor"] else newest(match["major"])


def implied(spec: EnvSpec) -> Implied | None:
    """What ``spec`` asks of CUDA; ``None`` where it does not ask for it."""
    told = [(signs.in_match_spec(r.text), r.text, r.where) for r in spec.conda]
    told += [(signs.in_pip_line(r.text), r.text, r.where) for r in spec.pip]
    told += [(signs.in_index(url), url, None) for url in spec.pip_options.addresses]
    found = [(version, text, where) for version, text, where in told if version is not None]
    if not found:
        return None
    exact = [entry for entry in found if "." in entry[0]]
    series = [entry for entry in found if entry[0]]
    version, text, where = max(exact or series or found[:1], key=lambda entry: pair(entry[0] or "0"))
    if series and not exact:
        version = newest(version)
    return Implied(version or None, where, text, bool(exact))


def settle(spec: EnvSpec, wanted: str | None, ledger: Ledger) -> tuple[EnvSpec, str | None]:
    """What to solve, and the CUDA version that the target's driver offers (``None``: there is no GPU).

    ``wanted`` is what the user gave, see :func:`read_version`; without it the request decides. With ``none``
    what names CUDA in ``spec`` is left out or asks for other builds. All of it is said in ``ledger``.
    """
    given = None if wanted is None else read_version(wanted)
    asks = implied(spec)
    if given == NONE:
        return (_without_cuda(spec, ledger) if asks else spec), None
    if given is not None:
        if asks and asks.version and asks.exact and pair(asks.version) > pair(given):
            ledger.add(
                Action.NEEDS_YOU,
                asks.because,
                f"it asks for CUDA {asks.version}, and {given} was given",
                where=asks.where,
                remedy=f"Give --cuda {asks.version}, or ask for packages of an older CUDA.",
            )
        return spec, given
    if asks is None:
        return spec, None
    version = asks.version or known()[0]
    told = "asks for it"
    if not asks.exact:
        told = f"asks for CUDA {version.partition('.')[0] if asks.version else 'of any version'}: the newest"
    ledger.add(
        Action.GUESSED,
        f"CUDA {version}",
        f"{asks.because} {told}; the image needs {_driver(version)}",
        where=asks.where,
        remedy="Give what your driver offers, as nvidia-smi shows it, with --cuda; or --cuda none.",
    )
    return spec, version


def check(
    spec: EnvSpec, records: Sequence[Record], ledger: Ledger, *, platform: str, wanted: str | None = None
) -> None:
    """See that a request for CUDA got it, and one for none got none; else findings that need the user.

    ``spec`` is what was solved, ``records`` are all packages chosen for ``platform``, conda's and pip's;
    ``wanted`` is what the user gave.
    """
    if wanted == NONE:
        _check_none(records, ledger, platform)
        return
    asks = implied(spec)
    if asks is None:
        return
    remedy = "Ask for a build by name (NAME=*=*cuda*), give another version with --cuda, or --cuda none."
    on_cpu = [r for r in records if signs.is_cpu_build(r.version, _build(r))]
    for record in on_cpu:
        label = " ".join(part for part in (record.name, record.version, _build(record)) if part)
        ledger.add(
            Action.NEEDS_YOU,
            label,
            f"it is a build for the CPU on {platform}, and {asks.because} asks for CUDA",
            where=asks.where,
            remedy=remedy,
        )
    if not on_cpu and not any(_is_for_cuda(record, platform) for record in records):
        ledger.add(
            Action.NEEDS_YOU,
            asks.because,
            f"it asks for CUDA, and no package chosen for {platform} is for CUDA",
            where=asks.where,
            remedy=remedy,
        )


def _check_none(records: Sequence[Record], ledger: Ledger, platform: str) -> None:
    for record in records:
        if _is_for_cuda(record, platform):
            ledger.add(
                Action.NEEDS_YOU,
                f"{record.name} {record.version}",
                f"it is for CUDA on {platform}, and {_WANTED_NONE}",
                remedy="Name an index of builds for the CPU, or ask for others: of torch, for instance, with "
                "--extra-index-url https://download.pytorch.org/whl/cpu and torch==VERSION+cpu.",
            )


def _driver(version: str) -> str:
    floor, own = driver_floor(version), own_driver(version)
    shown = f"an NVIDIA driver of {floor} or newer"
    return shown if own in (None, floor) else f"{shown} (best {own}, which came with CUDA {version})"


def _build(record: Record) -> str:
    return str(getattr(record, "build", None) or "")


def _is_for_cuda(record: Record, platform: str) -> bool:
    if _build(record):
        return signs.in_conda_package(record.name, record.version, _build(record)) is not None
    if signs.in_pip_line(f"{record.name}=={record.version}") is not None:
        return True
    # PyPI's own torch is one for CUDA there.
    return record.name == "torch" and "+" not in record.version and platform == "linux-64"


def _without_cuda(spec: EnvSpec, ledger: Ledger) -> EnvSpec:
    """``spec`` for machines without a GPU: what names CUDA is left out, or asks for another build."""
    conda, pip = [], []
    for requirement in spec.conda:
        kept = _other_build(requirement, ledger)
        conda += [kept] if kept else []
    for requirement in spec.pip:
        kept = _other_wheel(requirement, ledger)
        pip += [kept] if kept else []
    lost = {f"conda:{_name(r)}" for r in spec.conda} - {f"conda:{_name(r)}" for r in conda}
    lost |= {f"pip:{project_of(r)}" for r in spec.pip} - {f"pip:{project_of(r)}" for r in pip}
    asked = None if spec.asked is None else spec.asked - lost
    options = _other_indexes(spec.pip_options, ledger)
    return replace(spec, conda=tuple(conda), pip=tuple(pip), pip_options=options, asked=asked)


def _other_build(requirement: Requirement, ledger: Ledger) -> Requirement | None:
    from rattler import MatchSpec

    if signs.in_match_spec(requirement.text) is None:
        return requirement
    spec = MatchSpec(requirement.text)
    name, version = spec.name.normalized, str(spec.version or "")
    if signs.in_conda_package(name, version, "") is not None:
        _left_out(requirement, ledger)
        return None
    channel, separator, _ = requirement.text.rpartition("::")
    text = f"{channel}{separator}{name} {version}".rstrip()
    ledger.add(
        Action.RELAXED, requirement.text, f"{_WANTED_NONE}: any build will do", where=requirement.where
    )
    return replace(requirement, text=text)


def _other_wheel(requirement: Requirement, ledger: Ledger) -> Requirement | None:
    if signs.in_pip_line(requirement.text) is None:
        return requirement
    text = re.sub(r"\+cu\d+", "+cpu", requirement.text)
    if text == requirement.text:
        bare = signs.without_extras(text)
        if bare is None:
            _left_out(requirement, ledger)
            return None
        text = bare
    ledger.add(Action.REPLACED, requirement.text, f"{_WANTED_NONE}: {text}", where=requirement.where)
    return replace(requirement, text=text)


def _left_out(requirement: Requirement, ledger: Ledger) -> None:
    reason = f"it is for CUDA only, and {_WANTED_NONE}"
    ledger.add(Action.DROPPED, requirement.text, reason, where=requirement.where)


def _name(requirement: Requirement) -> str:
    from rattler import MatchSpec

    return str(MatchSpec(requirement.text).name.normalized)


def _other_indexes(options: PipOptions, ledger: Ledger) -> PipOptions:
    changed = {url: _PYTORCH_INDEX.sub(r"\1cpu\2", url) for url in options.addresses}
    for url, other in changed.items():
        if other != url:
            ledger.add(Action.REPLACED, url, f"{_WANTED_NONE}: {other}")
    return replace(
        options,
        index_url=changed[options.index_url] if options.index_url else None,
        extra_index_urls=tuple(changed[url] for url in options.extra_index_urls),
        find_links=tuple(changed[url] for url in options.find_links),
        own_indexes=tuple(replace(one, url=changed[one.url]) for one in options.own_indexes),
    )
