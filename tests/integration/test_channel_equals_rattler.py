"""Every package of the test channels, and others made for it, linked by us and by rattler.

Several builds of one package go into environments one after the other. What differs, and why, is said in
``test_linking_equals_rattler``; here too:

- ``.pyc`` files that are shipped are compared without their header, which is an unchecked hash unless the
  source was changed by linking (these are compiled again where the environment's python runs).
"""

from __future__ import annotations

import asyncio
import json
import random
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from envpack.content import conda_package
from envpack.content.conda_archive import CondaArchive
from envpack.content.python_layout import PythonLayout
from envpack.engines.native.order import link_order
from envpack.lockfile import LockedPackage
from tests.conftest import Served
from tests.integration.test_linking_equals_rattler import Found, in_entries, in_folder
from tests.standins.conda_package import PLACEHOLDER
from tests.unit.content.archives import conda, hard_link, info, member, path_info, symlink

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


class Generated:
    """Packages at random: every kind of path there is, in both formats, with names that meet.

    A name is never a file in one package and a folder in another: what becomes of that, rattler leaves open;
    and it fails where ``paths.json`` lists a folder, so none does.
    """

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self._chance, self._folder = chance, folder

    def archives(self, count: int) -> list[CondaArchive]:
        paths, members = [path_info("bin/python3.11", b"E")], [member("bin/python3.11", b"E", mode=0o755)]
        made = [self._write("python", paths, members, [], {"version": "3.11.7"})]
        for number in range(count):
            name = f"p{number}"
            needs = self._chance.sample([f"p{n}" for n in range(number)], min(number, 2))
            index: dict[str, object] = {"depends": ["python", *needs]}
            self._noarch = self._chance.random() < 0.4
            if self._noarch:
                index |= {"noarch": "python", "subdir": "noarch"}
            made.append(self._write(name, *self._content(name), index))
        return made

    def _write(
        self,
        name: str,
        paths: list[dict[str, Any]],
        members: list[tuple[tarfile.TarInfo, bytes]],
        entry_points: list[str],
        index: dict[str, Any],
    ) -> CondaArchive:
        index = {"name": name, "version": "1.0", "build_number": 0, "depends": [], **index}
        version, suffix = index["version"], self._chance.choice([".conda", ".tar.bz2"])
        described = info(paths, index=index, entry_points=entry_points)
        if self._chance.random() < 0.3 and "info/link.json" not in described:  # as before 2016
            described |= _old(paths)
            if all(path["path_type"] == "hardlink" for path in paths):
                del described["info/paths.json"]
        path = self._folder / f"{name}-{version}-0{suffix}"
        return CondaArchive.open(conda(path, members, described))

    def _content(
        self, package: str
    ) -> tuple[list[dict[str, Any]], list[tuple[tarfile.TarInfo, bytes]], list[str]]:
        chance = self._chance
        paths: list[dict[str, Any]] = []
        members: list[tuple[tarfile.TarInfo, bytes]] = []
        files: list[tuple[str, bytes, dict[str, Any]]] = []
        for name in chance.sample(NAMES, 25):
            folder = chance.choice(FOLDERS + (NOARCH_FOLDERS if self._noarch else []))
            path = f"{folder}/{name}"
            kind = chance.randrange(9)
            if kind == 0:
                target = chance.choice(["nowhere", "../share/a b", f"{PLACEHOLDER}/bin/x", name])
                paths.append(path_info(path, path_type="softlink"))
                members.append(symlink(path, target))
            elif kind == 1 and files:
                first, data, extra = chance.choice(files)
                extra = chance.choice([extra, extra, {}])
                paths.append(path_info(path, data, **extra))
                members.append(hard_link(path, first))
            else:
                data, extra = self._data(kind)
                if chance.random() < 0.1:
                    extra = {**extra, "no_link": True}
                paths.append(path_info(path, data, **extra))
                members.append(member(path, data, mode=chance.choice(MODES)))
                files.append((path, data, extra))
        script = f"bin/.{package}-post-link.sh"
        paths.append(path_info(script, b"#!/bin/sh\nexit 1\n"))
        members.append(member(script, b"#!/bin/sh\nexit 1\n", mode=0o755))
        activate = f"etc/conda/activate.d/{package}.sh"
        data = f"export X={PLACEHOLDER}\n".encode()
        paths.append(path_info(activate, data, prefix_placeholder=PLACEHOLDER, file_mode="text"))
        members.append(member(activate, data))
        return paths, members, [f"{package}-run = {package}.cli:main"] if self._noarch else []

    def _data(self, kind: int) -> tuple[bytes, dict[str, Any]]:
        chance = self._chance
        placeholder = PLACEHOLDER if chance.random() < 0.7 else "/opt/short_placeholder_" + "x" * 200
        parts = [
            placeholder.encode(),
            b"/lib",
            b"\n",
            b"#!",
            b"a b",
            "\N{EURO SIGN}".encode(),
            b"/bin/python",
        ]
        extra = {"prefix_placeholder": placeholder}
        if kind in (2, 3):
            start = chance.choice([b"", b"#!" + placeholder.encode() + b"/bin/python\n"])
            return start + b"".join(chance.choices(parts, k=chance.randrange(9))), {
                **extra,
                "file_mode": "text",
            }
        if kind in (4, 5):
            parts += [b"\0", b"\0\0", b"\xff\xfe"]
            return b"".join(chance.choices(parts, k=chance.randrange(12))), {**extra, "file_mode": "binary"}
        return chance.randbytes(chance.choice([0, 1, 100, 70_000])), {}


NAMES = [*(f"n{i}" for i in range(40)), "a b", "\N{EURO SIGN}.txt", "Case", "case", "-dash", "x" * 200,
         "a'\"b", "$HOME", "e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"]  # fmt: skip
FOLDERS = ["share", "Share", "lib", "bin", "share/deep/er"]
NOARCH_FOLDERS = ["site-packages/pkg", "python-scripts", "site-packages"]
MODES = [0o644, 0o755, 0o600, 0o775, 0o4755, 0o444]


def _old(paths: list[dict[str, Any]]) -> dict[str, bytes]:
    """``files``, ``has_prefix`` and ``no_link``."""
    prefixed = [p for p in paths if "prefix_placeholder" in p]
    lines = [f'"{p["prefix_placeholder"]}" "{p["file_mode"]}" "{p["_path"]}"\n' for p in prefixed]
    found = {"info/files": "".join(f"{p['_path']}\n" for p in paths).encode()}
    if lines:
        found["info/has_prefix"] = "".join(lines).encode()
    if kept := [p["_path"] for p in paths if p.get("no_link")]:
        found["info/no_link"] = "".join(f"{path}\n" for path in kept).encode()
    return found


@pytest.mark.parametrize("prefix", [PREFIX, "/opt/" + "long/" * 30 + "env"], ids=["short", "long"])
@pytest.mark.parametrize("seed", range(8))
def test_packages_at_random(tmp_path: Path, seed: int, prefix: str) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    archives = Generated(random.Random(seed), folder).archives(6)
    assert compare(archives, tmp_path, prefix)  # some path is in two packages
