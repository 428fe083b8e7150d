"""Conda packages as they are shipped, in both formats, read without unpacking.

    NAME-VERSION-BUILD.conda      a zip, its members stored:
        metadata.json               {"conda_pkg_format_version": 2}
        info-NAME-VERSION-BUILD.tar.zst   info/index.json, info/paths.json, …
        pkg-NAME-VERSION-BUILD.tar.zst    the files

    NAME-VERSION-BUILD.tar.bz2    one tar with both, info/… anywhere in it but usually first

``info/paths.json`` lists the files (conda-build 2.1 and later); before it ``info/files``, ``info/has_prefix``
and ``info/no_link`` did. Formats: https://docs.conda.io/projects/conda/en/stable/dev-guide/ and
https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
"""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from envpack.content import tar_stream
from envpack.content.damaged import damaged, reading
from envpack.content.tar_stream import Member, TarStream
from envpack.entry import is_safe_path

FileMode = Literal["text", "binary"]

# What conda-build wrote before it recorded a placeholder of its own per file.
_OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"
_MAX_INFO_FILE = 256 << 20
_INFO = ("index.json", "paths.json", "link.json", "files", "has_prefix", "no_link")


@dataclass(frozen=True, slots=True)
class PathInfo:
    """One line of ``paths.json``: where a file of the package goes and what is done to it.

    ``path`` is as in the package, not relocated; ``size`` in bytes and ``sha256`` (hexadecimal) are before
    the replacement of ``placeholder``, and ``None`` where the package does not tell.
    """

    path: str
    path_type: Literal["hardlink", "softlink", "directory"] = "hardlink"
    size: int | None = None
    sha256: str | None = None
    placeholder: str | None = None
    file_mode: FileMode | None = None
    no_link: bool = False


@dataclass(frozen=True, slots=True)
class CondaArchive:
    """A package file and what its ``info`` folder says.

    ``index`` is ``info/index.json``; ``paths`` are by path, in the package's order; ``entry_points`` are
    ``command = module:function`` of a noarch python package.
    """

    path: Path
    index: Mapping[str, Any]
    paths: Mapping[str, PathInfo]
    entry_points: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> CondaArchive:
        """Read the package's description; nothing is kept open.

        Raises :class:`IntegrityError` when the file is no conda package or its description is wrong.
        """
        with reading(path):
            info = _info_of_zip(path) if path.name.endswith(".conda") else _info_of_bz2(path)
            index = _object(info.get("index.json"), "info/index.json")
            link = _object(info.get("link.json", b"{}"), "info/link.json")
            try:
                paths = _paths(info)
                entry_points = tuple(str(e) for e in (link.get("noarch") or {}).get("entry_points") or ())
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"its file list is malformed: {error!r}") from error
        return cls(path, index, paths, entry_points)

    @property
    def is_noarch_python(self) -> bool:
        """Whether the package's python files are placed below the environment's own python."""
        return self.index.get("noarch") == "python"

    def members(self) -> Iterator[tuple[Member, TarStream]]:
        """The files in the archive's order, without ``info/``; the stream gives the data of the current one.

        Names are normalised. Raises :class:`IntegrityError` when the bytes are damaged, or a name leaves
        the package.
        """
        with reading(self.path):
            for tar in self._payload():
                for member in tar:
                    name = member.name.removeprefix("./").rstrip("/")
                    if name in ("", ".") and member.type == tar_stream.DIRECTORY:
                        continue
                    if not is_safe_path(name):
                        raise damaged(self.path, f"it holds a file with the name {member.name!r}")
                    if name != "info" and not name.startswith("info/"):
                        member.name = name
                        yield member, tar

    def _payload(self) -> Iterator[TarStream]:
        if self.path.name.endswith(".conda"):
            with zipfile.ZipFile(self.path) as archive, archive.open(_part(archive, "pkg-")) as raw:
                yield TarStream(tar_stream.zstd(raw))
        else:
            with self.path.open("rb") as file:
                yield TarStream(tar_stream.decompressed(file))


def _part(archive: zipfile.ZipFile, prefix: str) -> zipfile.ZipInfo:
    """The one inner tar whose name begins with ``prefix``."""
    found = [
        i for i in archive.infolist() if i.filename.startswith(prefix) and i.filename.endswith(".tar.zst")
    ]
    if len(found) != 1:
        raise ValueError(f"it has {len(found)} parts {prefix}….tar.zst instead of one")
    return found[0]


def _info_of_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        version = _object(archive.read("metadata.json"), "metadata.json").get("conda_pkg_format_version")
        if version != 2:
            raise ValueError(f"its format version is {version!r}, and 2 is known")
        with archive.open(_part(archive, "info-")) as raw:
            return dict(_info_files(TarStream(tar_stream.zstd(raw))))


def _info_of_bz2(path: Path) -> dict[str, bytes]:
    """Stops as soon as everything is known; a second pass reads the files themselves."""
    info: dict[str, bytes] = {}
    with path.open("rb") as file:
        for name, data in _info_files(TarStream(tar_stream.decompressed(file)), until_known=info):
            info[name] = data
    return info


def _info_files(
    tar: TarStream, until_known: Mapping[str, bytes] | None = None
) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        name = member.name.removeprefix("./")
        if name.startswith("info/") and name[5:] in _INFO:
            if member.size > _MAX_INFO_FILE:
                raise ValueError(f"{name} has {member.size} bytes")
            yield name[5:], tar.read()
        elif until_known is not None and not name.startswith("info/") and _is_complete(until_known):
            return


def _is_complete(info: Mapping[str, bytes]) -> bool:
    """Whether nothing else can be expected: only noarch python packages have a link.json."""
    if "index.json" not in info or "paths.json" not in info:
        return False
    return "link.json" in info or _object(info["index.json"], "info/index.json").get("noarch") != "python"


def _object(data: bytes | None, name: str) -> dict[str, Any]:
    if data is None:
        raise ValueError(f"it has no {name}")
    value = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not a JSON object")
    return value


def _paths(info: Mapping[str, bytes]) -> dict[str, PathInfo]:
    if "paths.json" in info:
        listing = _object(info["paths.json"], "info/paths.json")
        if listing.get("paths_version") != 1:
            raise ValueError(
                f"info/paths.json is of version {listing.get('paths_version')!r}, and 1 is known"
            )
        infos = [_path_info(item) for item in listing["paths"]]
    elif "files" in info:
        infos = _old_paths(info)
    else:
        raise ValueError("it has neither info/paths.json nor info/files")
    paths: dict[str, PathInfo] = {}
    for item in infos:
        if not is_safe_path(item.path):
            raise ValueError(f"it lists a file with the name {item.path!r}")
        if item.path in paths:
            raise ValueError(f"it lists {item.path} twice")
        paths[item.path] = item
    return paths


def _path_info(item: Mapping[str, Any]) -> PathInfo:
    placeholder = item.get("prefix_placeholder")
    mode = item.get("file_mode")
    if item["path_type"] not in ("hardlink", "softlink", "directory"):
        raise ValueError(f"{item['_path']} is of the unknown type {item['path_type']!r}")
    if placeholder is not None and (mode not in ("text", "binary") or not isinstance(placeholder, str)):
        raise ValueError(f"{item['_path']} has a prefix placeholder and the file mode {mode!r}")
    size = item.get("size_in_bytes")
    return PathInfo(
        path=str(item["_path"]),
        path_type=item["path_type"],
        size=None if size is None else int(size),
        sha256=item.get("sha256"),
        placeholder=placeholder or None,
        file_mode=mode if placeholder else None,
        no_link=bool(item.get("no_link", False)),
    )


def _old_paths(info: Mapping[str, bytes]) -> list[PathInfo]:
    """``files``: a path a line. ``has_prefix``: a path a line, or ``PLACEHOLDER MODE PATH``, maybe quoted."""
    prefixes: dict[str, tuple[str, FileMode]] = {}
    for line in _lines(info.get("has_prefix", b"")):
        parts = shlex.split(line, posix=False) if '"' in line else line.split(None, 2)
        parts = [part.strip("\"'") for part in parts]
        if len(parts) == 3 and parts[1] in ("text", "binary"):
            prefixes[parts[2]] = (parts[0], cast("FileMode", parts[1]))
        else:
            prefixes[line.strip()] = (_OLD_PLACEHOLDER, "text")
    no_link = set(_lines(info.get("no_link", b"")))
    return [
        PathInfo(
            path,
            placeholder=prefixes[path][0] if path in prefixes else None,
            file_mode=prefixes[path][1] if path in prefixes else None,
            no_link=path in no_link,
        )
        for path in _lines(info["files"])
    ]


def _lines(data: bytes) -> list[str]:
    return [line.rstrip("\r") for line in data.decode("utf-8").split("\n") if line.strip()]
