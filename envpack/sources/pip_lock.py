"""Locks for pip alone, of whatever tool: packages at their versions, and the python they are for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from envpack.errors import Location, Problem
from envpack.ledger import Action, Ledger
from envpack.sources.listing import Listing
from envpack.sources.pip_freeze import SYSTEM, check_python
from envpack.sources.urls import index_problem, without_secrets
from envpack.spec import EnvSpec, OwnIndex, PipOptions, Requirement

_CARET = re.compile(r"\^\s*(?P<major>\d+)(?P<rest>(?:\.\d+)*)\Z")
_TILDE = re.compile(r"~\s*(?P<major>\d+)(?:\.(?P<minor>\d+))?(?P<rest>(?:\.\d+)*)\Z")


@dataclass(slots=True)
class PipLock:
    """What one lock, which is in ``folder``, lists.

    ``indexes`` are those that it names for all packages, ``own_indexes`` those for single ones.
    """

    shown: str
    ledger: Ledger
    folder: Path | None = None
    listing: Listing = field(init=False)
    indexes: list[str] = field(default_factory=list)
    own_indexes: list[OwnIndex] = field(default_factory=list)
    _told: dict[str, Problem | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What locks have in common with lists."""
        self.listing = Listing(self.shown, self.ledger, "lock", folder=self.folder)

    def package(self, name: str, version: str, where: Location, marker: str = "", index: str = "") -> None:
        """A package for the systems that ``marker`` (PEP 508) is true for, of the ``index`` that is named."""
        text = f"{name}=={version}" + (f" ; {marker}" if marker else "")
        if self._taken(text, where, marker):
            self.listing.pypi(text, where, name, version, marker)
            if self._usable(index, where):
                self.own_indexes.append(OwnIndex(canonicalize_name(name), index, marker))

    def path(self, address: str, where: Location, name: str | None = None, marker: str = "") -> None:
        """A package that is a folder or a file of this machine, ``name`` if known; ``marker`` as above."""
        if self._taken(address, where, marker):
            self.listing.path(address, where, name, marker)

    def _taken(self, text: str, where: Location, marker: str) -> bool:
        try:
            Marker(marker or "os_name != ''")
        except (InvalidMarker, RecursionError):
            self.listing.needs_you(text, where, f"{marker[:100]!r} is no marker")
            return False
        if re.search(r"\b(extras?|dependency_groups)\b", marker):
            reason = "it is of an extra or a group, and only what is always needed is taken"
            self.listing.dropped(text, where, reason)
            return False
        return True

    def index(self, url: str, where: Location) -> None:
        """An index that every package may be of."""
        if self._usable(url, where) and url not in self.indexes:
            self.indexes.append(url)

    def _usable(self, url: str, where: Location) -> bool:
        """Whether ``url`` is of an index that can be asked; said once."""
        if not url.startswith(("http://", "https://")):
            return False
        if url not in self._told:
            self._told[url] = index_problem(url, where)
            if problem := self._told[url]:
                self.listing.problems.append(problem)
            else:
                label = f"index {without_secrets(url)}"
                self.ledger.add(Action.KEPT, label, "packages of the lock are from it", where=where)
        return self._told[url] is None

    def spec(
        self,
        *,
        name: str | None,
        folder: str,
        path: Path | None,
        python: str | None,
        requires: str | None,
        where: Location | None = None,
        own: str | None = None,
    ) -> EnvSpec:
        """The environment. ``python`` is the user's, ``requires`` the lock's range, written at ``where``.

        The other arguments are as for :meth:`Listing.spec`. Raises as that does, and :class:`UsageError`.
        """
        check_python(python)
        found = self.listing.spec(name=name, own=own, folder=folder, path=path)
        found = replace(
            found,
            pip_options=PipOptions(extra_index_urls=tuple(self.indexes), own_indexes=tuple(self.own_indexes)),
        )
        if python == SYSTEM:
            return replace(found, channels=(), conda=(), system_python=True)
        return replace(found, conda=(self._python(python, requires, where),))

    def _python(self, python: str | None, requires: str | None, where: Location | None) -> Requirement:
        label = f"python {requires}"
        if python is not None:
            if requires:
                self.ledger.add(Action.REPLACED, label, f"--python {python} is asked for", where=where)
            return Requirement(f"python ={python}")
        if not requires or requires == "*":
            return Requirement("python")
        text = conda_range(requires)
        if text is None:
            reason = f"{requires!r} is no range of versions that conda knows"
            remedy = "Give the version with --python."
            self.ledger.add(Action.NEEDS_YOU, label, reason, where=where, remedy=remedy)
            return Requirement("python")
        self.ledger.add(Action.TRANSLATED, label, f"conda is asked for python {text}", where=where)
        return Requirement(f"python {text}".strip(), where)


def conda_range(requires: str) -> str | None:
    """A range of python versions as conda has it, from PEP 440's or Poetry's words; ``None`` for none."""
    clauses = []
    for clause in filter(None, (part.strip() for part in requires.split(","))):
        if caret := _CARET.match(clause):
            clauses += [f">={caret['major']}{caret['rest']}", f"<{int(caret['major']) + 1}"]
        elif (tilde := _TILDE.match(clause)) and tilde["minor"]:
            clauses += [f">={clause[1:].strip()}", f"<{tilde['major']}.{int(tilde['minor']) + 1}"]
        elif re.match(r"\d+(\.\d+)*\Z", clause):
            clauses.append(f"={clause}")
        else:
            try:
                specifiers = SpecifierSet(clause)
            except InvalidSpecifier:
                return None
            clauses += [re.sub(r"\A===?(.*\*)\Z", r"\1", str(s)).replace("===", "==") for s in specifiers]
    return ",".join(clauses) or None


def table(value: object) -> Mapping[str, Any]:
    """``value`` if it is a table; a program wrote the lock, and another shape is as good as none."""
    return value if isinstance(value, dict) else {}


def tables(value: object) -> list[Mapping[str, Any]]:
    """The tables of an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """``value`` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def places(source: str, shown: str, header: str, count: int) -> list[Location]:
    """Where each of the ``count`` tables of the TOML array ``header`` is written."""
    pattern = re.compile(rf"\s*\[\[\s*{header}\s*\]\]")
    lines = [n for n, line in enumerate(source.split("\n"), 1) if pattern.match(line)]
    return [Location(shown, line) for line in lines] if len(lines) == count else [Location(shown)] * count
