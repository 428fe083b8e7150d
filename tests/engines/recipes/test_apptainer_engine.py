"""The engine that runs Apptainer: real Apptainer, as an ordinary user.

Where the tests run as root and Apptainer as somebody else (``hpc apptainer``), a program on PATH leads from
one to the other, and what is known of that user takes the place of what is found out about root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envpack import config
from envpack.engines import Image
from envpack.engines.apptainer import ApptainerEngine, unfinished
from envpack.engines.apptainer.facts import Facts
from envpack.errors import BaseImageError, EngineError, EnvpackError, IntegrityError
from envpack.ledger import Ledger
from envpack.pipeline.recipe import recipe_of
from envpack.progress import Quiet, Task
from tests.engines.recipes.conftest import Project, alone
from tests.engines.recipes.test_activation import ACTIVATED, CELL, EXPECTED, PRINT, check, started
from tests.engines.recipes.test_builds import PROGRAM
from tests.engines.recipes.test_builds import check as check_content

pytestmark = pytest.mark.engines

# `hpc` begins anew with variables and sees the folders of /tmp alone; its user is another one.
OTHER_USER = """\
#!/bin/sh
umask 022
if [ -d "$APPTAINER_TMPDIR" ]; then
    chmod 777 "$APPTAINER_TMPDIR"
fi
exec hpc env "APPTAINER_TMPDIR=$APPTAINER_TMPDIR" sh -c 'cd "$0" 2>/dev/null; exec apptainer "$@"' "$PWD" "$@"
"""
HPC = Facts(root=False, user="hpc", listed=True, newuidmap=True)


@dataclass
class Watching(Quiet):
    """Progress that remembers, and is interrupted at the beginning of a step."""

    interrupted_at: str = "nothing"
    said: list[str] = field(default_factory=list)

    def step(self, title: str, *arguments: object) -> Task:
        self.said.append(title)
        if title.startswith(self.interrupted_at):
            raise KeyboardInterrupt
        return super().step(title)

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Bench:
    """Where images are built: one folder for them, one for temporary files."""

    folder: Path
    project: Callable[[str, str], Project]
    settings: dict[str, str]
    facts: Facts | None

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def build(
        self,
        output: str,
        *,
        content: str = CELL[1],
        sandbox: bool = False,
        progress: Watching | None = None,
        change: Callable[[Path], None] = lambda _: None,
    ) -> Image:
        made = self.project(CELL[0], content)
        lock = made.folder / "lockfiles" / f"{made.name}.conda-lock.yml"
        recipe = recipe_of(made.lock, lock, None, None, config.load(self.settings))
        recipes = self.folder / f"recipes-{output}"
        shutil.rmtree(recipes, ignore_errors=True)
        recipes = alone(made.recipes, recipes)
        change(recipes)
        engine = ApptainerEngine(recipes, progress or Watching(), sandbox=sandbox, facts=self.facts)
        return engine.build(made.lock, recipe, self.images / output, Ledger())

    def left(self) -> list[str]:
        """The names of all that is in the folders."""
        return sorted(p.name for folder in ("images", "tmp") for p in (self.folder / folder).iterdir())


@pytest.fixture
def bench(
    work: Path,
    apptainer: list[str],
    project: Callable[[str, str], Project],
    settings: dict[str, str],
    shared_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    other = apptainer[0] == "hpc"
    for name in ("bin", "images", "tmp"):
        (shared_folder / name).mkdir()
        (shared_folder / name).chmod(0o777)
    if other:
        (shared_folder / "bin" / "apptainer").write_text(OTHER_USER)
        (shared_folder / "bin" / "apptainer").chmod(0o755)
        monkeypatch.setenv("PATH", f"{shared_folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("APPTAINER_TMPDIR", str(shared_folder / "tmp"))
    before = os.umask(0 if other else 0o022)
    try:
        yield Bench(shared_folder, project, settings, HPC if other else None)
    finally:
        os.umask(before)


def running(folder: Path) -> list[str]:
    """The processes that have something of ``folder`` in their command or as their own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            places = [str((entry / name).readlink()) for name in ("cwd", "root", "exe")]
        except OSError:
            continue
        if int(entry.name) != os.getpid() and any(str(folder) in text for text in (command, *places)):
            found.append(command)
    return found


def test_an_image_file(bench: Bench, apptainer: list[str]) -> None:
    progress = Watching()
    (bench.images / "env.sif").write_bytes(b"an older image")
    image = bench.build("env.sif", progress=progress)
    assert image.path == bench.images / "env.sif"
    content = image.path.read_bytes()
    assert (image.size, image.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert bench.left() == ["env.sif"]
    check(started([*apptainer, "exec", str(image.path), "python", "-c", PRINT]), EXPECTED | ACTIVATED)
    said = started([*apptainer, "run", str(image.path), "-W", "ignore", "-c", PROGRAM])
    check_content(said, bench.project(*CELL))
    if bench.facts:
        first = "as an ordinary user: with the ids of /etc/subuid, in a user namespace"
        assert progress.said[0].endswith(first)
        assert progress.said[0].startswith("apptainer 1.")
    for title in ("Unpacking the base image", "%post: /opt/conda/bin/conda create", "Writing the image"):
        assert any(said.startswith(title) for said in progress.said), progress.said


def test_a_sandbox_takes_more_packages(bench: Bench, apptainer: list[str]) -> None:
    image = bench.build("env.sandbox", content="conda-pip", sandbox=True)
    assert (image.path, image.size, image.sha256) == (bench.images / "env.sandbox", None, None)
    assert bench.left() == ["env.sandbox"]
    said = started([*apptainer, "exec", str(image.path), "python", "-W", "ignore", "-c", PROGRAM])
    check_content(said, bench.project(CELL[0], "conda-pip"))
    ask = "import dateutil, sys; print(dateutil.__file__.startswith(sys.prefix))"
    command = [*apptainer, "exec", str(image.path), "python", "-c", ask]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    install = f"pip install --quiet --no-cache-dir --index-url {bench.settings['UV_DEFAULT_INDEX']}"
    started([*apptainer, "exec", "--writable", str(image.path), *install.split(), "python-dateutil"])
    assert started(command) == "True\n"
    # And it may hold somebody's work from now on.
    with pytest.raises(EngineError, match="is there already") as caught:
        bench.build("env.sandbox", content="conda-pip", sandbox=True)
    assert "--output" in (caught.value.hint or "")
    assert started(command) == "True\n"
    # What programs of another id made there, its owner cannot remove but in a namespace of these ids.
    if bench.facts:
        theirs = "mkdir -m 700 /opt/theirs && touch /opt/theirs/file && chown -R 100:100 /opt/theirs"
        started([*apptainer, "exec", "--fakeroot", "--writable", str(image.path), "sh", "-c", theirs])
        rm = ["rm", "-rf", str(image.path)]
        assert subprocess.run([*apptainer[:-1], *rm], capture_output=True, check=False).returncode == 1
        started([*apptainer[:-1], *unfinished.REMOVE, str(image.path)])
        assert bench.left() == []


def wrong_hash(recipes: Path) -> None:
    path = recipes / "requirements.txt"
    path.write_text(re.sub("sha256:....", "sha256:0000", path.read_text()))


def wrong_digest(recipes: Path) -> None:
    path = recipes / "Apptainer.def"
    path.write_text(re.sub("(?m)^(From: .*sha256:)....", r"\g<1>0000", path.read_text()))


@pytest.mark.parametrize("sandbox", [False, True], ids=["file", "sandbox"])
def test_a_command_that_fails(sandbox: bool, bench: Bench) -> None:
    (bench.images / "env.sif").write_bytes(b"an older image")
    output = "env.sandbox" if sandbox else "env.sif"
    with pytest.raises(IntegrityError) as caught:
        bench.build(output, content="conda-pip", sandbox=sandbox, change=wrong_hash)
    error = caught.value
    assert error.what.startswith("%post ended with exit status 1 at `/opt/env/bin/python -m pip install")
    assert error.what.endswith("a file does not have the recorded hash")
    assert error.where is not None
    assert error.where.line is not None
    text = Path(error.where.file).read_text().splitlines()
    assert text[error.where.line - 1].split()[:4] == ["/opt/env/bin/python", "-m", "pip", "install"]
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in (error.why or "")
    assert len((error.why or "").splitlines()) <= 15
    assert "envpack lock" in (error.hint or "")
    assert bench.left() == ["env.sif"]
    assert (bench.images / "env.sif").read_bytes() == b"an older image"


def test_an_image_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(BaseImageError, match="the registry does not have the image") as caught:
        bench.build("env.sif", change=wrong_digest)
    assert caught.value.where is not None
    assert caught.value.where.line is not None
    line = Path(caught.value.where.file).read_text().splitlines()[caught.value.where.line - 1]
    assert line.startswith("From: 127.0.0.1:")
    assert bench.left() == []


@pytest.mark.parametrize(
    ("step", "sandbox"),
    [
        ("Fetching", False),
        ("Unpacking", True),
        ("%post: /opt/conda/bin/conda", False),
        ("%post: /opt/conda/bin/conda", True),
        ("Copying /opt/env", False),
        ("Writing the image", False),
        ("Writing the sandbox", True),
    ],
)
def test_interrupted(step: str, sandbox: bool, bench: Bench) -> None:
    """By Ctrl-C, when the step begins."""
    progress = Watching(step)
    with pytest.raises(KeyboardInterrupt):
        bench.build("env", sandbox=sandbox, progress=progress)
    assert bench.left() == []
    for _ in range(50):
        if not running(bench.folder):
            break
        time.sleep(0.1)
    assert running(bench.folder) == []


def test_no_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bench.folder / "nothing"))
    with pytest.raises(EngineError, match="no apptainer and no singularity") as caught:
        bench.build("env.sif")
    assert "--engine docker" in (caught.value.hint or "")
    assert bench.left() == []


def test_an_unusable_temporary_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPTAINER_TMPDIR", str(bench.folder / "nothing"))
    with pytest.raises(EnvpackError, match=r"cannot write .*nothing"):
        bench.build("env.sif")
    assert bench.left() == []
