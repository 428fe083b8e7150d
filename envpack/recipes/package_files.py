"""The packages of a lock in the formats of those who install them in a recipe: conda and pip.

``conda-SUBDIR.lock``: an explicit specification (CEP-23), one URL a line, each with its sha256, which
conda 24.9 and newer, mamba 2 and micromamba check::

    @EXPLICIT
    https://conda.anaconda.org/conda-forge/noarch/six-1.16.0-pyh6c4a22f_0.tar.bz2#sha256:a85c38…

``requirements.txt``: pip's requirements format in hash-checking mode, and ``wheels.html``, a page with the
address of every file, which takes the place of an index: pip gets exactly what was locked, from where it was
when it was locked, and installs it as it installs anything from an index::

    --no-index
    --find-links wheels.html
    rich==13.7.0 --hash=sha256:6da14c…

A wheel that no index has stands in the folder ``wheels`` beside the page, which names it by that path.

User names, passwords and tokens of addresses are left out: recipes are made to be published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit, urlunsplit

from envpack.errors import LockError, Problem
from envpack.lockfile import LockedPackage
from envpack.platforms import Platform

REQUIREMENTS = "requirements.txt"
WHEELS = "wheels.html"
# The folder beside these files of the wheels that no index has.
CARRIED = "wheels"

# What a URL may consist of (RFC 3986), without what pip, conda or mamba would expand.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/@!+,;=%-]+\Z")
_TOKEN = re.compile(r"/t/[^/]+/")


def explicit(packages: Iterable[LockedPackage], platform: Platform) -> str:
    """The explicit specification of conda's ``packages``, which stand in the order of installation.

    Raises :class:`LockError` with every address that cannot be written.
    """
    urls = _addresses(packages)
    lines = [f"{url}#sha256:{package.sha256}" for package, url in urls]
    return "\n".join([f"# platform: {platform.subdir}", "@EXPLICIT", *lines]) + "\n"


def requirements(packages: Iterable[LockedPackage]) -> str:
    """The requirements file of pip's ``packages``."""
    lines = [f"{p.name}=={p.version} --hash=sha256:{p.sha256}" for p in packages]
    return "\n".join(["--no-index", f"--find-links {WHEELS}", *lines]) + "\n"


def wheels(packages: Iterable[LockedPackage]) -> str:
    """The page of links that :func:`requirements` names; raises what :func:`explicit` raises."""
    packages = list(packages)
    carried = [f"{CARRIED}/{quote(p.filename)}" for p in packages if p.path is not None]
    urls = [url for _, url in _addresses(p for p in packages if p.path is None)]
    links = [f'<a href="{url}">{url.rpartition("/")[2]}</a><br>' for url in (*urls, *carried)]
    return (
        "\n".join(["<!DOCTYPE html>", "<title>Where the files of requirements.txt are</title>", *links])
        + "\n"
    )


def address(package: LockedPackage) -> str:
    """Where ``package`` is; raises what :func:`explicit` raises."""
    return _addresses([package])[0][1]


def _addresses(packages: Iterable[LockedPackage]) -> list[tuple[LockedPackage, str]]:
    found, problems = [], []
    for package in packages:
        url = public_url(package.url)
        found.append((package, url))
        if not _URL.match(url):
            # Not repeated: it may hold a secret in a place where none is looked for.
            problems.append(Problem(f"the address of {package.name} {package.version} cannot be written"))
    if problems:
        raise LockError(
            "the lock holds addresses that no recipe can have",
            problems=problems,
            why="they are not http(s) URLs of letters, digits and the usual marks",
        )
    return found


def public_url(url: str) -> str:
    """``url`` without user, password, token, query and fragment; unchanged if it cannot be read as one."""
    if not url.isprintable():  # urlsplit drops line breaks without a word
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, _TOKEN.sub("/", parts.path), "", ""))
