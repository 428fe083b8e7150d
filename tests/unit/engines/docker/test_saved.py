"""What ``docker save`` gives, in the layouts of Docker's versions, and archives that nobody should trust."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envpack.engines.docker import saved
from envpack.errors import IntegrityError


def layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(name)
        tar.addfile(info, io.BytesIO(name.encode()))
    return out.getvalue()


BASE, TOP = layer("base"), layer("top")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(*members: tuple[str, bytes | str]) -> bytes:
    """A tar of files; a member whose content is text is a symbolic link to that."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def config(*layers: bytes) -> bytes:
    return json.dumps({"rootfs": {"diff_ids": [f"sha256:{sha256(data)}" for data in layers]}}).encode()


def manifest(config: str, *layers: str) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["x:latest"], "Layers": layers}]).encode()


def legacy() -> bytes:
    return archive(
        ("1f.json", config(BASE, TOP, BASE)),
        ("aa/layer.tar", BASE),
        ("bb/layer.tar", TOP),
        ("cc/layer.tar", "../aa/layer.tar"),
        ("manifest.json", manifest("1f.json", "aa/layer.tar", "bb/layer.tar", "cc/layer.tar")),
    )


def layout(pack: Callable[[bytes], bytes] = bytes) -> bytes:
    described, blobs = config(BASE, TOP), [pack(BASE), pack(TOP)]
    paths = [f"blobs/sha256/{sha256(data)}" for data in (described, *blobs)]
    return archive(
        ("manifest.json", manifest(paths[0], *paths[1:])),
        ("index.json", b"{}"),
        *zip(paths, (described, *blobs), strict=True),
    )


def unpack(data: bytes, folder: Path, size: int = 1000) -> saved.Saved:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return saved.unpack([*pieces[:1], b"", *pieces[1:]], folder)


@pytest.mark.parametrize("size", [1, 512, 1 << 20])
def test_before_docker_25(size: int, tmp_path: Path) -> None:
    found = unpack(legacy(), tmp_path, size)
    assert found.raw == config(BASE, TOP, BASE)
    assert [path.read_bytes() for path in found.layers] == [BASE, TOP, BASE]
    assert [digest.hex for digest in found.diff_ids] == [sha256(BASE), sha256(TOP), sha256(BASE)]


def zstd(data: bytes) -> bytes:
    import zstandard

    return zstandard.compress(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_since_docker_25(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    found = unpack(layout(pack), tmp_path)
    assert [b"".join(saved.content(path)) for path in found.layers] == [BASE, TOP]


def one(content: bytes = BASE, name: str = "l.tar", **document: Any) -> bytes:
    described = json.dumps({"Config": "c.json", "Layers": ["l.tar"], **document})
    return archive(("c.json", config(BASE)), (name, content), ("manifest.json", f"[{described}]".encode()))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "manifest.json"),
        (b"<html>", "in the middle"),
        (legacy()[:2000], "in the middle"),
        (one(content=TOP), "is not the one that the image names"),
        (one(content=gzip.compress(BASE)[:-4]), "Compressed file ended|end-of-stream"),
        (one(content=b"\x1f\x8b nothing"), "compress"),
        (one(name="../l.tar"), "a member is called '../l.tar'"),
        (one(name="/l.tar"), "a member is called '/l.tar'"),
        (one(Layers=["../../etc/passwd"]), "passwd"),
        (one(Layers=["l.tar", "l.tar"]), "2 layers, and hashes of 1"),
        (one(Layers=[["l.tar"]]), "list"),
        (one(Layers=None), "None"),
        (one(Config="l.tar"), ""),
        (archive(("manifest.json", b"[]")), "one image"),
        (archive(("manifest.json", b"[" * 100_000)), ""),
        (archive(("manifest.json", bytes(9 << 20))), "9437184 bytes"),
        (archive(("manifest.json", "manifest.json")), "manifest.json"),
        (archive(("manifest.json", "../../etc/passwd")), "passwd"),
    ],
)
def test_bad_archives(data: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="what Docker gave as the image cannot be used") as caught:
        unpack(data, tmp_path, 1 << 20)
    assert re.search(why, str(caught.value.why))
    assert all(path.name.startswith("member-") for path in tmp_path.iterdir())
