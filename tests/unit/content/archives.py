"""Archives made in code, broken ones too: members are given as they are to be, not as they should."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

from envpack.entry import Entry, Kind
from envpack.lockfile import LockedPackage

MTIME = 1600000000


def member(name: str, data: bytes = b"", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One tar member: a file, unless ``type`` says otherwise."""
    info = tarfile.TarInfo(name)
    info.mtime = MTIME
    for key, value in attributes.items():
        setattr(info, key, value)
    if info.isreg():
        info.size = len(data)
    return info, data


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def path_info(name: str, data: bytes = b"", **extra: Any) -> dict[str, Any]:
    """A line of ``paths.json``."""
    digest = hashlib.sha256(data).hexdigest()
    return {"_path": name, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(data), **extra}


def listed(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> list[dict[str, Any]]:
    """``paths.json`` of members, without placeholders."""
    types = {tarfile.SYMTYPE: "softlink", tarfile.DIRTYPE: "directory"}
    found = []
    for info, data in members:
        line = path_info(info.name, data, path_type=types.get(info.type, "hardlink"))
        if info.islnk():
            del line["size_in_bytes"]
        found.append(line)
    return found


def info(
    paths: Sequence[Mapping[str, Any]] | None,
    *,
    index: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    entry_points: Sequence[str] = (),
) -> dict[str, bytes]:
    """The files of ``info/``."""
    described: dict[str, Any] = {"name": "demo", "version": "1.0", "build": "0", "subdir": "linux-64"}
    found = {"info/index.json": json.dumps({**described, **(index or {})}).encode()}
    if paths is not None:
        found["info/paths.json"] = json.dumps({"paths": list(paths), "paths_version": 1}).encode()
    if entry_points:
        link = {
            "noarch": {"type": "python", "entry_points": list(entry_points)},
            "package_metadata_version": 1,
        }
        found["info/link.json"] = json.dumps(link).encode()
    return found | dict(files or {})


def conda(
    path: Path,
    members: Sequence[tuple[tarfile.TarInfo, bytes]],
    described: Mapping[str, bytes] | None = None,
    *,
    metadata: bytes = b'{"conda_pkg_format_version": 2}',
) -> Path:
    """A ``.conda``, or a ``.tar.bz2`` where the name says so; described by ``listed`` if not otherwise."""
    described = info(listed(members)) if described is None else described
    descriptions = [member(name, data) for name, data in described.items()]
    if path.name.endswith(".tar.bz2"):
        path.write_bytes(bz2.compress(tar([*descriptions, *members])))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", metadata)
        archive.writestr("info-demo-1.0-0.tar.zst", zstd(tar(descriptions)))
        archive.writestr("pkg-demo-1.0-0.tar.zst", zstd(tar(members)))
    return path


def locked(name: str = "demo", version: str = "1.0", filename: str = "demo-1.0-0.conda") -> LockedPackage:
    url = f"https://conda.anaconda.org/conda-forge/linux-64/{filename}"
    return LockedPackage(name, version, "conda", "linux-64", url, "0" * 64)


def wheel(
    path: Path,
    files: Mapping[str, bytes],
    *,
    executable: Sequence[str] = (),
    record: Mapping[str, str] | None = None,
    purelib: bool = True,
) -> Path:
    """A wheel of ``Demo_Pkg`` 1.0; ``record`` replaces the hash and size of some paths in RECORD."""
    info = "demo_pkg-1.0.dist-info"
    tagged = f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: {str(purelib).lower()}\nTag: py3-none-any\n"
    named = "Metadata-Version: 2.1\nName: Demo_Pkg\nVersion: 1.0\n"
    everything = {**files, f"{info}/WHEEL": tagged.encode(), f"{info}/METADATA": named.encode()}
    lines = {name: f"sha256={digest(data)},{len(data)}" for name, data in everything.items()}
    lines |= {f"{info}/RECORD": ",", **(record or {})}
    quoted = (f'"{name}",{line}\n' if "," in name else f"{name},{line}\n" for name, line in lines.items())
    everything[f"{info}/RECORD"] = "".join(quoted).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in everything.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if name in executable else 0o100644) << 16
            archive.writestr(entry, data)
    return path


def digest(data: bytes) -> str:
    """As RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def layer(path: Path, *members: tuple[tarfile.TarInfo, bytes], codec: str = "plain") -> Path:
    """A layer of an image."""
    encoders: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}
    path.write_bytes(encoders[codec](tar(members)))
    return path


def content(entry: Entry) -> bytes:
    """All of a file's chunks, which must be as long as it says."""
    data = b"".join(entry.chunks)
    assert entry.kind is not Kind.FILE or len(data) == entry.size
    return data
