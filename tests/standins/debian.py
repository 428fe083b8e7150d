"""Debian packages without root: apt with a state of its own, and the content of ``.deb`` files.

A ``.deb`` is an ``ar`` archive of ``debian-binary``, ``control.tar.*`` and ``data.tar.*`` (deb(5)):

    "!<arch>\\n"
    for each member: name[16] mtime[12] uid[6] gid[6] mode[8] size[10] "`\\n", data, padding to an even size

Sources and keys are those that the machine's apt is set up with.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.standins.store import StandInError


@contextmanager
def downloaded(packages: Sequence[str], *, dependencies: bool) -> Iterator[list[Path]]:
    """The ``.deb`` files of ``packages``, sorted, while the context lasts; with all that a bare system lacks
    for them if ``dependencies``. apt verifies them.
    """
    if not shutil.which("apt-get"):
        raise StandInError(
            "there is no apt-get here: base image and registry stand-ins come from Debian's packages"
        )
    with tempfile.TemporaryDirectory(prefix="envpack-apt-") as temporary:
        folder = Path(temporary)
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()  # nothing is installed yet: every dependency is wanted
        settings = {
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "1",
            "Dir::Cache": folder,
            "Dir::Cache::archives": folder / "archives",
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        _apt([*options, "update"], folder)
        if dependencies:
            _apt([*options, "install", "-y", "--no-install-recommends", "--download-only", *packages], folder)
        else:
            _apt([*options, "download", *packages], folder / "archives")
        yield sorted((folder / "archives").glob("*.deb"))


def _apt(arguments: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StandInError(f"apt-get {arguments[-1]}: {(done.stderr or done.stdout).strip()[-500:]}")


def content(deb: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The paths that a package installs, named without a leading ``./``, with the bytes of files."""
    with tarfile.open(fileobj=io.BytesIO(_data_tar(deb))) as tar:
        for member in tar:
            member.name = member.name.removeprefix("./").removeprefix(".")
            if member.name:
                file = tar.extractfile(member) if member.isreg() else None
                yield member, file.read() if file else b""


def _data_tar(deb: Path) -> bytes:
    import zstandard

    data = deb.read_bytes()
    position = 8
    while position < len(data):
        name = data[position : position + 16].decode().strip().rstrip("/")
        size = int(data[position + 48 : position + 58])
        start = position + 60
        if name.startswith("data.tar"):
            body = data[start : start + size]
            if name.endswith(".zst"):
                return zstandard.ZstdDecompressor().decompressobj().decompress(body)
            return lzma.decompress(body)
        position = start + size + size % 2
    raise StandInError(f"{deb.name} has no data.tar")
