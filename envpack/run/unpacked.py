"""An image's file system as a folder: the slow way in, where nothing can mount it."""

from __future__ import annotations

import shutil
from pathlib import Path

from envpack.entry import Kind
from envpack.errors import OutputError
from envpack.formats.squashfs.reader import Squashfs
from envpack.namespace.unpacked import write_entries
from envpack.progress import Progress
from envpack.run.image_file import ImageFile


def unpack(image: ImageFile, folder: Path, progress: Progress) -> None:
    """Unpack ``image`` into the new ``folder``; device nodes, fifos and sockets are left out.

    Folders are made writable for their owner, so that they can be removed again. Raises
    :class:`OutputError` when there is no space or no right to write, :class:`IntegrityError` when the image
    is damaged or would write outside of ``folder``.
    """
    with image.path.open("rb") as file:
        # Sizes are in the inodes: the first pass reads no content.
        sizes = [entry.size for entry in Squashfs(file, image.offset).entries() if entry.kind is Kind.FILE]
        total = sum(sizes)
        free = shutil.disk_usage(folder.parent).free
        if free < total:
            raise OutputError(
                f"{folder.parent} is too small to unpack {image.path.name} into",
                why=f"it takes {_megabytes(total)}, and {_megabytes(free)} are free",
                hint="Set TMPDIR to a folder on a larger disk, or install squashfuse, which needs no space.",
            )
        progress.note(
            f"there is no way to mount an image here (squashfuse and /dev/fuse), so its {len(sizes)} files, "
            f"{_megabytes(total)}, are unpacked for this run: with squashfuse it starts at once"
        )
        with progress.step(f"Unpacking {image.path.name}", total, "bytes") as task:
            for size in write_entries(Squashfs(file, image.offset).entries(), folder):
                task.advance(size)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
