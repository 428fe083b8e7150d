"""The entries of ``conda-meta/``: what conda, mamba, rattler and others read to know what is installed.

    conda-meta/NAME-VERSION-BUILD.json   one PrefixRecord a package: its index.json, where it came from,
                                         and every path with its hash before and after linking
    conda-meta/history                   which packages were installed, and what was asked for

Schema: https://github.com/conda/schemas (prefix-record). Paths of the machine that linked the package
(``extracted_package_dir``, ``package_tarball_full_path``, ``link``) are left out: the image is to be the
same wherever it is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from envpack.entry import Entry, file
from envpack.lockfile import LockedPackage

PathType = Literal["hardlink", "softlink", "directory", "unix_python_entry_point", "pyc_file"]


@dataclass(frozen=True, slots=True)
class LinkedPath:
    """One path of an installed package. ``sha256`` is that of the package's file, ``in_prefix`` of ours."""

    path: str
    path_type: PathType
    size: int
    sha256: str | None
    in_prefix: str | None = None
    file_mode: str | None = None
    placeholder: str | None = None
    no_link: bool = False

    def to_json(self) -> dict[str, Any]:
        """The path's object in ``paths_data``."""
        out: dict[str, Any] = {"_path": self.path, "path_type": self.path_type, "size_in_bytes": self.size}
        if self.sha256 is not None:
            out["sha256"] = self.sha256
        if self.in_prefix is not None and self.in_prefix != self.sha256:
            out["sha256_in_prefix"] = self.in_prefix
        if self.placeholder is not None:
            out |= {"file_mode": self.file_mode, "prefix_placeholder": self.placeholder}
        if self.no_link:
            out["no_link"] = True
        return out


def entry(
    prefix: str,
    locked: LockedPackage,
    index: Mapping[str, Any],
    *,
    size: int,
    paths: Iterable[LinkedPath],
    requested: Sequence[str],
) -> Entry:
    """The ``conda-meta`` record of a package whose archive has ``size`` bytes.

    ``prefix`` has no leading slash; ``requested`` are the specs of the environment file for this package.
    """
    listing = sorted(paths, key=lambda p: p.path)
    record: dict[str, Any] = {
        **index,
        "fn": locked.filename,
        "url": locked.url,
        "channel": locked.url.rsplit("/", 2)[0],
        "sha256": locked.sha256,
        "size": size,
        "files": [p.path for p in listing],
        "paths_data": {"paths_version": 1, "paths": [p.to_json() for p in listing]},
        "requested_spec": requested[0] if requested else "",
        "requested_specs": list(requested),
    }
    if locked.md5:
        record["md5"] = locked.md5
    name = f"{index['name']}-{index['version']}-{index['build']}.json"
    # Not indented: json does that in Python, which for the paths of a large environment takes a second.
    text = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
    return file(f"{prefix}/conda-meta/{name}", text.encode())


def history(prefix: str, packages: Iterable[LockedPackage], requested: Sequence[str], epoch: int) -> Entry:
    """``conda-meta/history``, without which conda takes the folder for no environment.

    ``requested`` are the conda specs that were asked for, ``epoch`` the image's date. The channel and build
    of a package are taken from its URL.
    """
    when = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"==> {when} <=="]
    for package in sorted(packages, key=lambda p: p.name):
        if package.manager == "conda":
            channel, _, filename = package.url.rpartition("/")
            stem = filename.removesuffix(".conda").removesuffix(".tar.bz2")
            lines.append(f"+{channel}::{stem}")
    if requested:
        lines.append(f"# update specs: {json.dumps(sorted(requested))}")
    return file(f"{prefix}/conda-meta/history", ("\n".join(lines) + "\n").encode())
