"""Our linking against rattler's own installer: path by path, content, mode and link target.

What differs, and why:

- ``conda-meta/*.json`` have no paths of the machine that linked, are sorted, and can be read by everyone
  (rattler's have mode 0600, for the one user of a folder); compared on their own.
- ``CACHEDIR.TAG`` and an empty ``conda-meta/history`` are rattler's; history is written for all packages
  together by the engine.
- ``.pyc`` files that fit their source have another header, for the one date in an image is that of no
  source; here are none, see the tests of ``content.bytecode``.
"""

from __future__ import annotations

import asyncio
import json
import random
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from envpack.content import conda_package
from envpack.content.python_layout import PythonLayout
from envpack.entry import Entry, Kind
from envpack.lockfile import LockedPackage
from tests.standins.conda_package import PLACEHOLDER, File, Package

P = PLACEHOLDER.encode()
LINUX: Final = "linux-64"
PYC = b"\xa7\r\r\n" + bytes(4)  # CPython 3.11, timestamp


@dataclass(frozen=True)
class Found:
    """What is at a path, however it got there."""

    kind: Kind
    mode: int
    content: bytes


def in_folder(root: Path) -> dict[str, Found]:
    """All paths below ``root`` that are no folders."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = Found(Kind.SYMLINK, 0o777, str(path.readlink()).encode())
        elif stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            mode |= (mode & 0o500) >> 3 | (mode & 0o500) >> 6
            found[name] = Found(Kind.FILE, mode, path.read_bytes())
    return found


def in_entries(entries: Iterator[Entry], prefix: str) -> dict[str, Found]:
    """The same of our entries; hard links are what they link to."""
    found: dict[str, Found] = {}
    for entry in entries:
        assert entry.path.startswith(prefix[1:] + "/")
        assert entry.mtime is None
        name = entry.path.removeprefix(prefix[1:] + "/")
        assert name not in found
        if entry.kind is Kind.HARDLINK:
            found[name] = found[entry.target.removeprefix(prefix[1:] + "/")]
        elif entry.kind is Kind.SYMLINK:
            found[name] = Found(entry.kind, entry.mode, entry.target.encode())
        else:
            content = b"".join(entry.chunks)
            assert len(content) == entry.size
            found[name] = Found(entry.kind, entry.mode, content)
    return found


def text_files() -> dict[str, File]:
    """Every kind of first line, and placeholders anywhere."""
    texts = {
        "python": b"#!" + P + b"/bin/python -u\nx=" + P + b"\n" + P,
        "sh": b"#!" + P + b"/bin/bash -e\nx\n",
        "space": b"#! " + P + b"/bin/python3.11\nx\n",
        "crlf": b"#!" + P + b"/bin/python3.11\r\nx\r\n",
        "twice": b"#!" + P + b"/bin/env " + P + b"/bin/x\nx\n",
        "no_newline": b"#!" + P + b"/bin/python",
        "only_shebang": b"#!",
        "latin": b"#!" + P + b"/bin/python \xe9\xff\nq\xe9\n",
        "env": b"#!/usr/bin/env python\nx=" + P + b"\n",
        "long_env": b"#!/usr/bin/env python " + b"a" * 130 + b"\nx=" + P + b"\n",
        "long_perl": b"#!" + P + b"/bin/perl " + b"a" * 130 + b"\nx=" + P + b"\n",
        "long_escaped": b"#!" + P + b"/b\\ in/python " + b"a" * 130 + b"\n",
        "none": b"#!/bin/sh\nnothing\n",
        "nul": b"a\0" + P + b"\0b",
        "utf16": b"zz" + PLACEHOLDER.encode("utf-16-le") + b"/x\0\0zz",
        "overlap": P[:100] + P + P[:100],
        "empty": b"",
    }
    return {f"t/{name}": File(data, 0o755, prefix="text") for name, data in texts.items()}


def binary_files() -> dict[str, File]:
    """C strings of every shape, in every encoding, and 200 mixtures of their parts."""
    binaries = {
        "several": b"\x7fELF\0" + P + b"/lib\0next\0" + P + b"\0" + P + b"/a:" + P + b"/b\0tail",
        "unterminated": b"unterminated " + P + b"/x/y",
        "script": b"#!" + P + b"/bin/python\n\0" + P + b"\0",
        "partial": P[:100] + P + P[:50] + b"\0\0\0x",
        "empty": b"",
    }
    names = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    for name in names:
        for shift in range(4):
            data = b"zzz\0"[: shift or 4] + f"{PLACEHOLDER}/x\0y{PLACEHOLDER}:{PLACEHOLDER}\0".encode(name)
            binaries[f"{name}_{shift}"] = data + b"zz\0\0"
    chance = random.Random(0)
    parts = [PLACEHOLDER.encode(name) for name in names] + [b"\0", b"\0\0", b"/lib", b"a", P[:40], P[40:]]
    for number in range(200):
        binaries[f"mixed{number}"] = b"".join(chance.choices(parts, k=chance.randrange(1, 14)))
    return {f"b/{name}": File(data, prefix="binary") for name, data in binaries.items()}


def packages() -> list[Package]:
    """What is linked; each also in the older format, below another folder."""
    modes = (0o644, 0o600, 0o755, 0o775, 0o4755, 0o2755, 0o444, 0o664, 0o000, 0o777, 0o640, 0o1644)
    files = {f"share/mode{mode:04o}": File(b"x%d" % mode, mode) for mode in modes}
    files |= {f"share/text{mode:04o}": File(P, mode, prefix="text") for mode in modes if mode}
    files |= {f"share/binary{mode:04o}": File(P, mode, prefix="binary") for mode in modes if mode}
    links = {
        "t/file": File(b"x"),
        "t/beside": File(link="file"),
        "t/up": File(link="../t/file"),
        "t/dangling": File(link="nowhere"),
        "t/outside": File(link="../../../nowhere"),
        "t/absolute": File(link=f"{PLACEHOLDER}/x"),
        "t/n\N{LATIN SMALL LETTER AE}me with space": File(b"y"),
        "t/" + "deep/" * 30 + "file": File(b"z"),
        "t/kept": File(b"kept", no_link=True),
    }
    python = Package("python", "3.11.7", "0", LINUX, {"bin/python3.11": File(b"ELF", 0o755)}, noarch=None)
    noarch = {
        "site-packages/nap/__init__.py": File(b"x=1\n"),
        "site-packages/nap/__pycache__/__init__.cpython-311.pyc": File(PYC + bytes(8) + b"code"),
        "python-scripts/nap": File(b"#!" + P + b"/bin/python\n", 0o755, prefix="text"),
        "python-scripts/plain": File(b"#!/usr/bin/env python\n", 0o644),
        "site-packages-x/y": File(),
        "etc/nap": File(b"e"),
        "bin/other": File(b"o", 0o755),
    }
    entry_points = ["nap-main = nap.cli:main", "nap.dot=nap:App.run", "sp  =  nap : f "]
    made = [python]
    for suffix in ("", "_old"):
        made += [
            Package(f"modes{suffix}", "1.0", "0", LINUX, _below(files, suffix)),
            Package(f"text{suffix}", "1.0", "0", LINUX, _below(text_files(), suffix)),
            Package(f"binary{suffix}", "1.0", "0", LINUX, _below(binary_files(), suffix)),
            Package(f"links{suffix}", "1.0", "0", LINUX, _below(links, suffix)),
        ]
    made.append(
        Package("nap", "1.0", "0", "noarch", noarch, ["python"], noarch="python", entry_points=entry_points)
    )
    return made


def _below(files: Mapping[str, File], folder: str) -> dict[str, File]:
    return {f"{folder}/{name}" if folder else name: file for name, file in files.items()}


@pytest.fixture(scope="module")
def awkward_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel in a folder, indexed by rattler."""
    import rattler.index

    root = tmp_path_factory.mktemp("channel")
    (root / "noarch").mkdir()
    for package in packages():
        package.write(root, legacy=package.name.endswith("_old"))
    asyncio.run(rattler.index.index_fs(root, force=True, write_zst=False, write_shards=False))
    return root


def installed(channel: Path, target: Path, cache: Path, prefix: str) -> list[LockedPackage]:
    """Have rattler install everything; gives what it installed, as a lock would name it."""
    import rattler

    async def run() -> list[rattler.RepoDataRecord]:
        specs = [rattler.MatchSpec(package.name) for package in packages()]
        records = await rattler.solve([rattler.Channel(channel.as_uri())], specs, platforms=[LINUX, "noarch"])
        await rattler.install(
            records, target, cache_dir=cache, alternative_target_prefix=prefix, show_progress=False
        )
        return records

    return [
        LockedPackage(
            name=record.name.normalized,
            version=str(record.version),
            manager="conda",
            platform=LINUX,
            url=record.url,
            sha256=record.sha256.hex() if record.sha256 else "",
            md5=record.md5.hex() if record.md5 else None,
        )
        for record in asyncio.run(run())
    ]


PREFIXES = {
    "usual": "/opt/env",
    "with a space": "/opt/my env",
    "longest shebang": "/opt/" + "x" * 105,
    "too long for a shebang": "/opt/" + "x" * 106,
    "too long for every shebang": "/opt/" + "x" * 140,
    "as long as the placeholder": "/" + "x" * 254,
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES.keys())
def test_every_path_is_the_same(awkward_channel: Path, tmp_path: Path, prefix: str) -> None:
    target = tmp_path / "env"
    locked = installed(awkward_channel, target, tmp_path / "cache", prefix)
    theirs = in_folder(target)
    layout = PythonLayout("3.11.7", "lib/python3.11/site-packages")
    ours: dict[str, Found] = {}
    for package in locked:
        path = Path(package.url.removeprefix("file://"))
        ours |= in_entries(conda_package.open(path, package).entries(prefix, layout), prefix)
    records = {name for name in theirs if name.startswith("conda-meta/") and name.endswith(".json")}
    assert records == {name for name in ours if name.startswith("conda-meta/")}
    for name in records:
        _compare_records(json.loads(ours.pop(name).content), json.loads(theirs.pop(name).content))
    del theirs["CACHEDIR.TAG"], theirs["conda-meta/history"]
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if ours[name] != theirs[name]]
    assert different == []


def _compare_records(ours: dict[str, object], theirs: dict[str, object]) -> None:
    """Everything that rattler records is recorded, but for what is of its machine."""
    for key in ("extracted_package_dir", "link", "indexed_timestamp"):
        del theirs[key]
    theirs["channel"] = str(theirs["channel"]).rstrip("/")
    assert {key: ours[key] for key in theirs} == theirs
