"""Apptainer (or Singularity) builds the image from the written recipe, as a user would by hand.

What it makes is not the same to the byte each time, and small files are on the disk while it works. It is for
recipes whose commands must run, and for sandboxes: folders in which things can be changed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envpack import atomic, process
from envpack.engines import Image
from envpack.engines.apptainer import unfinished
from envpack.engines.apptainer.facts import Facts, Program, find_program, gather, numbers
from envpack.engines.apptainer.failure import failure
from envpack.engines.apptainer.transcript import Transcript
from envpack.engines.apptainer.way import choose
from envpack.errors import EngineError
from envpack.http_errors import is_loopback
from envpack.ledger import Ledger
from envpack.lockfile import Lockfile
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes.apptainer_def import FILENAME

_NATIVE = "Build with the native engine: leave --engine away."
_CHUNK = 1 << 20


class ApptainerEngine:
    """An :class:`~envpack.engines.Engine` that runs ``apptainer build`` in ``folder``, the recipe's.

    With ``sandbox`` the image is a folder, in which its owner can change things. ``facts`` replaces what is
    found out about this machine.
    """

    def __init__(
        self, folder: Path, progress: Progress, *, sandbox: bool = False, facts: Facts | None = None
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._sandbox = sandbox
        self._facts = facts

    def build(self, lock: Lockfile, recipe: Recipe, output: Path | None, ledger: Ledger) -> Image:  # noqa: ARG002 protocol
        """See :class:`~envpack.engines.Engine`. An image file is replaced, a sandbox never is.

        Raises :class:`EngineError` where this machine cannot build, before anything is downloaded.
        """
        assert output is not None, "Apptainer keeps images in files"
        if not recipe.platform.is_host:
            raise EngineError(
                f"Apptainer builds for this machine's platform alone, not for {recipe.platform.subdir}",
                hint=f"Build on such a machine, or with --engine docker. {_NATIVE}",
            )
        if not (self._folder / FILENAME).is_file():
            raise EngineError(f"there is no {self._folder / FILENAME} to build from", hint=_NATIVE)
        program = find_program()
        facts = self._facts or gather(program)
        way = choose(program, facts, numbers(recipe.base.glibc))
        if self._sandbox:
            check_sandbox(output)
        atomic.check(output)
        self._progress.note(f"{program} {way.words}")
        options = [*way.options, *(["--sandbox"] if self._sandbox else []), *_insecure(recipe)]
        with _building(program, options, FILENAME, self._folder, output, self._progress) as made:
            size, sha256 = (None, None) if self._sandbox else self._sum(made)
        return Image(recipe, output, size, sha256)

    def _sum(self, made: Path) -> tuple[int, str]:
        """Size and sha256 of a file, which is on the disk afterwards."""
        digest, size = hashlib.sha256(), made.stat().st_size
        with made.open("rb") as file, self._progress.step("Summing up", size, "bytes") as task:
            while block := file.read(_CHUNK):
                digest.update(block)
                task.advance(len(block))
            os.fsync(file.fileno())
        return size, digest.hexdigest()


def check_sandbox(output: Path) -> None:
    """Raise :class:`EngineError` where no sandbox can be made: without Apptainer, and over something else."""
    find_program()
    if os.path.lexists(output):
        raise EngineError(
            f"{output} is there already, and may hold somebody's work",
            hint="Remove it, or name another with --output.",
        )


def unpack(image: Path, recipe: Recipe, output: Path, progress: Progress) -> Image:
    """Make the sandbox ``output`` of the SIF file ``image``, which was built from ``recipe``.

    Any user can do that who can run Apptainer. Raises :class:`EngineError` where there is none, or it fails.
    """
    check_sandbox(output)
    with _building(find_program(), ["--sandbox"], str(image.absolute()), image.parent, output, progress):
        pass
    return Image(recipe, output, None)


@contextmanager
def _building(
    program: Program, options: list[str], source: str, folder: Path, output: Path, progress: Progress
) -> Iterator[Path]:
    """Run the program in ``folder`` and give what it made of ``source``, which then becomes ``output``."""
    # What an interrupted build leaves in its temporary folder, the program does not remove: it gets one of
    # its own.
    variable = f"{'APPTAINER' if program.is_apptainer else 'SINGULARITY'}_TMPDIR"
    with unfinished.folders(output, _temporary_folder(program), progress.note) as (beside, away):
        made = beside / "image"
        with Transcript(progress) as transcript:
            code = process.follow(
                [program.path, "build", *options, made.absolute(), source],
                transcript.line,
                env={**os.environ, variable: str(away)},
                cwd=folder,
            )
            if code != 0:
                raise failure(program, folder / FILENAME, transcript, code)
        try:
            yield made
            made.rename(output)
            atomic.sync_folder(output.parent)
        except OSError as error:
            raise atomic.cannot_write(output, error) from error


def _insecure(recipe: Recipe) -> list[str]:
    """Without TLS where a registry is on this machine: 127.0.0.0/8, ::1 and localhost, as Docker has it.

    The option is for all images of the build. Each is pinned by digest, so none can be another.
    """
    stages = recipe.stages
    images = (stages.build, stages.runtime) if stages else ()
    return ["--no-https"] if any(is_loopback(f"http://{image.registry}") for image in images) else []


def _temporary_folder(program: Program) -> Path:
    """Where the program would have its temporary files."""
    names = ["SINGULARITY_TMPDIR"]
    if program.is_apptainer:
        names.insert(0, "APPTAINER_TMPDIR")
    given = next(filter(None, map(os.environ.get, names)), None)
    return Path(given or tempfile.gettempdir())
