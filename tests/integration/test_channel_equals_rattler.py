"""Every package of the test channels, and others made for it, linked by us and by rattler.

Several builds of one package go into environments one after the other. What differs, and why, is said in
``test_linking_equals_rattler``; here too:

- ``.pyc`` files that are shipped are compared without their header, which is an unchecked hash unless the
  source was changed by linking (these are compiled again where the environment's python runs).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from envpack.content import conda_package
from envpack.content.conda_archive import CondaArchive
from envpack.content.python_layout import PythonLayout
from envpack.engines.native.order import link_order
from envpack.lockfile import LockedPackage
from tests.conftest import Served
from tests.integration.test_linking_equals_rattler import Found, in_entries, in_folder

PREFIX = "/opt/env"


def rounds(archives: Iterable[Path]) -> Iterator[list[CondaArchive]]:
    """Environments with one package of a name each, until every archive was in one; python in all of them."""
    by_name: dict[str, list[CondaArchive]] = {}
    for path in sorted(archives):
        archive = CondaArchive.open(path)
        by_name.setdefault(str(archive.index["name"]), []).append(archive)
    for number in range(max(map(len, by_name.values()))):
        yield [
            archives[min(number, len(archives) - 1)]
            for name, archives in by_name.items()
            if number < len(archives) or name == "python"
        ]


def locked(archive: CondaArchive) -> LockedPackage:
    index = archive.index
    return LockedPackage(
        name=str(index["name"]),
        version=str(index["version"]),
        manager="conda",
        platform="linux-64",
        url=archive.path.as_uri(),
        sha256="0" * 64,
        dependencies={str(spec).split()[0]: "" for spec in index["depends"]},
    )


def install(archives: Sequence[CondaArchive], target: Path, work: Path, prefix: str = PREFIX) -> None:
    """With rattler, without asking the solver; link scripts are not run."""
    import rattler

    records = []
    for archive in archives:
        path = work / f"{archive.path.name}.json"
        path.write_text(json.dumps(dict(archive.index)))
        record = rattler.PackageRecord.from_index_json(path)
        url = archive.path.as_uri()
        records.append(rattler.RepoDataRecord(record, archive.path.name, url, url.rsplit("/", 2)[0]))
    asyncio.run(
        rattler.install(
            records,
            target,
            cache_dir=work / "cache",
            alternative_target_prefix=prefix,
            show_progress=False,
            execute_link_scripts=False,
        )
    )


def linked(archives: Sequence[CondaArchive], prefix: str = PREFIX) -> tuple[dict[str, Found], set[str]]:
    """All of them as the native engine lays them over each other, and the paths that two of them have."""
    by_package = {locked(archive): archive for archive in archives}
    python = next(a for a in archives if a.index["name"] == "python")
    layout = PythonLayout.from_index(python.index)
    found: dict[str, Found] = {}
    twice: set[str] = set()
    for package in link_order(by_package):
        made = conda_package.open(by_package[package].path, package).entries(prefix, layout)
        mine = in_entries(made, prefix)
        twice |= mine.keys() & found.keys()
        found |= mine
    return found, twice


def plain(found: dict[str, Found]) -> dict[str, Found]:
    """Without records and marks, and bytecode without its header."""
    return {
        path: Found(e.kind, e.mode, e.content[16:]) if path.endswith(".pyc") else e
        for path, e in found.items()
        if not path.startswith(("conda-meta/", "__clobbers__/")) and path != "CACHEDIR.TAG"
    }


def compare(archives: Sequence[CondaArchive], folder: Path, prefix: str = PREFIX) -> set[str]:
    """Asserts that both are the same but for paths that several packages have, which are given.

    Of these rattler keeps the file that was there first, conda the last (which is said in the ledger).
    """
    work = folder / "work"
    work.mkdir(parents=True)
    install(archives, folder / "env", work, prefix)
    found, twice = linked(archives, prefix)
    ours, theirs = plain(found), plain(in_folder(folder / "env"))
    assert ours.keys() == theirs.keys()
    different = {path for path in ours if ours[path] != theirs[path]}
    assert different <= twice
    stale = {path for path in found if path.endswith(".pyc") and found[path].content[4:8] != b"\1\0\0\0"}
    assert all(prefix.encode() in found[_source(path)].content for path in stale)
    return twice


def _source(pyc: str) -> str:
    folder, _, name = pyc.rpartition("/__pycache__/")
    return f"{folder}/{name.partition('.cpython-')[0]}.py"


def archives_of(channel: Path) -> list[Path]:
    folders = (channel / subdir for subdir in ("linux-64", "noarch"))
    return [p for f in folders for p in f.iterdir() if p.name.endswith((".conda", ".tar.bz2"))]


def test_every_package_of_the_channel(channel: Served, tmp_path: Path) -> None:
    archives = archives_of(channel.path)
    assert len(archives) > 50
    clobbered = set()
    for number, chosen in enumerate(rounds(archives)):
        clobbered |= compare(chosen, tmp_path / str(number))
    assert clobbered == {"share/clobber/data.txt"}


@pytest.mark.engines  # not for an engine: the data stack takes its time
def test_every_package_of_the_data_stack(data_channel: Served, tmp_path: Path) -> None:
    for number, chosen in enumerate(rounds(archives_of(data_channel.path))):
        compare(chosen, tmp_path / str(number))
