"""pip and conda as one story: every package is asked of one of the two, by the name and in the words of that.

Before the solve, and without it: what the solve brings along unasked, and pip asks for too, is settled by
:mod:`.pip_solver`, which takes conda's choice as given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from envpack.ledger import Action, Ledger
from envpack.locking import cuda_signs
from envpack.locking.names import conda_names, project_of, projects
from envpack.locking.specifiers import conda_in_pip, to_conda, to_pip
from envpack.markers import on_linux
from envpack.spec import EnvSpec, Requirement

Prefer = Literal["conda", "pip"]
_STAYS_CONDA = {"python", "pip", "setuptools", "wheel"}


def settle(
    spec: EnvSpec,
    *,
    prefer: Prefer | None = None,
    names: Collection[str] | None = None,
    on_index: Callable[[str], bool] | None = None,
    ledger: Ledger,
) -> EnvSpec:
    """``spec`` with every package asked of conda or of pip, said in ``ledger``.

    ``prefer`` moves to that side what both have; without it lines stay where they are as far as they can.
    ``names`` are those that the channels have, ``on_index`` tells whether pip's index has a wheel for a
    requirement: without these two nothing is said to be missing, and nothing moves for that.
    """
    lines = _Lines(spec, names, on_index, ledger)
    lines.read_conda_lines_in_pip()
    if not spec.system_python:
        lines.find_missing()
        if prefer == "conda":
            lines.to_conda()
        elif prefer == "pip":
            lines.to_pip()
        lines.join_duplicates()
    return replace(
        spec,
        conda=tuple(lines.conda),
        pip=tuple(lines.pip),
        asked=None if lines.asked is None else frozenset(lines.asked),
    )


@dataclass(frozen=True, slots=True)
class _MatchSpec:
    """The parts of a match spec; ``version`` and ``build`` are constraints, empty for any."""

    name: str
    version: str
    build: str


class _Lines:
    """The requirements while they are sorted."""

    def __init__(
        self,
        spec: EnvSpec,
        names: Collection[str] | None,
        on_index: Callable[[str], bool] | None,
        ledger: Ledger,
    ) -> None:
        self.conda = list(spec.conda)
        self.pip = list(spec.pip)
        self.asked = None if spec.asked is None else set(spec.asked)
        self._complete = spec.complete or spec.exported_from is not None
        self._names = names
        self._by_spelling = {canonicalize_name(name): name for name in names or ()}
        self._on_index = on_index
        self._ledger = ledger

    def read_conda_lines_in_pip(self) -> None:
        """``numpy=1.21=py39_0`` in a pip section: ``numpy==1.21``, or conda's where only conda has it."""
        lines, self.pip = self.pip, []
        for line in lines:
            found = conda_in_pip(line.text)
            if found is None:
                self.pip.append(line)
                continue
            name, version, build = found
            lost = f" without the build {build}" if build else ""
            project = self._project_of(name)
            if project is None:
                text = f"{name.lower()} =={version}"
                self._say(Action.TRANSLATED, line, f"it is no PyPI project: asked of conda, {text}{lost}")
                self._move("pip", name, "conda", text)
                self.conda.append(replace(line, text=text))
                continue
            text = f"{project}=={version}"
            self._say(Action.TRANSLATED, line, f"a match spec among pip's lines: {text}{lost}")
            self._move("pip", name, "pip", text)
            self.pip.append(replace(line, text=text))

    def _project_of(self, name: str) -> str | None:
        """How pip calls what is written as conda's ``name``; ``None`` for what only conda has."""
        if name.lower() in ("python", "cudatoolkit"):
            return None
        known = projects(name.lower())
        if known:
            return known[0]
        only_conda = name.startswith("_") or (self._names is not None and name.lower() in self._names)
        return None if only_conda and not conda_names(name) else name

    def find_missing(self) -> None:
        """Names that the channels lack: another spelling or name there, python's own modules, PyPI."""
        if self._names is None:
            return
        lines, self.conda = self.conda, []
        for line in lines:
            spec = _parsed(line.text)
            if spec is None or spec.name in self._names or spec.name.startswith("__") or "::" in line.text:
                self.conda.append(line)
            elif other := self._other_name(spec):
                text = " ".join(
                    part for part in (other, spec.version or ("*" if spec.build else ""), spec.build) if part
                )
                self._say(
                    Action.REPLACED, line, f"no channel has {spec.name}, which is called {other}: {text}"
                )
                self._move("conda", spec.name, "conda", text)
                self.conda.append(replace(line, text=text))
            elif spec.name in sys.stdlib_module_names:
                self._drop(line, "conda", spec.name, "it is a part of python, not a package")
            elif (wheel := self._for_pip(spec)) and self._indexed(wheel):
                reason = f"no channel has {spec.name}, but pip's index has: asked of pip, {wheel}"
                self._say(Action.REPLACED, line, reason)
                self._move("conda", spec.name, "pip", wheel)
                self.pip.append(replace(line, text=wheel))
            else:
                self.conda.append(line)
        lines, self.pip = self.pip, []
        for line in lines:
            name = project_of(line)
            if (
                name in sys.stdlib_module_names
                and self._on_index is not None
                and not self._indexed(line.text)
            ):
                self._drop(line, "pip", name, "it is a part of python, not a package")
            else:
                self.pip.append(line)

    def _other_name(self, spec: _MatchSpec) -> str | None:
        """Another spelling, or the package of the PyPI project of that name; not for what came from conda."""
        spelled = self._by_spelling.get(canonicalize_name(spec.name))
        if spelled or self._complete or spec.build:
            return spelled
        return next((other for other in conda_names(spec.name) if other in (self._names or ())), None)

    def _for_pip(self, spec: _MatchSpec) -> str | None:
        """What to ask of pip for ``spec``, which no channel has.

        ``None`` for what came from conda for certain, and for what looks like a slip: the index has many
        names, and some wait for slips.
        """
        if self._complete or spec.build or any(_one_apart(spec.name, name) for name in self._names or ()):
            return None
        specifier = to_pip(spec.version)
        known = projects(spec.name)
        if specifier is None or len(known) > 1:
            return None
        return f"{known[0] if known else spec.name}{specifier}"

    def _indexed(self, text: str) -> bool:
        return self._on_index is not None and self._on_index(text)

    def to_conda(self) -> None:
        """Make pip's lines conda's where the channels have the package."""
        lines, self.pip = self.pip, []
        for line in lines:
            requirement = Pep508(line.text)
            project = canonicalize_name(requirement.name)
            if requirement.marker and (applies := on_linux(requirement.marker)) is not None:
                if not applies:
                    self._drop(line, "pip", project, f"it is for other systems: {requirement.marker}")
                    continue
                requirement.marker = None
            name = self._conda_name(project)
            version = to_conda(requirement.specifier)
            if name is None:
                reason = "no channel has it"
            elif requirement.extras:
                reason = "conda packages have no extras"
            elif requirement.marker:
                reason = "whether it applies depends on the python that is chosen"
            elif version is None or requirement.url:
                reason = "conda has no such version"
            else:
                text = f"{name} {version}".rstrip()
                self._say(Action.TRANSLATED, line, f"asked of conda: {text}")
                self._move("pip", project, "conda", text)
                self.conda.append(replace(line, text=text))
                continue
            self._say(Action.KEPT, line, f"asked of pip: {reason}")
            self.pip.append(line)

    def _conda_name(self, project: str) -> str | None:
        """The package of the channels that is the PyPI project; known ones first, then one of its name."""
        there = self._names if self._names is not None else ()
        known = next((name for name in conda_names(project) if name in there), None)
        if known or conda_names(project):
            return known
        return self._by_spelling.get(canonicalize_name(project))

    def to_pip(self) -> None:
        """Make conda's lines pip's where they are known to be one PyPI project; python stays conda's."""
        lines, self.conda = self.conda, []
        asks_python = False
        already = {project_of(line): line for line in self.pip}
        for line in lines:
            spec = _parsed(line.text)
            known = projects(spec.name) if spec else ()
            specifier = to_pip(spec.version) if spec else None
            asks_python = asks_python or (spec is not None and spec.name == "python")
            if (
                spec is None
                or specifier is None
                or len(known) != 1
                or spec.name in _STAYS_CONDA
                or cuda_signs.in_match_spec(line.text) is not None
            ):
                self.conda.append(line)
                continue
            if known[0] in already:
                self._say(Action.DROPPED, line, f"pip gives it: {_shown(already[known[0]])}")
                self._move("conda", spec.name, "pip", known[0])
                continue
            text = f"{known[0]}{specifier}"
            lost = f", without the build {spec.build}" if spec.build else ""
            self._say(Action.TRANSLATED, line, f"asked of pip: {text}{lost}")
            self._move("conda", spec.name, "pip", text)
            already[known[0]] = replace(line, text=text)
            self.pip.append(already[known[0]])
        if self.pip and not asks_python:
            self.conda.insert(0, Requirement("python"))

    def join_duplicates(self) -> None:
        """A package that is asked of both: one line of the two stays.

        pip runs after conda, so where the two disagree its version is what people have.
        """
        asked = {project: line for line in self.conda for project in _projects(line)}
        lines, self.pip = self.pip, []
        for line in lines:
            requirement = Pep508(line.text)
            project = canonicalize_name(requirement.name)
            first = asked.get(project)
            spec = _parsed(first.text) if first else None
            if first is None or spec is None or requirement.extras or requirement.marker or requirement.url:
                self.pip.append(line)
                continue
            version = to_conda(requirement.specifier)
            if version is None:
                self.conda.remove(first)
                self._drop(
                    first, "conda", spec.name, f"pip gives it: {line.text}, a version that conda has not"
                )
                self.pip.append(line)
                continue
            self._say(Action.DROPPED, line, f"conda gives it: {_shown(first)}")
            self._move("pip", project, "conda", spec.name)
            joined = _joined(spec, version)
            if joined is not None:
                text = "".join((*first.text.rpartition("::")[:2], joined))
                self._say(Action.REPLACED, first, f"pip's {line.text} ({line.where}) decides: {text}")
                index = self.conda.index(first)
                self.conda[index] = asked[project] = replace(first, text=text)

    def _say(self, action: Action, line: Requirement, reason: str) -> None:
        self._ledger.add(action, line.text, reason, where=line.where)

    def _drop(self, line: Requirement, manager: Prefer, name: str, reason: str) -> None:
        self._say(Action.DROPPED, line, reason)
        if self.asked is not None:
            self.asked.discard(f"{manager}:{name}")

    def _move(self, was: Prefer, name: str, now: Prefer, text: str) -> None:
        """Carry over that somebody asked for it."""
        token = f"{was}:{canonicalize_name(name) if was == 'pip' else name}"
        if self.asked is None or token not in self.asked:
            return
        self.asked.discard(token)
        new = canonicalize_name(Pep508(text).name) if now == "pip" else text.split(" ", maxsplit=1)[0]
        self.asked.add(f"{now}:{new}")


def _parsed(text: str) -> _MatchSpec | None:
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    try:
        spec = MatchSpec(text)
    except InvalidMatchSpecError:
        return None
    return _MatchSpec(spec.name.normalized, str(spec.version or ""), str(spec.build or ""))


def _projects(line: Requirement) -> tuple[str, ...]:
    spec = _parsed(line.text)
    return projects(spec.name) if spec else ()


def _shown(line: Requirement) -> str:
    return f"{line.text} ({line.where})" if line.where else line.text


def _joined(spec: _MatchSpec, version: str) -> str | None:
    """The match spec that asks for what both do, or for pip's ``version``; ``None`` where conda's will do."""
    from rattler import Version, VersionSpec

    if not version:
        return None
    if not spec.version or "|" in spec.version:
        return f"{spec.name} {version}"
    if version.startswith("==") and "," not in version:
        if spec.version.startswith("==") and Version(spec.version[2:]) == Version(version[2:]):
            return None  # and its build stays
        return f"{spec.name} {version}"
    if spec.version.startswith("==") and "," not in spec.version:
        fits = VersionSpec(version).matches(Version(spec.version[2:]))
        return None if fits else f"{spec.name} {version}"
    clauses = dict.fromkeys((*spec.version.split(","), *version.split(",")))
    return None if set(clauses) == set(spec.version.split(",")) else f"{spec.name} {','.join(clauses)}"


def _one_apart(one: str, other: str) -> bool:
    """Whether two names differ by a letter more, less or other, or by two that changed places."""
    if abs(len(one) - len(other)) > 1 or one == other or min(len(one), len(other)) < 4:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    a, b = one[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
