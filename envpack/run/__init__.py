"""Running an image: through Apptainer or Singularity where there is one, else without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envpack import process
from envpack.errors import UsageError
from envpack.progress import Progress, Quiet
from envpack.run.namespace import Bind, run_in_namespace

__all__ = ["Bind", "parse_bind", "run"]


def run(
    image: Path, arguments: Sequence[str], *, binds: Sequence[Bind] = (), progress: Progress | None = None
) -> int:
    """Run the image's runscript (python, in images of envpack) with ``arguments``; gives its exit code.

    The terminal belongs to the program meanwhile; a code of 128 + n means that signal n ended it. With
    ``apptainer`` or ``singularity`` on PATH it is that program's run command; else the image is mounted, or
    unpacked, in a user namespace: read-only, with ``/dev``, ``/proc``, ``/sys``, ``/tmp``, the home folder
    and the current one, ``binds`` and the user's name. ``progress`` is told which.

    Raises :class:`EngineError` when ``image`` is no image, or one that cannot run here;
    :class:`IntegrityError` when it is damaged.
    """
    from envpack.run.image_file import open_image

    progress = progress or Quiet()
    opened = open_image(image)
    runtime = process.find("apptainer") or process.find("singularity")
    if runtime is None:
        return run_in_namespace(opened, arguments, binds, progress)
    progress.note(f"running {opened.path.name} through {runtime}")
    options = [part for bind in binds for part in ("--bind", _bind_option(bind))]
    return process.hand_over([runtime, "run", *options, opened.path, *arguments])


def parse_bind(text: str) -> Bind:
    """Read ``SOURCE[:DESTINATION[:ro]]``, as Apptainer's ``--bind`` takes it.

    Raises :class:`UsageError` when it is something else, or SOURCE does not exist.
    """
    source, _, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    path = Path(source).absolute()
    destination = destination or str(path)
    if not source or mode not in ("", "ro", "rw") or "," in text:
        raise UsageError(f"{text!r} is not a bind", hint="Write SOURCE[:DESTINATION[:ro]].")
    if not path.exists():
        raise UsageError(f"there is no {path} to bind")
    if not destination.startswith("/") or not destination.strip("/"):
        raise UsageError(f"{destination!r} cannot be bound to", hint="Give an absolute path in the image.")
    return Bind(str(path), destination, read_only=mode == "ro")


def _bind_option(bind: Bind) -> str:
    return f"{bind.source}:{bind.destination}:{'ro' if bind.read_only else 'rw'}"
