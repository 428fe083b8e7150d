"""What kind of image a file is, and where its file system begins."""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from envpack.errors import EngineError
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from envpack.platforms import PLATFORMS

_SQUASHFS_MAGIC = b"hsqs"
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_MAGIC_OFFSET = 32
_LARGEST_SCRIPT = 1 << 20
# In what `envpack build --format sqfs` writes (activation.environment).
_PREFIX = re.compile(rb"^export CONDA_PREFIX=(/[\w.+/-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image: its absolute path, and the byte offset of the squashfs file system in it."""

    path: Path
    offset: int


def open_image(path: Path) -> ImageFile:
    """Look at the file ``path``: a SIF file or a bare squashfs image.

    Raises :class:`EngineError` when it is neither, cannot be read, is of another architecture than this
    machine or holds an environment alone, :class:`IntegrityError` when it is damaged.
    """
    try:
        path = path.resolve(strict=True)
        with path.open("rb") as file:
            head = file.read(_SIF_MAGIC_OFFSET + len(_SIF_MAGIC))
    except FileNotFoundError:
        raise EngineError(f"there is no image {path}", hint="Make one with `envpack build`.") from None
    except OSError as error:
        raise EngineError(f"cannot read the image {path}", why=str(error)) from error
    if head.startswith(_SQUASHFS_MAGIC):
        _check_has_system(path)
        return ImageFile(path, 0)
    if not head.endswith(_SIF_MAGIC):
        raise EngineError(
            f"{path} is not an image that runs here",
            why="it is neither a SIF file nor a squashfs file system",
            hint="An OCI archive runs after `docker load -i FILE` or `podman load -i FILE`; "
            "`apptainer exec oci-archive:FILE` takes it as it is."
            if tarfile.is_tarfile(path)
            else "Make one with `envpack build`.",
        )
    found = sif.read(path)
    partition = found.partition()
    platform = next((p for p in PLATFORMS.values() if p.sif_architecture == found.architecture), None)
    if platform is None or not platform.is_host:
        name = platform.subdir if platform else f"the architecture with SIF's number {found.architecture}"
        raise EngineError(
            f"{path} cannot run on this machine",
            why=f"it is an image for {name}",
            hint="Build one for this machine with `envpack build --platform`.",
        )
    return ImageFile(path, partition.offset)


def _check_has_system(path: Path) -> None:
    """Refuse a squashfs image that is an environment without a system around it."""
    with path.open("rb") as file:
        image = Squashfs(file, 0)
        if image.lookup("conda-meta") is None or image.lookup(".singularity.d") is not None:
            return
        found = image.lookup("activate.sh")
        text = b"" if found is None or found.size > _LARGEST_SCRIPT else b"".join(found.chunks)
    prefix = _PREFIX.search(text)
    at = prefix[1].decode() if prefix else "/opt/env"
    raise EngineError(
        f"{path} cannot run by itself",
        why="it holds an environment alone, without a system that could run it",
        hint="Bind it into a container that has a system: "
        f"apptainer exec -B {path}:{at}:image-src=/ BASE.sif {at}/bin/python",
    )
