"""Conda packages, chosen by a conda, mamba or micromamba of the user's."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envpack import platforms as _platforms
from envpack import process
from envpack.config import Config
from envpack.errors import NetworkError, ProgramError, SolveError
from envpack.locking import channels as _channels
from envpack.locking.failures import network_problem
from envpack.locking.solver import CondaRecord
from envpack.spec import Requirement

SECONDS = 3600
_LAST_SECOND = 253402300799  # of the year 9999: a larger timestamp is in ms, as conda sees it


class ExternalSolver:
    """Solves by ``PROGRAM create --dry-run --json``, the interface that conda-lock uses too."""

    def __init__(
        self,
        program: Path,
        channels: Sequence[str],
        requirements: Sequence[Requirement],
        config: Config,
        *,
        cuda: str | None = None,
    ) -> None:
        self._program = program
        self._cache = config.cache / "solver"
        self._named = channels
        self._channels = _channels.urls(channels)
        self._requirements = requirements
        self._cuda = cuda

    def solve(self, platform: str, glibc: str) -> tuple[CondaRecord, ...]:
        """The packages for ``platform`` on a system with this ``glibc``, sorted by name.

        Raises :class:`ProgramError` when the program cannot be started or gives no answer,
        :class:`SolveError` and :class:`NetworkError` with its own explanation.
        """
        with tempfile.TemporaryDirectory(prefix="envpack-solve-") as folder:
            command: list[str | Path] = [self._program, "create", "--prefix", Path(folder) / "prefix"]
            command += ["--dry-run", "--json", "--override-channels"]
            for channel in self._channels:
                command += ["--channel", channel]
            command += [requirement.text for requirement in self._requirements]
            done = process.run(
                command, env=_environment(platform, glibc, self._cache, self._cuda), timeout=SECONDS
            )
        answer = _answer(done.stdout)
        if done.returncode != 0 or answer is None or not answer.get("success", True):
            raise self._failure(answer, done.stderr.decode("utf-8", "replace"), platform)
        try:
            records, missing = _records(answer, self._named)
        except (KeyError, TypeError, AttributeError) as error:
            raise ProgramError(
                f"{self._program} gave no answer that can be read", why=f"{type(error).__name__}: {error}"
            ) from error
        if missing:
            raise ProgramError(
                f"{self._program} does not describe all packages",
                why=f"without a description: {', '.join(sorted(missing))}",
                hint="Leave --solver away, or clean the program's package cache.",
            )
        return records

    def _failure(self, answer: dict[str, Any] | None, said: str, platform: str) -> Exception:
        why = said.strip()
        if answer is not None:
            why = (
                "\n".join(
                    str(part) for part in (answer.get("message"), answer.get("solver_problems")) if part
                )
                or why
            )
        if problem := network_problem(why, "a channel"):
            return NetworkError(problem.what, why=problem.why, hint=problem.hint)
        if answer is None:
            return ProgramError(f"{self._program} gave no answer that can be read", why=why[-2000:] or None)
        return SolveError(
            f"{self._program.name} finds no packages that fit together on {platform}",
            why=why,
            hint="Leave --solver away: envpack's own solver finds which exact versions have to give way.",
        )


def _environment(platform: str, glibc: str, cache: Path, cuda: str | None) -> dict[str, str]:
    """The user's environment with the target's platform and virtual packages, and ``cache`` for packages.

    Nothing but repodata is ever put there, so every package is one to be fetched and is described in the
    answer.
    """
    machine = _platforms.get(platform).machine
    return {
        **os.environ,
        "CONDA_SUBDIR": platform,
        "CONDA_PKGS_DIRS": str(cache),
        "CONDA_OVERRIDE_GLIBC": glibc,
        "CONDA_OVERRIDE_LINUX": "5.10",
        "CONDA_OVERRIDE_ARCHSPEC": machine,
        "CONDA_OVERRIDE_CUDA": cuda or "",
        "CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY": "False",
    }


def _answer(output: bytes) -> dict[str, Any] | None:
    """The JSON object in what the program printed, which may come after other lines."""
    text = output.decode("utf-8", "replace")
    start, end = text.find("{"), text.rfind("}")
    try:
        answer = json.loads(text[start : end + 1]) if start >= 0 else None
    except json.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _records(answer: dict[str, Any], channels: Sequence[str]) -> tuple[tuple[CondaRecord, ...], list[str]]:
    """The packages that an answer describes, and the names of those that it only links."""
    actions = answer.get("actions", {})
    fetched = {item["name"]: item for item in actions.get("FETCH", [])}
    missing = [item["name"] for item in actions.get("LINK", []) if item["name"] not in fetched]
    records = (_record(item, channels) for item in fetched.values())
    return tuple(sorted(records, key=lambda r: r.name)), missing


def _record(item: dict[str, Any], channels: Sequence[str]) -> CondaRecord:
    timestamp = item.get("timestamp")
    if timestamp and timestamp > _LAST_SECOND:
        timestamp //= 1000
    return CondaRecord(
        name=item["name"],
        version=str(item["version"]),
        build=str(item.get("build") or item.get("build_string") or ""),
        url=_channels.in_variables(item["url"], channels),
        md5=item.get("md5"),
        sha256=item.get("sha256"),
        size=item.get("size"),
        timestamp=int(timestamp) if timestamp else None,
        depends=tuple(item.get("depends") or ()),
        constrains=tuple(item.get("constrains") or ()),
    )
