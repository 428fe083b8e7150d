"""What ``docker save`` gives: the image's configuration and its layers, out of one tar.

    manifest.json        [{"Config": PATH, "RepoTags": [NAME, …], "Layers": [PATH, …]}]

    ID.json              the configuration, before Docker 25
    DIR/layer.tar        a layer; a symbolic link where another layer is the same

    blobs/sha256/DIGEST  both, from Docker 25 on; layers may be compressed where containerd keeps the images

Source: Docker's image specification 1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envpack.content import tar_stream
from envpack.content.damaged import reading
from envpack.content.tar_stream import TarError, TarStream, decompressed
from envpack.entry import is_safe_path
from envpack.errors import IntegrityError
from envpack.image import Digest

_PIECE = 1 << 20
# Configurations have some kilobytes; whoever has more wants our memory.
_MAX_DOCUMENT = 8 << 20
_MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Saved:
    """An image: the bytes of its configuration, what they say, and the layers, the lowest first.

    ``layers`` are tars, compressed or not; ``diff_ids`` are the hashes of what is in them, and right.
    """

    raw: bytes
    config: dict[str, Any]
    layers: tuple[Path, ...]
    diff_ids: tuple[Digest, ...]


def unpack(stream: Iterable[bytes], folder: Path) -> Saved:
    """Read what ``docker save`` sends for one image; its members become numbered files in ``folder``.

    Raises :class:`IntegrityError` for what is no such archive, or one whose layers are not those that its
    configuration names; :class:`OSError` when ``folder`` cannot be written.
    """
    try:
        members = _Members.of(TarStream(_Stream(iter(stream))), folder)
        described = _only(json.loads(members.document("manifest.json")))
        raw = members.document(described["Config"])
        config = json.loads(raw)
        paths = [members.path(name) for name in described["Layers"]]
        diff_ids = tuple(Digest(text) for text in config["rootfs"]["diff_ids"])
        if len(paths) != len(diff_ids):
            raise ValueError(f"{len(paths)} layers, and hashes of {len(diff_ids)}")
    except (TarError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    for path, expected in zip(paths, diff_ids, strict=True):
        if members.digests[path] != expected.hex and _content_digest(path) != expected.hex:
            raise _damaged(f"a layer is not the one that the image names: {expected}")
    return Saved(raw, config, tuple(paths), diff_ids)


@dataclass(frozen=True, slots=True)
class _Members:
    """The files of an archive by their names in it, its links, and the sha256 (hexadecimal) of each file."""

    files: dict[str, Path]
    links: dict[str, str]
    digests: dict[Path, str]

    @classmethod
    def of(cls, tar: TarStream, folder: Path) -> _Members:
        found = cls({}, {}, {})
        for member in tar:
            name = member.name.rstrip("/")
            if not is_safe_path(name):
                raise TarError(f"a member is called {name!r}")
            if member.type == tar_stream.FILE:
                found.files[name] = path = folder / f"member-{len(found.digests)}"
                found.digests[path] = _write(tar.chunks(), path)
            elif member.type == tar_stream.SYMLINK:
                found.links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
            elif member.type == tar_stream.HARDLINK:
                found.links[name] = member.link
        return found

    def path(self, name: str) -> Path:
        """The file that the archive calls ``name``."""
        for _ in range(_MAX_LINKS):
            if name not in self.links:
                break
            name = self.links[name]
        return self.files[name]

    def document(self, name: str) -> bytes:
        """The bytes of a small file."""
        path = self.path(name)
        if path.stat().st_size > _MAX_DOCUMENT:
            raise ValueError(f"{name} has {path.stat().st_size} bytes")
        return path.read_bytes()


class _Stream:
    """Pieces of any size as something to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int, /) -> bytes:
        if not self._held:
            self._held = next((piece for piece in self._pieces if piece), b"")
        piece, self._held = self._held[:size], self._held[size:]
        return piece


def _write(chunks: Iterable[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as out:
        for chunk in chunks:
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def _content_digest(path: Path) -> str:
    """The sha256 of what is in a compressed layer."""
    digest = hashlib.sha256()
    try:
        for piece in content(path):
            digest.update(piece)
    except IntegrityError as error:
        raise _damaged(error.why or error.what) from error
    return digest.hexdigest()


def content(path: Path) -> Iterator[bytes]:
    """The bytes of a layer's tar, whatever it is compressed with. Raises :class:`IntegrityError`."""
    with reading(path), path.open("rb") as file:
        stream = decompressed(file)
        while piece := stream.read(_PIECE):
            yield piece


def _only(found: object) -> dict[str, Any]:
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise ValueError("manifest.json does not describe one image")
    return found[0]


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(
        "what Docker gave as the image cannot be used", why=why, hint="Run the same command again."
    )
