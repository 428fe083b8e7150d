"""This machine's CPython as the conda package ``python``: the interpreter behind the running one.

Works with an interpreter of its own prefix (pyenv, uv, a source build) and with Debian's in ``/usr``.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path

from tests.standins import bytecode, libraries
from tests.standins.conda_package import PLACEHOLDER, File, Package
from tests.standins.store import StandInError

VERSION = ".".join(str(part) for part in sys.version_info[:3])
SHORT = ".".join(str(part) for part in sys.version_info[:2])
ABI = f"cp{sys.version_info[0]}{sys.version_info[1]}"
KNOWN = ("3.10", "3.11", "3.12", "3.13")  # the pinned wheels exist for these
DATE = "2023-12-04T00:00:00Z"

# Not needed to run anything, and the bulk of it.
DROPPED = (
    "*/test/*", "*/tests/*", "*/idle_test/*", "*/site-packages/*", "*/dist-packages/*", "*/__pycache__/*",
    "*.a", "*.o", "*/_tkinter*", "*/lib-dynload/nis.*", "*/lib-dynload/_test*", "*/lib-dynload/xx*",
    "*/idlelib/*", "*/tkinter/*", "*/turtledemo/*", "*/ensurepip/*", "*/sitecustomize.py",
    "*/EXTERNALLY-MANAGED", "*/config-*/libpython*",
)  # fmt: skip
# Where the stand-in's python has its prefix; of Debian's, whose "/usr" is also everyone else's, these only.
BUILD_RECORDS = ("lib/*/_sysconfigdata*.py", "lib/*/config-*/Makefile", "bin/*")

# Debian's site module looks for dist-packages: say where packages are in a conda environment.
SITE = b"""import site
import sys

site.addsitedir(f"{sys.prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
"""


def package(subdir: str) -> tuple[Package, dict[str, libraries.Library]]:
    """The package ``python`` and the libraries it depends on."""
    root = Path(sys.base_prefix)
    stdlib = root / "lib" / f"python{SHORT}"
    if SHORT not in KNOWN or not (stdlib / "os.py").exists():
        raise StandInError(
            f"the channel stand-in needs a CPython {KNOWN[0]} to {KNOWN[-1]} with its library in PREFIX/lib; "
            f"this one is {SHORT} in {root}"
        )
    paths = _paths(root, stdlib)
    elf = {name: path for name, path in paths.items() if not path.is_symlink() and libraries.is_elf(path)}
    files = {name: File.on_disk(path) for name, path in paths.items() if name not in elf}
    files |= {name: File(libraries.relocatable(path, _rpath(name)), 0o755) for name, path in elf.items()}
    files = {name: _with_placeholder(name, file, root) for name, file in files.items()}
    files["bin/python"] = files["bin/python3"] = File(link=f"python{SHORT}")
    site_packages = f"lib/python{SHORT}/site-packages"
    files[f"{site_packages}/README.txt"] = File(b"This folder is for third-party packages.\n")
    if root == Path("/usr"):
        files[f"lib/python{SHORT}/sitecustomize.py"] = File(SITE)
    files |= bytecode.compiled(files, DATE)
    needed = libraries.collect(elf.values())
    made = Package(
        "python",
        VERSION,
        f"0_{ABI.replace('cp', 'cpython')}",
        subdir,
        files,
        sorted({*needed, "tzdata", "ca-certificates"}),
        [f"python_abi {SHORT}.* *_{ABI}"],
        date=DATE,
        license="PSF-2.0",
        extra={"python_site_packages_path": site_packages},
    )
    return made, needed


def abi_package() -> Package:
    """``python_abi``, by which compiled packages are bound to one python."""
    return Package(
        "python_abi", SHORT, f"8_{ABI}", "noarch", {}, (), [f"python {SHORT}.*"],
        noarch="generic", date="2022-01-01T00:00:00Z",
    )  # fmt: skip


def _paths(root: Path, stdlib: Path) -> dict[str, Path]:
    """The files to pack: path in the package to path on this machine."""
    found = [path for path in stdlib.rglob("*") if path.is_symlink() or path.is_file()]
    found += sorted((root / "lib").glob(f"libpython{SHORT}.so*"))
    found += [root / "bin" / name for name in (f"python{SHORT}", f"pydoc{SHORT}", f"python{SHORT}-config")]
    paths = {path.relative_to(root).as_posix(): path for path in found if path.exists()}
    return {
        name: path.resolve() if path.is_symlink() and path.readlink().is_absolute() else path
        for name, path in paths.items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in DROPPED)
    }


def _rpath(name: str) -> str:
    if name.startswith("bin/"):
        return "$ORIGIN/../lib"
    return "$ORIGIN" if name.count("/") == 1 else "$ORIGIN/../.."


def _with_placeholder(name: str, file: File, root: Path) -> File:
    """The text file with the build's prefix made the placeholder, as conda-build does."""
    if file.link is not None or b"\0" in file.data:
        return file
    shared = root in (Path("/usr"), Path("/usr/local"))
    if shared and not any(fnmatch.fnmatch(name, pattern) for pattern in BUILD_RECORDS):
        return file
    own = re.compile(rb"(?<![\w./-])" + re.escape(bytes(root)) + rb"(?![\w.-])")
    data, count = own.subn(PLACEHOLDER.encode(), file.data)
    return File(data, file.mode, prefix="text") if count else file
