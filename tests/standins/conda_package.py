"""Writes conda packages, deterministically, in both formats.

    NAME-VERSION-BUILD.conda (zip, stored)          NAME-VERSION-BUILD.tar.bz2
      metadata.json                                   info/… and the package's files in one tar
      pkg-NAME-VERSION-BUILD.tar.zst    the files
      info-NAME-VERSION-BUILD.tar.zst   info/index.json, paths.json, files, has_prefix, link.json, about.json

Sources: conda's package specification (CEP-35 for ``.conda``; ``info/`` as conda-build writes it).
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

# As conda-build's: 255 characters, the longest prefix a binary can be relocated to.
PLACEHOLDER = ("/opt/_h_env" + "_placehold" * 25)[:255]
DEFAULT_DATE = "2023-06-01T00:00:00Z"


@dataclass(frozen=True)
class File:
    """One path of a package. ``prefix`` says how :data:`PLACEHOLDER` in ``data`` must be replaced."""

    data: bytes = b""
    mode: int = 0o644
    link: str | None = None
    prefix: Literal["text", "binary"] | None = None
    no_link: bool = False

    @classmethod
    def on_disk(cls, path: Path) -> File:
        """The file, or the symlink, that stands at ``path``."""
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return cls(link=str(path.readlink()))
        return cls(path.read_bytes(), 0o755 if status.st_mode & 0o111 else 0o644)


def seconds(date: str) -> int:
    """Seconds since the epoch of ``2023-06-01T00:00:00Z``."""
    return int(datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())


def script(text: str) -> File:
    """An executable text; the placeholder in it is replaced."""
    return File(text.encode(), 0o755, prefix="text" if PLACEHOLDER in text else None)


@dataclass(frozen=True)
class Package:
    """What a package is; :meth:`write` makes the archive."""

    name: str
    version: str
    build: str
    subdir: str
    files: Mapping[str, File]
    depends: Sequence[str] = ()
    constrains: Sequence[str] = ()
    noarch: Literal["python", "generic"] | None = None
    date: str | None = DEFAULT_DATE
    build_number: int = 0
    entry_points: Sequence[str] = ()
    license: str = "custom"
    summary: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    def stub(self, subdir: str) -> Package:
        """The same package for another platform, good for solving only."""
        note = File(b"a stand-in that is only good for solving\n")
        return replace(self, subdir=subdir, files={f"share/stub/{self.name}": note})

    def write(self, channel: Path, *, legacy: bool = False, paths_json: bool = True) -> dict[str, Any]:
        """Write the archive into ``channel/SUBDIR`` and give its record in ``repodata.json``.

        ``legacy`` chooses ``.tar.bz2``; without ``paths_json`` it has ``files``, ``has_prefix`` and
        ``no_link`` only, as packages of before 2016 have.
        """
        info = {f"info/{name}": File(data) for name, data in self._info(paths_json).items()}
        date = seconds(self.date or DEFAULT_DATE)
        if legacy:
            name = f"{self.stem}.tar.bz2"
            data = bz2.compress(_tar({**self.files, **info}, date))
        else:
            name = f"{self.stem}.conda"
            data = self._conda(_tar(self.files, date), _tar(info, date))
        (channel / self.subdir).mkdir(parents=True, exist_ok=True)
        (channel / self.subdir / name).write_bytes(data)
        return {
            **self._index,
            "fn": name,
            "md5": hashlib.md5(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }

    @property
    def _index(self) -> dict[str, Any]:
        index: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": self.build_number,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
            "subdir": self.subdir,
            "license": self.license,
            "arch": None,
            "platform": None,
            **self.extra,
        }
        if self.date:
            index["timestamp"] = seconds(self.date) * 1000
        if self.noarch:
            index["noarch"] = self.noarch
        else:
            index["platform"], arch = self.subdir.split("-")
            index["arch"] = {"64": "x86_64"}.get(arch, arch)
        return index

    def _info(self, paths_json: bool) -> dict[str, bytes]:
        names = sorted(self.files)
        info: dict[str, bytes] = {
            "index.json": _json(self._index),
            "about.json": _json({"summary": self.summary, "license": self.license}),
            "files": "".join(f"{name}\n" for name in names).encode(),
        }
        prefixed = [(name, mode) for name in names if (mode := self.files[name].prefix)]
        if prefixed:
            lines = (f"{PLACEHOLDER} {mode} {name}\n" for name, mode in prefixed)
            info["has_prefix"] = "".join(lines).encode()
        if skipped := [name for name in names if self.files[name].no_link]:
            info["no_link"] = "".join(f"{name}\n" for name in skipped).encode()
        if paths_json:
            paths = [_path(name, self.files[name]) for name in sorted(self.files)]
            info["paths.json"] = _json({"paths": paths, "paths_version": 1})
        if self.noarch == "python":
            link = {"type": "python", "entry_points": list(self.entry_points)}
            info["link.json"] = _json({"noarch": link, "package_metadata_version": 1})
        return info

    def _conda(self, content: bytes, info: bytes) -> bytes:
        import zstandard

        compressor = zstandard.ZstdCompressor(level=3)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, data in (
                ("metadata.json", b'{"conda_pkg_format_version": 2}'),
                (f"pkg-{self.stem}.tar.zst", compressor.compress(content)),
                (f"info-{self.stem}.tar.zst", compressor.compress(info)),
            ):
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        return out.getvalue()


def _path(name: str, file: File) -> dict[str, Any]:
    path: dict[str, Any] = {
        "_path": name,
        "path_type": "hardlink" if file.link is None else "softlink",
        "sha256": hashlib.sha256(file.data).hexdigest(),
        "size_in_bytes": len(file.data),
    }
    if file.prefix:
        path["file_mode"], path["prefix_placeholder"] = file.prefix, PLACEHOLDER
    if file.no_link:
        path["no_link"] = True
    return path


def _tar(files: Mapping[str, File], date: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            file = files[name]
            member = tarfile.TarInfo(name)
            member.mtime, member.mode = date, file.mode
            if file.link is not None:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, file.link, 0o777
            else:
                member.size = len(file.data)
            tar.addfile(member, io.BytesIO(file.data) if member.isreg() else None)
    return out.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
