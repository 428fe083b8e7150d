"""A conda channel of real packages, the stand-in for conda-forge: a CPython, its libraries, wheels from PyPI.

Its packages have conda-forge's names and shapes and run, but they are not conda-forge's: a lock solved
against it is good for tests only. Two builds with the same interpreter give the same bytes.

Profiles: ``mini`` (python, pip and a few small packages) and ``data`` (numpy, scipy, pandas, matplotlib,
IPython as well). Both hold the packages of :mod:`tests.standins.awkward`. Packages for linux-aarch64 can be
solved for, but hold nothing.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.standins import awkward, cpython, libraries, store, wheels
from tests.standins.conda_package import Package

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Profile = Literal["mini", "data"]
SUBDIRS = ("linux-64", "linux-aarch64", "noarch")
PARTS: dict[Profile, tuple[str, ...]] = {"mini": ("mini", "older"), "data": ("mini", "older", "data")}
CODE = (
    "awkward.py", "bytecode.py", "channel.py", "conda_package.py", "cpython.py", "elf.py", "libraries.py",
    "pins.toml", "wheels.py",
)  # fmt: skip


def channel(profile: Profile) -> Path:
    """The folder of the channel (``noarch/repodata.json``, …), built on first use."""
    if platform.machine() != "x86_64":
        raise store.StandInError(f"the channel stand-in is built on x86_64 only, not on {platform.machine()}")
    key = store.key(profile, sys.version, sys.base_prefix, files=CODE)
    return store.built(f"channel-{profile}", key, lambda folder: _build(profile, folder))


def _build(profile: Profile, folder: Path) -> None:
    pins = tomllib.loads((Path(__file__).parent / "pins.toml").read_text("utf-8"))
    records: list[dict[str, Any]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        downloads = [pool.submit(_wheels, part, pins[part]) for part in PARTS[profile]]
        records += _write(folder, _system())
        records += _write(folder, awkward.packages())
        jobs = [
            pool.submit(_write_wheel, folder, path, pins[part])
            for part, download in zip(PARTS[profile], downloads, strict=True)
            for path in sorted(download.result().glob("*.whl"))
        ]
        for job in jobs:
            records += job.result()
    for subdir in SUBDIRS:
        _index(folder / subdir, [record for record in records if record["subdir"] == subdir])


def _wheels(part: str, pins: dict[str, list[str]]) -> Path:
    versions = {name: version for name, (version, _) in pins.items()}
    key = store.key(versions, cpython.SHORT)
    return store.built(f"wheels-{part}", key, lambda folder: wheels.download(versions, folder))


def _system() -> Iterable[Package]:
    """Python and what it stands on."""
    python, needed = cpython.package("linux-64")
    for package in (python, *libraries.packages(needed, "linux-64")):
        yield package
        yield package.stub("linux-aarch64")
    yield cpython.abi_package()


def _write_wheel(folder: Path, path: Path, pins: dict[str, list[str]]) -> list[dict[str, Any]]:
    project = canonicalize_name(parse_wheel_filename(path.name)[0])
    packages = list(wheels.convert(path, "linux-64", pins[project][1]))
    stubs = [package.stub("linux-aarch64") for package in packages if package.subdir == "linux-64"]
    return _write(folder, [*packages, *stubs])


def _write(folder: Path, packages: Iterable[Package]) -> list[dict[str, Any]]:
    return [
        package.write(
            folder,
            legacy=package.name in awkward.LEGACY,
            paths_json=package.name not in awkward.WITHOUT_PATHS_JSON,
        )
        for package in packages
    ]


def _index(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write ``repodata.json`` and ``repodata.json.zst`` (CEP-36)."""
    import zstandard

    sections: dict[str, dict[str, Any]] = {"packages": {}, "packages.conda": {}}
    for record in sorted(records, key=lambda record: str(record["fn"])):
        name = record.pop("fn")
        sections["packages.conda" if name.endswith(".conda") else "packages"][name] = record
    repodata = {"info": {"subdir": folder.name}, **sections, "removed": [], "repodata_version": 1}
    data = json.dumps(repodata, indent=1, sort_keys=True).encode()
    folder.mkdir(exist_ok=True)
    (folder / "repodata.json").write_bytes(data)
    (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=9).compress(data))
