"""A base image of Debian's packages, the stand-in for ``ubuntu:20.04`` and other images of Docker Hub.

It is whatever system this machine's apt is set up for, served under those names: a shell, coreutils, glibc
and libstdc++. No maintainer script runs; the little that they would do is done here. For arm64 there is an
image of a single text file, good for resolving and locking only.

The folder is an OCI image layout (image-spec, image-layout.md) with one index of both platforms.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.standins import debian, store

PACKAGES = (
    "base-files", "base-passwd", "bash", "coreutils", "dash", "grep", "libc-bin", "libc6", "libstdc++6",
    "sed",
)  # fmt: skip
MERGED = ("bin", "sbin", "lib", "lib64")  # these are links into /usr (Debian's usrmerge)
DROPPED = ("usr/share/doc/", "usr/share/info/", "usr/share/lintian/", "usr/share/locale/", "usr/share/man/")
OCI = "application/vnd.oci.image"

Tree = dict[str, tuple[tarfile.TarInfo, bytes]]


def image(more: Sequence[str] = ()) -> Path:
    """The folder of the layout, with ``more`` of Debian's packages, built on first use."""
    key = store.key(PACKAGES, *more, Path("/etc/os-release").read_text(), files=("base.py", "debian.py"))
    return store.built("base", key, lambda folder: _build(folder, [*PACKAGES, *more]))


def _build(folder: Path, packages: Sequence[str]) -> None:
    platforms = {"amd64": _tree(packages), "arm64": dict([_text("README", "A stand-in without content.\n")])}
    manifests = [
        {**_image(folder, tree, architecture), "platform": {"architecture": architecture, "os": "linux"}}
        for architecture, tree in platforms.items()
    ]
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests}
    top = document(folder, index, "index")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _tree(packages: Sequence[str]) -> Tree:
    """The root file system, path to tar member."""
    tree: Tree = dict(_link(name, f"usr/{name}") for name in MERGED)
    with debian.downloaded(packages, dependencies=True) as debs:
        for deb in debs:
            for member, data in debian.content(deb):
                member.name = _merged(member.name)
                if member.islnk():
                    member.linkname = _merged(member.linkname.removeprefix("./"))
                licence = member.name.endswith("/copyright")
                if member.name not in MERGED and (licence or not member.name.startswith(DROPPED)):
                    tree[member.name] = (member, data)
    # What the packages' maintainer scripts, or a container runtime, would add.
    for name in ("passwd", "group"):
        tree |= [_text(f"etc/{name}", tree[f"usr/share/base-passwd/{name}.master"][1].decode())]
    tree |= [_text(f"etc/{name}", "") for name in ("hosts", "resolv.conf")]
    tree.setdefault("usr/bin/sh", _link("usr/bin/sh", "dash")[1])
    return tree


def _merged(name: str) -> str:
    name = name.rstrip("/")
    return f"usr/{name}" if name.partition("/")[0] in MERGED and "/" in name else name


def _link(name: str, target: str) -> tuple[str, tuple[tarfile.TarInfo, bytes]]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
    return name, (member, b"")


def _text(name: str, text: str) -> tuple[str, tuple[tarfile.TarInfo, bytes]]:
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    return name, (member, text.encode())


def _image(folder: Path, tree: Tree, architecture: str) -> dict[str, Any]:
    """Write an image of one layer; gives the descriptor of its manifest."""
    tar = _layer(tree)
    packed = gzip.compress(tar, 6, mtime=0)
    layer = {"mediaType": f"{OCI}.layer.v1.tar+gzip", **blob(folder, packed)}
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/bash"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"comment": "a stand-in made of Debian packages"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": document(folder, config, "config"),
        "layers": [layer],
    }
    return document(folder, manifest, "manifest")


def _layer(tree: Tree) -> bytes:
    # Hard links come behind what they link to.
    order = sorted(tree, key=lambda name: (tree[name][0].islnk(), name))
    folders = {parent for name in tree for parent in _parents(name)} - set(tree)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(folders):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name in order:
            member, data = tree[name]
            member.uname = member.gname = ""
            member.pax_headers = {}
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return out.getvalue()


def _parents(name: str) -> list[str]:
    parent = posixpath.dirname(name)
    return [*_parents(parent), parent] if parent else []


def document(folder: Path, value: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Write JSON as a blob of the layout; gives its descriptor."""
    return {"mediaType": f"{OCI}.{kind}.v1+json", **blob(folder, json.dumps(value, sort_keys=True).encode())}


def blob(folder: Path, data: bytes) -> dict[str, Any]:
    """Write a blob of the layout; gives its digest and size."""
    digest = hashlib.sha256(data).hexdigest()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}
