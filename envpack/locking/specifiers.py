"""Version constraints from pip's language to conda's and back: PEP 440, and CEP 29 for match specs."""

from __future__ import annotations

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

_CONDA_IN_PIP = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)\s*=\s*(?P<version>[0-9][^=\s,;|<>!~]*)"
    r"(?:\s*=\s*(?P<build>[^=\s,;]+))?\Z"
)
_CLAUSE = re.compile(r"(?P<operator>==|!=|>=|<=|>|<|~=|=)?\s*(?P<version>[^=<>!~|,\s]+)\Z")


def to_conda(specifier: SpecifierSet) -> str | None:
    """``specifier`` in conda's words; ``None`` for a local version, which conda has not."""
    clauses = []
    for one in sorted(specifier, key=str):
        version = one.version
        if "+" in version:
            return None
        if one.operator == "~=":
            clauses.append(f">={version},{version.rpartition('.')[0]}.*")
        elif one.operator in ("==", "==="):
            clauses.append(version if version.endswith(".*") else f"=={version}")
        else:
            clauses.append(f"{one.operator}{version}")
    return ",".join(clauses)


def to_pip(constraint: str) -> SpecifierSet | None:
    """The version part of a match spec in pip's words; ``None`` where pip has none (``|``, ``1.1.1d``)."""
    if constraint in ("", "*"):
        return SpecifierSet()
    clauses = []
    for clause in constraint.split(","):
        match = _CLAUSE.match(clause.strip())
        if match is None:
            return None
        operator, version = match["operator"], match["version"]
        if version == "*":
            continue
        bare = version.rstrip("*").rstrip(".")
        fuzzy = bare != version or operator == "="
        try:
            Version(bare)
        except InvalidVersion:
            return None
        if fuzzy and operator in (None, "=", "=="):
            clauses.append(f"=={bare}.*")
        elif fuzzy and operator == "!=":
            clauses.append(f"!={bare}.*")
        else:
            clauses.append(f"{operator or '=='}{bare}")
    try:
        return SpecifierSet(",".join(clauses))
    except InvalidSpecifier:
        return None


def conda_in_pip(text: str) -> tuple[str, str, str | None] | None:
    """Name, version and build of a match spec among pip's lines (``numpy=1.21=py39_0``), else ``None``."""
    match = _CONDA_IN_PIP.match(text.strip())
    return (match["name"], match["version"], match["build"]) if match else None
