"""``conda list --explicit``: the addresses of all packages, with their hashes or without.

    # platform: linux-64
    @EXPLICIT
    https://conda.anaconda.org/conda-forge/linux-64/xz-5.2.6-h166bdaf_0.tar.bz2#2161070d867d1b1204ea749c8eec4ef0
    # pip rich @ https://host/rich-13.9.4-py3-none-any.whl --hash=sha256:…

The last line is conda-lock's, for packages of pip in what it renders for conda. Format:
https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-environments.html#building-identical-conda-environments
"""

from __future__ import annotations

import re
from pathlib import Path

from envpack.errors import Location
from envpack.ledger import Ledger
from envpack.sources import foreign_lines
from envpack.sources.installed import SUBDIR
from envpack.sources.listing import Listing
from envpack.spec import EnvSpec

_MARK = re.compile(r"^@EXPLICIT\s*$", re.MULTILINE)
_URL = re.compile(r"(?:https?|file)://\S+\.(?:conda|tar\.bz2)(?:[?#]\S*)?\Z")
_PLATFORM = re.compile(r"#\s*platform:\s*(\S+)")
_PIP = re.compile(r"#\s*pip\s+(?P<name>\S+)\s*@\s*(?P<url>\S+)")


def is_explicit(text: str) -> bool:
    """Whether ``text`` is such a list: its mark, or nothing but addresses of conda packages."""
    if _MARK.search(text):
        return True
    lines = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith("#")]
    return bool(lines) and all(_URL.match(line) for line in lines)


def read(
    text: str, *, shown: str, path: Path | None, name: str | None, folder: str, ledger: Ledger
) -> EnvSpec:
    """The environment that ``text`` lists; the rest is as for :meth:`Listing.spec`, raises too."""
    problems = foreign_lines.problems(text, shown)
    listing = Listing(shown, ledger, "list of addresses", problems=problems)
    said = None
    subdirs: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        where = Location(shown, number)
        stripped = line.strip()
        if platform := _PLATFORM.match(stripped):
            said = platform[1] if SUBDIR.match(platform[1]) else None
        elif pip := _PIP.match(stripped):
            listing.pypi_url(pip["url"], where)
        elif not stripped or stripped.startswith("#") or _MARK.match(stripped):
            continue
        else:
            subdir = listing.conda_url(stripped, where)
            if subdir and subdir != "noarch":
                subdirs.append(subdir)
    # What the packages are for counts, a comment may have been left behind.
    found = max(sorted(set(subdirs)), key=subdirs.count) if subdirs else said
    return listing.spec(name=name, own=None, folder=folder, path=path, subdir=found)
