"""Getting an image out of the daemon: as a file, and to a registry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envpack import atomic
from envpack.cache import Cache, cannot_write
from envpack.engines.docker import failures, saved
from envpack.engines.docker.daemon import Daemon
from envpack.engines.docker.redaction import shown
from envpack.engines.docker.saved import Saved
from envpack.engines.docker.tasks import Tasks
from envpack.errors import EngineError
from envpack.image import Digest, Reference
from envpack.progress import Progress


def stream(daemon: Daemon, reference: Reference, progress: Progress) -> Iterator[bytes]:
    """What ``docker save`` gives, in pieces. Raises :class:`EngineError`."""
    with (
        daemon.talking("saving the image"),
        progress.step("Saving the image", unit="bytes") as task,
    ):
        for piece in daemon.client.get_image(reference.familiar):
            task.advance(len(piece))
            yield piece


def save(daemon: Daemon, reference: Reference, output: Path, progress: Progress) -> tuple[int, str]:
    """Write the image to ``output``, whole or not at all, for ``docker load``; gives size and sha256.

    Raises :class:`EngineError`, :class:`OutputError`.
    """
    digest, size = hashlib.sha256(), 0
    with atomic.replacing(output) as out:
        for piece in stream(daemon, reference, progress):
            digest.update(piece)
            size += out.write(piece)
    return size, digest.hexdigest()


@contextmanager
def unpacked(
    daemon: Daemon, reference: Reference, cache: Cache, progress: Progress
) -> Iterator[tuple[Saved, Path]]:
    """The saved image in a folder of the cache, which lasts as long as the context.

    Raises :class:`EngineError`, :class:`IntegrityError`, :class:`OutputError`.
    """
    with cache.temporary() as folder:
        try:
            image = saved.unpack(stream(daemon, reference, progress), folder)
        except OSError as error:
            raise cannot_write(cache.root, error) from error
        yield image, folder


def push(daemon: Daemon, reference: Reference, progress: Progress) -> Digest | None:
    """Push the image to the registry of its name, with docker's own login; gives its manifest's digest.

    ``None`` from podman's socket, which does not tell it.
    Raises :class:`EngineError`.
    """
    found = None
    place = f"{reference.registry}/{reference.repository}"
    with daemon.talking(f"pushing to {place}"), Tasks(progress) as tasks:
        tasks.begin("", f"Pushing {reference.familiar}")
        name = reference.familiar.removesuffix(f":{reference.tag}")
        for message in daemon.client.push(name, tag=reference.tag, stream=True, decode=True):
            if "error" in message:
                said = shown(str(message["error"]))
                raise EngineError(
                    f"Docker cannot push the image to {place}",
                    why=said,
                    hint=failures.hint_for(said, registry=reference.registry)
                    or f"Log in first: docker login {reference.registry}; see that the registry is there.",
                )
            if "id" in message:
                tasks.layer(message)
            elif digest := (message.get("aux") or {}).get("Digest"):
                found = digest
    return Digest(found) if found else None
