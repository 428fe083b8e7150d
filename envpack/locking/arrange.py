"""Who is asked for what: the specification as it is solved, settled before the solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from envpack.config import Config
from envpack.ledger import Ledger
from envpack.locking import cuda, preference, python_guess
from envpack.locking.preference import Prefer
from envpack.locking.solver import CondaSolver
from envpack.progress import Progress
from envpack.spec import EnvSpec


def written(spec: EnvSpec) -> EnvSpec:
    """``spec`` as conda-lock can read it, without the network: what the lock's content hash is of.

    An ordinary source is as it was written.
    """
    return preference.settle(spec, ledger=Ledger())


def arrange(
    spec: EnvSpec,
    *,
    platforms: Sequence[str],
    glibc: Mapping[str, str],
    config: Config,
    ledger: Ledger,
    progress: Progress,
    solver: Path | None,
    prefer: Prefer | None,
    gpu: str | None,
) -> tuple[EnvSpec, str | None, CondaSolver | None]:
    """What to solve, the CUDA version of the target's driver (``None``: it has no GPU), and the solver that
    has read the channels, if one had to.

    Every package is asked of conda or of pip, python is chosen for a list of pip's alone, and a wish for CUDA
    is settled: all said in ``ledger``. ``solver``, another program, is not asked which names there are.
    Raises :class:`NetworkError`, and :class:`UsageError` for a ``gpu`` that is no CUDA version.
    """
    first = platforms[0]
    names = channels = None
    pythons: Sequence[str] = python_guess.PYTHONS
    if solver is None and spec.conda:
        with progress.step("Reading the channels"):
            channels = CondaSolver(spec.channels, spec.conda, config)
            names = set().union(*(channels.names(platform) for platform in platforms))
            pythons = _pythons(channels, first)
    spec = python_guess.settle(spec, platform=first, glibc=glibc[first], ledger=ledger, pythons=pythons)
    spec = preference.settle(
        spec,
        prefer=prefer,
        names=names,
        on_index=python_guess.on_index(spec.pip_options, platform=first, glibc=glibc[first]),
        ledger=ledger,
    )
    return (*cuda.settle(spec, gpu, ledger), channels)


def _pythons(channels: CondaSolver, platform: str) -> tuple[str, ...]:
    """Of the pythons that may be guessed those that the channels have."""
    there = {".".join(str(r.version).split(".")[:2]) for r in channels.candidates(platform, ["python"])}
    return tuple(python for python in python_guess.PYTHONS if python in there)
