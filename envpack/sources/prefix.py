"""A folder with an environment in it: what is installed there, version by version.

The folder is a conda environment (``conda-meta/``), a virtual environment (``pyvenv.cfg``), or the root of a
file system that has one of these, such as a sandbox that ``apptainer build --sandbox`` made. Nothing in it is
run, and no link of it is followed out of it.

What pip installed over a conda package stays pip's, unless another conda package needs it: then conda is
asked for pip's version, for a package comes from one of the two only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envpack.entry import is_safe_path
from envpack.errors import Problem, SourceError
from envpack.ledger import Action, Ledger
from envpack.platforms import PLATFORMS
from envpack.sources import installed
from envpack.sources.installed import CondaPackage, PipPackage
from envpack.sources.owners import Owners
from envpack.sources.recorded_channels import Channels
from envpack.sources.rooted import Folder, Rooted, Tree, problem
from envpack.spec import EnvSpec, LocalPackage, Requirement, valid_name

PREFIX_LABEL = "org.envpack.prefix"
TITLE_LABEL = "org.opencontainers.image.title"
BASE_LABEL = "org.opencontainers.image.base.name"
# Where images have their environment, if no label says it.
USUAL = (
    "opt/env",
    "opt/conda",
    "opt/miniforge3",
    "opt/mambaforge",
    "opt/miniconda3",
    "opt/venv",
    "usr/local",
)
_SUFFIX = ".sandbox"
_LABELS = ".singularity.d/labels.json"
_UNSET = "***unset***"  # conda's, in conda-meta/state
_PATH = re.compile(r"[A-Za-z0-9._+@/-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VENV_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(3\.\d{1,3})\b", re.MULTILINE)
_SYSTEM_SITE = re.compile(r"^include-system-site-packages\s*=\s*true\s*$", re.MULTILINE | re.IGNORECASE)
# What comes into a virtual environment with pip, and with conda's pip as well.
_WITH_PIP = ("setuptools", "wheel")
_SHOWN_NAMES = 5


def read(path: Path, *, shown: str, name: str | None, folder: str, ledger: Ledger) -> EnvSpec:
    """What is installed in the folder ``path``, every package at its version, conda's at its build too.

    ``shown`` is how messages call ``path``, ``name`` the user's choice of a name, ``folder`` a valid name to
    fall back on. A package that is from no channel and no index is left out, and said. Raises
    :class:`SourceError` with every record that makes no sense and every file that cannot be read.
    """
    return _Reader(Rooted(Folder(path), shown), ledger, f"envpack lock {shown}/PATH").read(name, folder)


def read_image(
    tree: Tree, *, shown: str, name: str | None, folder: str, ledger: Ledger, place: str | None = None
) -> EnvSpec:
    """What is installed in an image whose files are ``tree``; ``place`` is the environment's path in it.

    Without that it is looked for where the label of envpack's images says, and where images usually have
    one. The rest is as for :func:`read`.
    """
    anew = f"apptainer build --sandbox FOLDER {shown}; envpack lock FOLDER/PATH"
    return _Reader(Rooted(tree, shown), ledger, anew, "image", place).read(name, folder)


@dataclass(slots=True)
class _Reader:
    """One reading of one folder; collects problems so that all are told at once."""

    root: Rooted
    ledger: Ledger
    another: str
    kind: str = "sandbox"
    place: str | None = None
    problems: list[Problem] = field(default_factory=list)
    conda: list[Requirement] = field(default_factory=list)
    pip: list[Requirement] = field(default_factory=list)
    local: list[LocalPackage] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    here: bool = False

    def read(self, name: str | None, folder: str) -> EnvSpec:
        prefix, title = self._find()
        self.here = self.kind == "sandbox" and not prefix
        chosen = self._name(name, title, folder)
        channels, system, variables = self._environment(prefix)
        if self.problems:
            raise SourceError(
                f"{self.root.shown} cannot be locked as it is",
                problems=sorted(self.problems, key=lambda p: str(p.where)),
                hint="Change these in the environment, then run the same command again.",
            )
        if not self.conda and not self.pip and not self.local:
            raise SourceError(
                f"nothing that can be locked is installed in {self.root.shown}",
                why="; ".join(f"{f.subject}: {f.reason}" for f in self.ledger if f.action is Action.NEEDS_YOU)
                or None,
                hint="Name the folder of another environment.",
            )
        return EnvSpec(
            name=chosen,
            channels=channels,
            conda=tuple(self.conda),
            pip=tuple(self.pip),
            local=tuple(self.local),
            platforms=(system,) if system in PLATFORMS else (),
            variables=variables,
            # Not every program records what conda was asked for; what only pip was says nothing of the rest.
            asked=frozenset(self.asked) if any(t.startswith("conda:") for t in self.asked) else None,
            complete=True,
            exported_from=system,
        )

    def _find(self) -> tuple[str, str | None]:
        """The environment's path below the folder, and the title of the image it is in."""
        if self.place is not None:
            return self._at_place(self.place.strip("/")), self._labels().get(TITLE_LABEL)
        if self._is_environment(""):
            return "", None
        is_root = self.kind != "sandbox" or any(map(self.root.has_folder, (".singularity.d", "etc")))
        if not is_root:
            hint = "Name the folder that has conda-meta or pyvenv.cfg in it, or a sandbox."
            if self.root.has("environment.yml"):
                hint = f"To lock what is asked for there: envpack lock {self.root.shown}/environment.yml"
            raise SourceError(
                f"there is no environment in {self.root.shown}",
                why="it has no conda-meta (conda), no pyvenv.cfg (venv) and no .singularity.d or "
                "etc (a sandbox)",
                hint=hint,
            )
        labels = self._labels()
        named = labels.get(PREFIX_LABEL, "").strip("/")
        places = [named] if _PATH.match(named) and is_safe_path(named) else []
        places += [place for place in USUAL if place != named]
        prefix = next((place for place in places if self._is_environment(place)), None)
        if prefix is None:
            raise SourceError(
                f"there is no environment in the {self.kind} {self.root.shown}",
                why=f"looked for conda-meta and pyvenv.cfg in {', '.join('/' + p for p in places)}",
                hint=f"Name its folder: {self.another}",
            )
        if prefix != named:
            self.ledger.add(
                Action.GUESSED,
                f"environment: /{prefix}",
                f"no label {PREFIX_LABEL} says where the environment is",
                remedy=f"Name another one: {self.another}",
            )
        base = labels.get(BASE_LABEL, "")
        known = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,255}", base) is not None
        self.ledger.add(
            Action.DROPPED,
            f"what is outside of /{prefix}",
            "a lock is of an environment: programs, files and variables elsewhere in the "
            f"{self.kind} are not in it, and its base image is chosen anew",
            remedy=f"Keep its base image: --base {base}" if known else "Name a base image with --base.",
        )
        return prefix, labels.get(TITLE_LABEL)

    def _at_place(self, place: str) -> str:
        if not is_safe_path(place) or not self._is_environment(place):
            raise SourceError(
                f"there is no environment at /{place} in {self.root.shown}",
                why="it has no conda-meta (conda) and no pyvenv.cfg (venv)",
                hint="Name the folder that has one of these in it.",
            )
        return place

    def _is_environment(self, path: str) -> bool:
        return self.root.has_folder(f"{path}/conda-meta") or self.root.has(f"{path}/pyvenv.cfg")

    def _labels(self) -> dict[str, str]:
        if not self.root.has(_LABELS):
            return {}
        try:
            found = self.root.read_object(_LABELS, installed.MAX_TEXT)
        except SourceError as error:
            self.problems.append(problem(error))
            return {}
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def _name(self, name: str | None, title: str | None, folder: str) -> str:
        if name is not None:
            return valid_name(name)
        if title is not None:
            try:
                return valid_name(title)
            except SourceError:
                pass
        guess = folder.removesuffix(_SUFFIX) or folder
        self.ledger.add(
            Action.GUESSED,
            f"name: {guess}",
            "an environment does not say its name: the folder's is taken",
            remedy="Give another one with --name.",
        )
        return guess

    def _environment(self, prefix: str) -> tuple[tuple[str, ...], str | None, dict[str, str]]:
        """Fill in the requirements; gives channels, the system's conda subdir and variables."""
        if not self.root.has_folder(f"{prefix}/conda-meta"):
            self._venv(prefix)
            return ("conda-forge",), None, {}
        records = installed.conda_packages(self.root, prefix, self.problems)
        python = next((r for r in records if r.name == "python"), None)
        owned = frozenset().union(*(record.metadata for record in records))
        found: list[PipPackage] = []
        there: frozenset[str] = frozenset()
        short = ".".join(python.version.split(".")[:2]) if python else ""
        site = None
        if python is not None:
            site = installed.site_packages(self.root, prefix, short, python.site_packages)
        if site is not None:
            found, there = installed.pip_packages(self.root, prefix, site, owned, self.problems)
        history = installed.asked_names(self.root, prefix)
        channels = Channels.of(records, self.ledger)
        owners = Owners.of(records, found, site, there)
        for record in records:
            if record.channel in channels.unusable and record.name not in owners.replaced:
                continue  # as is said already
            self._conda_package(record, owners, channels, record.asked or record.name in history)
        self._pip_packages(owners.pip, {r.name for r in records}, history)
        return channels.names, _system(records), self._variables(prefix)

    def _conda_package(self, record: CondaPackage, owners: Owners, channels: Channels, asked: bool) -> None:
        label = f"{record.name} {record.version}"
        newer, needing = owners.replaced.get(record.name), owners.needed_by.get(record.name, ())
        by = f"{', '.join(needing[:_SHOWN_NAMES])}{' and others' if len(needing) > _SHOWN_NAMES else ''}"
        exact = Requirement(channels.spec(record), record.where)
        if newer and needing:
            self.ledger.add(
                Action.REPLACED,
                label,
                f"pip installed {newer.version} over it, and {by} needs it from conda: conda is asked for "
                f"{newer.version}",
                where=record.where,
                remedy="If no channel has that version, install one that conda has: "
                f"conda install {record.name}",
            )
            self.conda.append(Requirement(f"{record.name} =={newer.version}", newer.where))
        elif newer:
            self.ledger.add(
                Action.REPLACED,
                label,
                f"pip installed {newer.version} over it: that is taken, by pip",
                where=record.where,
            )
            return
        elif record.name in owners.gone and not needing:
            self.ledger.add(
                Action.DROPPED,
                label,
                "conda's record is there, but pip removed the package",
                where=record.where,
            )
            return
        else:
            if record.name in owners.gone:
                self.ledger.add(
                    Action.KEPT, label, f"pip removed the package, but {by} needs it", where=record.where
                )
            self.conda.append(exact)
        if asked or (newer and newer.asked):
            self.asked.add(f"conda:{record.name}")

    def _pip_packages(self, found: Iterable[PipPackage], conda: set[str], history: frozenset[str]) -> None:
        """Pip's packages; those that come with conda's own pip are asked of conda, unless they are there."""
        for package in found:
            label = f"{package.name}=={package.version}"
            if package.origin is not None:
                self._from_no_index(package)
            elif package.name == "pip":
                self.ledger.add(
                    Action.RELAXED,
                    label,
                    "conda brings its own pip beside python: any version of it is taken",
                    where=package.where,
                )
                self.conda.append(Requirement("pip", package.where))
            elif package.name in _WITH_PIP and "pip" not in conda:
                self.ledger.add(
                    Action.REPLACED,
                    label,
                    "conda's pip needs it: conda is asked for that version",
                    where=package.where,
                    remedy="If conda-forge has no such version, pip install one that it has, or none.",
                )
                self.conda.append(Requirement(f"{package.name} =={package.version}", package.where))
            else:
                self.pip.append(Requirement(label, package.where))
                if package.asked or package.name in history:
                    self.asked.add(f"pip:{package.name}")

    def _from_no_index(self, package: PipPackage) -> None:
        origin = package.origin or {}
        label = f"{package.name} {package.version}".strip()
        # What an image or another system's folder says of paths is about another machine.
        found = installed.local_package(package) if self.here else None
        if found is not None:
            self.ledger.add(
                Action.KEPT,
                label,
                "its source is there: it gets into the lock as a wheel",
                where=package.where,
            )
            self.local.append(found)
            self.asked.add(f"pip:{package.name}")
            return
        details = origin.get("dir_info")
        if "vcs_info" in origin:
            why = "it was installed from a repository, and the image is made of finished packages only"
        elif "setup.py" in origin:
            why = "it was installed from a folder by setup.py"
        elif isinstance(details, dict) and details.get("editable"):
            why = "it is an editable installation: a link to a folder of the machine where it was made"
        elif str(origin.get("url", "")).startswith("file:"):
            why = "it was installed from a file or a folder of the machine where that was"
        else:
            why = "it was installed from a file outside of any index"
        remedy = "Install a released version with pip, or build a wheel, put it on an index and install that."
        self.ledger.add(Action.NEEDS_YOU, label, why, where=package.where, remedy=remedy)

    def _venv(self, prefix: str) -> None:
        path = f"{prefix}/pyvenv.cfg"
        try:
            text = self.root.read(path, installed.MAX_TEXT).decode("utf-8", "replace")
        except SourceError as error:
            self.problems.append(problem(error))
            return
        version = _VENV_VERSION.search(text)
        site = version and installed.site_packages(self.root, prefix, version[1])
        if version is None or not site:
            self.problems.append(
                Problem("no python 3 with packages belongs to this virtual environment", self.root.at(path))
            )
            return
        python = f"python ={version[1]}"
        self.ledger.add(
            Action.REPLACED,
            python,
            "a virtual environment uses the python of its machine: conda-forge's is taken",
            where=self.root.at(path),
        )
        if _SYSTEM_SITE.search(text):
            self.ledger.add(
                Action.NEEDS_YOU,
                "include-system-site-packages",
                "the packages of the machine's own python are used too, and these are not read",
                where=self.root.at(path),
                remedy="Install what is needed of them into the virtual environment.",
            )
        self.conda.append(Requirement(python, self.root.at(path)))
        found, _ = installed.pip_packages(self.root, prefix, site, frozenset(), self.problems)
        self._pip_packages(found, set(), frozenset())

    def _variables(self, prefix: str) -> dict[str, str]:
        path = f"{prefix}/conda-meta/state"
        if not self.root.has(path):
            return {}
        try:
            found = self.root.read_object(path, installed.MAX_TEXT).get("env_vars", {})
        except SourceError as error:
            self.problems.append(problem(error))
            return {}
        if not isinstance(found, dict):
            self.problems.append(Problem("env_vars is not an object", self.root.at(path)))
            return {}
        variables = {}
        for name, value in found.items():
            if not _VARIABLE.match(name) or not isinstance(value, str):
                self.problems.append(
                    Problem(f"{name!r} cannot be an environment variable", self.root.at(path))
                )
            elif value != _UNSET:
                variables[name] = value
        return variables


def _system(records: Sequence[CondaPackage]) -> str | None:
    """The conda subdir that most records are of."""
    subdirs = Counter(record.subdir for record in records if record.subdir != "noarch")
    return max(sorted(subdirs), key=lambda subdir: subdirs[subdir]) if subdirs else None
