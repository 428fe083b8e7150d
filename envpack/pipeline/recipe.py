"""``envpack recipe``: lock -> recipe files for Docker and Apptainer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envpack import atomic, lockfile
from envpack.config import Config
from envpack.errors import LockError, UsageError
from envpack.image import Digest
from envpack.ledger import Ledger
from envpack.lockfile import BuildPins, Lockfile
from envpack.pipeline.project import find_lock, recipe_folder
from envpack.pipeline.settings import check_settings
from envpack.platforms import get as get_platform
from envpack.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Written:
    """What :func:`recipe` wrote. ``reason`` is one sentence: which kind of recipe it is, and why."""

    name: str
    platform: str
    reason: str
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {
            "name": self.name,
            "platform": self.platform,
            "reason": self.reason,
            "recipes": [str(path) for path in self.files],
        }


def recipe(
    name: str | None = None,
    *,
    directory: Path,
    config: Config,
    platform: str | None = None,
    epoch: int | None = None,
    labels: Mapping[str, str] | None = None,
    ledger: Ledger | None = None,
) -> Written:
    """Write ``recipes/NAME/`` for a lock, without the network; parameters as of :func:`build`.

    Raises :class:`LockError`, :class:`OutputError` as the names say, :class:`ConfigError` for wrong pins and
    :class:`SourceError` for what no recipe can hold.
    """
    path = find_lock(directory, name)
    lock = lockfile.read(path)
    made = recipe_of(lock, path, platform, epoch, config, labels)
    check_settings(directory, made, Ledger() if ledger is None else ledger)
    assert made.stages is not None
    files = write_files(recipe_folder(directory, made.name), made, lock, directory)
    return Written(made.name, made.platform.subdir, made.stages.reason, files)


def recipe_of(
    lock: Lockfile,
    path: Path,
    subdir: str | None,
    epoch: int | None,
    config: Config,
    more_labels: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe of the image of one platform of the lock at ``path``, with ``more_labels``.

    Raises :class:`LockError` when the lock does not say enough, :class:`ConfigError` for wrong pins.
    """
    from envpack.recipes import pins as recipe_pins
    from envpack.recipes.labels import labels
    from envpack.recipes.stages import stages

    pins = lock.pins
    if pins is None:
        raise LockError(
            f"{path} does not say what to build it on",
            why="it was written by another tool: base image, prefix and date are not recorded in it",
            hint="Run `envpack lock` on the environment file it was made from.",
        )
    subdir = _platform(lock, path, subdir)
    versions = {f"{p.manager}:{p.name}": p.version for p in lock.for_platform(subdir)}
    base, platform = pins.platforms[subdir].base, get_platform(subdir)
    recipe = Recipe(
        name=pins.name,
        platform=platform,
        base=base,
        prefix=pins.prefix,
        epoch=pins.epoch if epoch is None else epoch,
        variables={**pins.variables, **pins.settings.variables},
        labels={**pins.settings.labels, **(more_labels or {})},
        packages=_requested(pins, subdir, versions),
        stages=stages(base, platform, recipe_pins.load(config.pins), pins.system_python),
        settings=pins.settings,
        system_python=pins.system_python,
    )
    digest = Digest(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    return replace(recipe, labels=labels(recipe, digest))


def _requested(pins: BuildPins, subdir: str, versions: dict[str, str]) -> tuple[tuple[str, str], ...]:
    tokens = (token for token in pins.platforms[subdir].requested if token in versions)
    return tuple((token.partition(":")[2], versions[token]) for token in tokens)


def _platform(lock: Lockfile, path: Path, subdir: str | None) -> str:
    """The platform to build: the one asked for, the only one, or this machine's."""
    if subdir is not None and subdir not in lock.platforms:
        get_platform(subdir)
        raise UsageError(
            f"{path} has no packages for {subdir}",
            why=f"it was made for {', '.join(lock.platforms)}",
            hint=f"Lock again with --platform {subdir}.",
        )
    if subdir is None and len(lock.platforms) > 1:
        subdir = next((p for p in lock.platforms if get_platform(p).is_host), None)
        if subdir is None:
            raise UsageError(
                f"{path} has several platforms and none is this machine's",
                hint=f"Say which one: --platform {lock.platforms[0]}.",
            )
    return subdir or lock.platforms[0]


def write_files(folder: Path, recipe: Recipe, lock: Lockfile, project: Path) -> tuple[Path, ...]:
    """Write everything that ``docker build`` and ``apptainer build`` need into ``folder``, and remove what an
    earlier recipe there needed and this one does not.

    ``project`` is the folder that the files which are copied into the image are in.
    """
    from envpack.content import carried_wheels, project_files
    from envpack.engines.native.order import link_order
    from envpack.recipes import activation, apptainer_def, dockerfile, installation, package_files

    packages = link_order(lock.for_platform(recipe.platform.subdir))
    from_conda = [p for p in packages if p.manager == "conda"]
    from_pip = [p for p in packages if p.manager == "pip"]
    texts = {
        apptainer_def.FILENAME: apptainer_def.render(recipe, packages),
        "Dockerfile": dockerfile.render(recipe, packages),
        "entrypoint.sh": activation.entrypoint(recipe),
    }
    if recipe.system_python is None:
        texts[installation.explicit_filename(recipe.platform)] = package_files.explicit(
            from_conda, recipe.platform
        )
    else:
        texts[installation.PYTHON_PACKAGES] = _one_a_line(installation.python_packages(recipe))
    if from_pip:
        texts[package_files.REQUIREMENTS] = package_files.requirements(from_pip)
        texts[package_files.WHEELS] = package_files.wheels(from_pip)
    if packages_of_base := installation.apt_packages(recipe):
        texts[installation.APT_PACKAGES] = _one_a_line(packages_of_base)
    if recipe.settings.post:
        texts[installation.POST] = activation.post(recipe)
    if (runscript := activation.runscript(recipe)) is not None:
        texts[installation.RUNSCRIPT] = runscript
    for filename, text in texts.items():
        if not _is(folder / filename, text.encode()):
            atomic.write(folder / filename, text.encode())
        # Whatever the umask: some of them get into images, where everybody must be able to read them.
        (folder / filename).chmod(0o644)
    for filename in installation.filenames() - set(texts):  # of an earlier recipe
        (folder / filename).unlink(missing_ok=True)
    written = [folder / filename for filename in texts]
    if carried_wheels.copy(project, from_pip, folder / package_files.CARRIED):
        written.append(folder / package_files.CARRIED)
    if project_files.copy(project, recipe.settings.files, folder / installation.FILES):
        written.append(folder / installation.FILES)
    return tuple(written)


def _is(path: Path, data: bytes) -> bool:
    """Whether a file is there and holds just this: then there is nothing to wait for the disk for."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _one_a_line(names: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in names)
