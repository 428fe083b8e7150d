"""Packages' link scripts, run in the image before it is one: what they made becomes a segment of it.

Base and packages are assembled as a squashfs file, which :mod:`envpack.namespace` mounts, with something
writable over it; where it cannot be mounted, it is unpacked. There the scripts run, one by one, as conda and
rattler run them, without a network and without anything of the host or of its settings. The segment depends
on all segments below it and on the image's date; as long as these are the same, nothing is run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from envpack.content.bytecode import source_of
from envpack.content.conda_archive import CondaArchive
from envpack.engines.native.linking import LinkScript
from envpack.engines.native.segments import Segments
from envpack.entry import WHITEOUT, Entry, Kind, file, whiteout
from envpack.errors import EngineError, Problem
from envpack.formats.squashfs.image import assemble
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.merged import Merged
from envpack.formats.squashfs.options import Options
from envpack.formats.squashfs.reader import Squashfs
from envpack.ledger import Action, Ledger
from envpack.lockfile import LockedPackage
from envpack.namespace import program
from envpack.namespace.changing import Changed, NotDone, Outcome, Plan, Run, change
from envpack.namespace.unpacked import write_entries
from envpack.progress import Progress
from envpack.recipe import Recipe
from envpack.recipes import activation, singularity_d

# Part of the key: raise it when the same scripts may give something else than before.
_VERSION = 1
_LABEL = "org.envpack.link-scripts"
_SHOWN = 20
_LINES = 10
_SAID = "said.json"
_FLAGS = slice(4, 8)
# As conda and rattler do it: in the activated environment, in the shell that activated it.
_ACTIVATE = """\
for envpack_script in "$PREFIX"/etc/conda/activate.d/*.sh; do
    if [ -f "$envpack_script" ]; then
        . "$envpack_script"
    fi
done
envpack_script=$1
shift
. "$envpack_script"
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What link scripts made: a segment, the paths that are there afterwards, and labels of the image."""

    segment: Segment
    paths: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Said:
    """What is said of a run that may have been long ago: each script's message, and paths that are lost."""

    messages: Sequence[str]
    outside: Sequence[str]


@dataclass(slots=True)
class LinkScripts:
    """Runs the link ``scripts`` of one image, in the order in which packages are linked.

    ``below`` are the segments of the base and of the packages that conda installs, ``archives`` has their
    files, ``folder`` is the build's own.
    """

    scripts: Sequence[LinkScript]
    below: Sequence[Segment]
    archives: Mapping[LockedPackage, Path]
    recipe: Recipe
    segments: Segments
    options: Options
    folder: Path
    progress: Progress
    _changed: Changed | None = field(default=None, init=False)

    def made(self, ledger: Ledger) -> Made:
        """What they made: now, or when it was first asked for. Findings tell of each script.

        Raises :class:`EngineError` when a script fails, when the image is for another machine, and when this
        one does not let users have namespaces.
        """
        recipe = self.recipe
        if not recipe.platform.is_host:
            raise EngineError(
                f"link scripts for {recipe.platform.subdir} cannot run on this machine",
                problems=[Problem(f"{script.owner}: {script.path}") for script in self.scripts],
                hint=f"Build on a machine of the platform {recipe.platform.subdir}, or with "
                "--skip-link-scripts: what they would have made is then missing from the image.",
            )
        key = (
            str(_VERSION), recipe.prefix, recipe.name, str(recipe.epoch),
            *(segment.path.name for segment in self.below),
            *(script.path for script in self.scripts),
        )  # fmt: skip
        segment = Segment.open(self.segments.get(("link scripts", *key), self._entries))
        said_in = self.segments.get(("what link scripts said", *key), self._said)
        text = Merged([Segment.open(said_in)]).read(_SAID, 1 << 30)
        assert text is not None
        self._report(_Said(**json.loads(text)), ledger)
        present = [e.path for e in segment.index.entries() if e.xattrs != WHITEOUT]
        owners = dict.fromkeys(script.owner.replace(" ", "=") for script in self.scripts)
        return Made(segment, tuple(present), {_LABEL: " ".join(owners)})

    def _entries(self) -> Iterable[Entry]:
        return without_stale_bytecode(self._run().inside, self._paths)

    def _said(self) -> Iterable[Entry]:
        changed = self._run()
        said = _Said([outcome.message for outcome in changed.outcomes], changed.outside)
        return [file(_SAID, json.dumps(asdict(said)).encode())]

    def _paths(self) -> Iterator[str]:
        for segment in self.below:
            yield from segment.paths

    def _report(self, said: _Said, ledger: Ledger) -> None:
        for script, message in zip(self.scripts, said.messages, strict=True):
            ledger.add(Action.KEPT, script.owner, f"its link script {script.path} was run")
            if message.strip():
                ledger.add(Action.NEEDS_YOU, script.owner, f"its link script says: {message.strip()}")
        for path in said.outside[:_SHOWN]:
            ledger.add(
                Action.DROPPED,
                f"/{path}",
                f"packages' link scripts changed it, and of what they do only {self.recipe.prefix} is kept",
            )
        if len(said.outside) > _SHOWN:
            more = len(said.outside) - _SHOWN
            ledger.add(Action.DROPPED, f"{more} more paths", f"as these, outside of {self.recipe.prefix}")

    def _run(self) -> Changed:
        if self._changed is None:
            self.segments.settle()
            image = self.folder / "before-link-scripts.sqfs"
            mount_points = self.segments.write("link-scripts-mount-points", singularity_d.mount_points())
            with image.open("w+b") as out:
                assemble(out, 0, [mount_points, *self.below], self.options, self.recipe.epoch)
            with self.progress.step("Running link scripts", len(self.scripts)) as task:
                changed = self._change(image, lambda number: task.advance(1 if number else 0))
                task.advance()
            image.unlink()
            self._check(changed.outcomes)
            self._changed = changed
        return self._changed

    def _change(self, image: Path, on_run: Callable[[int], None]) -> Changed:
        """Run them with the image mounted, else unpacked."""
        mounting = program.squashfuse(image, 0)
        why = "there is no squashfuse or no /dev/fuse"
        if mounting:
            try:
                return change(self._plan(mounting, ""), self.folder / "mounted", on_run)
            except NotDone as error:
                why = str(error)
                if error.failed["step"] == "unshare":
                    raise _cannot_run(error) from None
        unpacked = self.folder / "unpacked"
        self.progress.note(f"the image is unpacked for its link scripts, for it cannot be mounted: {why}")
        with image.open("rb") as opened:
            for _ in write_entries(Squashfs(opened, 0).entries(), unpacked):
                pass
        try:
            return change(self._plan((), str(unpacked)), self.folder / "written", on_run)
        except NotDone as error:
            raise _cannot_run(error) from None

    def _plan(self, mounting: tuple[str, ...], unpacked: str) -> Plan:
        runs = tuple(self._planned(script) for script in self.scripts)
        log = str(self.folder / "link-scripts.log")
        return Plan(mounting, unpacked, self.recipe.prefix, log, runs)

    def _planned(self, script: LinkScript) -> Run:
        prefix, path = self.recipe.prefix, f"/{script.path}"
        arguments = (path,) if script.is_pre_link else ("-c", _ACTIVATE, path, path)
        shells = ("/bin/bash", f"{prefix}/bin/bash", "/bin/sh")
        environment = self._environment(script)
        return Run(shells, arguments, environment, f"{prefix}/bin", f"{prefix}/.messages.txt")

    def _environment(self, script: LinkScript) -> dict[str, str]:
        """What conda sets; and what would be the user's own, the same everywhere."""
        prefix, package = self.recipe.prefix, script.package
        number = CondaArchive.open(self.archives[package]).index.get("build_number", 0)
        return {
            "PREFIX": prefix,
            "ROOT_PREFIX": prefix,
            **({"SOURCE_DIR": prefix} if script.is_pre_link else {}),
            "PKG_NAME": package.name,
            "PKG_VERSION": package.version,
            "PKG_BUILDNUM": str(number),
            "CONDA_PREFIX": prefix,
            "CONDA_DEFAULT_ENV": self.recipe.name,
            "CONDA_SHLVL": "1",
            "PATH": f"{prefix}/bin:{activation.DEFAULT_PATH}",
            "HOME": "/tmp",  # noqa: S108 the container's own
            "USER": "root",
            "LOGNAME": "root",
            "TERM": "dumb",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": str(self.recipe.epoch),
        }

    def _check(self, outcomes: Sequence[Outcome]) -> None:
        problems = [
            Problem(
                f"{script.owner}: {script.path} ended with exit code {outcome.code}",
                why="\n".join(outcome.output.strip().splitlines()[-_LINES:]) or None,
            )
            for script, outcome in zip(self.scripts, outcomes, strict=True)
            if outcome.code
        ]
        if problems:
            raise EngineError(
                "packages' link scripts failed",
                problems=problems,
                hint="If they need a network or the host, build with --engine docker or --engine apptainer; "
                "--skip-link-scripts leaves them out.",
            )


def without_stale_bytecode(entries: Sequence[Entry], present: Callable[[], Iterable[str]]) -> Iterator[Entry]:
    """The entries without bytecode that python would take for another's, or make anew at each import.

    ``.pyc`` files by date are left out: all files of an image have one. Bytecode of ``present`` files, which
    python trusts without a look at the source, goes where its source was changed.
    """
    sources = {entry.path for entry in entries if entry.path.endswith(".py")}
    if sources:
        yield from (whiteout(path) for path in sorted(present()) if source_of(path) in sources)
    by_date = {e.path for e in entries if source_of(e.path) and e.kind is Kind.FILE and _is_by_date(e)}
    for entry in entries:
        first = entry.target if entry.kind is Kind.HARDLINK else entry.path
        if first not in by_date:
            yield entry


def _is_by_date(entry: Entry) -> bool:
    """Whether this is a ``.pyc`` that python compares with its source's date (PEP 552); whiteouts are not."""
    if entry.xattrs == WHITEOUT:
        return False
    head = b""
    for chunk in entry.chunks:
        head += chunk[:8]
        if len(head) >= _FLAGS.stop:
            break
    return head[_FLAGS] == bytes(4)


def _cannot_run(error: NotDone) -> EngineError:
    what = "packages' link scripts cannot run on this machine"
    return program.step_failed(what, error.failed, "Build with --engine docker or --engine apptainer")
