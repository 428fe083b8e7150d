"""The one place where conda-lock is used: the request in its terms, the lock it makes, the hash it checks.

conda-lock (https://conda.github.io/conda-lock/) makes the lock: it asks for a solve of each platform, turns
the answers into its model and writes its own file format. It has no way to be given another solver but the
name of a program, so for the time of one call three of its functions are replaced:

    conda_lock.conda_solver.solve_specs_for_arch    by rattler in this process (:mod:`.solver`)
    conda_lock.conda_lock.solve_pypi                by uv (:mod:`.pip_solver`)
    conda_lock.conda_solver.apply_categories        by itself, without what was asked for and left out
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envpack.errors import Problem, SolveError
from envpack.locking.pip_solver import PipRecord
from envpack.locking.solver import CondaRecord
from envpack.spec import EnvSpec, Requirement

if TYPE_CHECKING:
    from conda_lock.lockfile.v2prelim.models import LockedDependency
    from conda_lock.lockfile.v2prelim.models import Lockfile as CondaLockfile
    from conda_lock.models.lock_spec import Dependency, LockSpecification
    from conda_lock.virtual_package import FakeRepoData

_WITH_BUILD = re.compile(r"\A(?P<name>[^\s=]+) ==(?P<version>[^\s=]+) (?P<build>[^\s=]+)\Z")
_ONE_AT_A_TIME = threading.Lock()  # the replaced functions are global to the process
CondaSolve = Callable[[str], tuple[CondaRecord, ...]]
PipSolve = Callable[[str], tuple[PipRecord, ...]]


def requirements(spec: EnvSpec) -> tuple[Requirement, ...]:
    """The match specs to solve: those of ``spec``, and ``pip`` where conda's python gets pip's packages."""
    return (*spec.conda, Requirement("pip")) if spec.has_pip and not spec.system_python else spec.conda


def content_hash(spec: EnvSpec, platforms: Sequence[str]) -> dict[str, str]:
    """The request's hash by platform, as ``conda-lock --check-input-hash`` computes it."""
    from conda_lock.content_hash import compute_content_hashes

    with _default_virtual_packages() as virtual:
        return dict(compute_content_hashes(_specification(spec, platforms), virtual))


def check(spec: EnvSpec, platforms: Sequence[str]) -> None:
    """See that conda-lock can read all requirements. Raises :class:`SolveError`."""
    for platform in platforms:
        _dependencies(spec, platform)


def make_lock(
    spec: EnvSpec,
    platforms: Sequence[str],
    solve_conda: CondaSolve | None,
    solve_pip: PipSolve,
) -> CondaLockfile:
    """Have conda-lock make the lock of ``spec`` with these two solvers, which are given a platform.

    Without ``solve_conda`` there are no conda packages, python among them. What is asked for and not in the
    answers was left out; the hash in the lock is that of the whole request all the same.
    Raises what they raise, and :class:`SolveError` for packages that conda-lock cannot write down.
    """
    from conda_lock.conda_lock import create_lockfile_from_spec

    with _default_virtual_packages() as virtual, _solvers(solve_conda or _no_conda, solve_pip):
        try:
            lock = create_lockfile_from_spec(
                conda="conda",
                spec=_specification(spec, platforms),
                lockfile_path=Path("conda-lock.yml"),
                virtual_package_repo=virtual,
                mapping_url="",
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SolveError(
                "conda-lock cannot write down the solution", why=f"{type(error).__name__}: {error}"
            ) from error
    if solve_conda is None:
        return lock.model_copy(update={"package": [p for p in lock.package if p.manager == "pip"]})
    return lock


def _no_conda(platform: str) -> tuple[CondaRecord, ...]:
    """A python that is nowhere, for locks without conda; :func:`make_lock` takes it out again.

    conda-lock refuses pip requirements without a python among the conda packages ("Got pip specs without
    Python"). It asks its version for its own pip solver only, which is replaced.
    """
    url = f"https://conda.invalid/{platform}/python-3-0.conda"
    return (CondaRecord("python", "3", "0", url, None, "0" * 64, None, None, ()),)


def render(lock: CondaLockfile, path: Path, sources: Sequence[Path], metadata: Mapping[str, str]) -> bytes:
    """The bytes of the lock file for ``path``, by conda-lock's own writer, with custom ``metadata``.

    ``sources`` are recorded relative to the folder of ``path``, as conda-lock does.
    """
    final = lock.model_copy(deep=True)
    folder = path.parent.resolve()
    final.metadata.sources = [Path(os.path.relpath(s.resolve(), folder)).as_posix() for s in sources]
    return _written(final, path, metadata)


def with_metadata(path: Path, metadata: Mapping[str, str]) -> bytes:
    """The bytes of the lock file at ``path`` with other custom ``metadata``."""
    from conda_lock.lockfile import parse_conda_lock_file

    return _written(parse_conda_lock_file(path), path, metadata)


def _written(final: CondaLockfile, path: Path, metadata: Mapping[str, str]) -> bytes:
    from conda_lock.lockfile import write_conda_lock_file

    final.metadata.custom_metadata = dict(metadata)
    with tempfile.TemporaryDirectory(prefix="envpack-lock-") as temporary:
        written = Path(temporary) / path.name
        write_conda_lock_file(final, written, metadata_choices=None, include_help_text=False)
        header = _HEADER if any(p.manager == "conda" for p in final.package) else _HEADER_WITHOUT_CONDA
        return header.format(name=path.name).encode() + written.read_bytes()


_HEADER = """\
# Written by envpack, in the format of conda-lock. Do not edit: change the source and run `envpack lock`.
#   envpack build                              one container image of it
#   conda-lock install -n NAME {name}
"""
_HEADER_WITHOUT_CONDA = """\
# Written by envpack, in the format of conda-lock. Do not edit: change the source and run `envpack lock`.
# The packages are pip's, for the python of the base image's distribution.
"""


def _specification(spec: EnvSpec, platforms: Sequence[str]) -> LockSpecification:
    """``spec`` as conda-lock's own reader of ``environment.yml`` would give it, so that hashes agree."""
    from conda_lock.models.channel import Channel
    from conda_lock.models.lock_spec import LockSpecification
    from conda_lock.models.pip_repository import PipRepository

    pip = spec.pip_options
    # conda-lock has no word for most of it, and the hash has to tell.
    indexes = [*pip.addresses, *(["--pre"] if pip.pre else [])]
    indexes += [f"{one.name} {one.url} {one.marker}" for one in pip.own_indexes]
    indexes += ["--index-strategy first-index"] if pip.first_index and len(pip.addresses) > 1 else []
    indexes += [f"--exclude-newer {pip.exclude_newer}"] if pip.exclude_newer else []
    indexes += [f"--exclude-newer-package {name}={date}" for name, date in pip.exclude_newer_package]
    indexes += [f"--constraint {one.text}" for one in pip.constraints]
    indexes += [f"--override {one.text}" for one in pip.overrides]
    return LockSpecification(
        dependencies={platform: _dependencies(spec, platform) for platform in platforms},
        channels=[Channel.from_string(channel) for channel in spec.channels],
        sources=[],
        pip_repositories=[PipRepository.from_string(url) for url in indexes],
        allow_pypi_requests=pip.index_url is None,
    )


def _dependencies(spec: EnvSpec, platform: str) -> list[Dependency]:
    """The dependencies of one platform; of several with the same name conda-lock keeps the last."""
    from conda_lock.models.lock_spec import VersionedDependency
    from conda_lock.src_parser.conda_common import conda_spec_to_versioned_dep
    from conda_lock.src_parser.markers import evaluate_marker
    from conda_lock.src_parser.pyproject_toml import parse_python_requirement

    found: dict[tuple[str, str], Dependency] = {}
    problems: list[Problem] = []
    for requirement in spec.conda:
        try:
            dependency: Dependency = conda_spec_to_versioned_dep(_as_in_a_file(requirement.text), "main")
        except RuntimeError as error:
            problems.append(Problem(str(error), requirement.where))
            continue
        found[dependency.manager, dependency.name] = dependency
    for requirement in spec.pip:
        try:
            dependency = parse_python_requirement(requirement.text, manager="pip", mapping_url="")
        except (ValueError, RuntimeError) as error:
            problems.append(Problem(f"{requirement.text!r}: {error}", requirement.where))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it looks at sys_platform only; uv looks at all markers
            applies = evaluate_marker(dependency.markers, platform)
        if applies:
            found[dependency.manager, dependency.name] = dependency
    if problems:
        raise SolveError("conda-lock cannot read all requirements", problems=problems)
    for package in spec.local:
        # Known by its line until it is built: the hash is of it, too, and pip's part is solved for it.
        local = VersionedDependency(name=package.text, manager="pip", category="main", version="*")
        found["pip", package.text] = local
    if spec.has_pip and not spec.system_python:
        pip = VersionedDependency(name="pip", manager="conda", category="main", version="*")
        found["conda", "pip"] = pip
    return list(found.values())


def _as_in_a_file(text: str) -> str:
    """``name ==1.2 build`` as conda-lock reads ``name=1.2=build``, which means the same with its own hash."""
    return _WITH_BUILD.sub(r"\g<name> \g<version> \g<build>", text)


@contextmanager
def _default_virtual_packages() -> Iterator[FakeRepoData]:
    """conda-lock's default virtual packages, which go into its hash; their folder is gone afterwards."""
    from conda_lock.virtual_package import default_virtual_package_repodata

    virtual = default_virtual_package_repodata()
    try:
        yield virtual
    finally:
        shutil.rmtree(virtual.base_path, ignore_errors=True)


@contextmanager
def _solvers(solve_conda: CondaSolve, solve_pip: PipSolve) -> Iterator[None]:
    """Replace conda-lock's functions for the time of the block."""
    from conda_lock import conda_lock as front
    from conda_lock import conda_solver as back

    def conda(*, platform: str, **_: object) -> dict[str, Any]:
        actions = [_action(record) for record in solve_conda(platform)]
        return {"actions": {"FETCH": actions, "LINK": actions}}

    def pip(*, platform: str, **_: object) -> dict[str, LockedDependency]:
        return {record.name: _locked(record, platform) for record in solve_pip(platform)}

    def categories(*, requested: dict[str, Dependency], planned: dict[str, Any], **more: Any) -> None:
        there = {name: asked for name, asked in requested.items() if name in planned}
        originals[2](requested=there, planned=planned, **more)

    with _ONE_AT_A_TIME:
        originals = back.solve_specs_for_arch, front.solve_pypi, back.apply_categories
        back.solve_specs_for_arch, front.solve_pypi, back.apply_categories = conda, pip, categories
        try:
            yield
        finally:
            back.solve_specs_for_arch, front.solve_pypi, back.apply_categories = originals


def _action(record: CondaRecord) -> dict[str, Any]:
    """A record as ``conda create --dry-run --json`` has it. Without md5 conda-lock writes ``''``."""
    action = {
        "name": record.name,
        "version": record.version,
        "url": record.url,
        "sha256": record.sha256,
        "depends": list(record.depends),
    }
    return action if record.md5 is None else {**action, "md5": record.md5}


def _locked(record: PipRecord, platform: str) -> LockedDependency:
    from conda_lock.lockfile.v2prelim.models import HashModel, LockedDependency

    return LockedDependency(
        name=record.name,
        version=record.version,
        manager="pip",
        platform=platform,
        url=record.url,
        hash=HashModel(sha256=record.sha256),
        categories={"main"},
    )
