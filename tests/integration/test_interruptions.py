"""Builds that are stopped anywhere, or share a cache: the next one gives the right image, and tidies up."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from envpack import config
from envpack.pipeline.cache import prune_cache
from tests.conftest import Served
from tests.integration.commands import Done, envpack, failed, leftovers, start, with_prelude
from tests.integration.conftest import Prepared, Project
from tests.standins import scripted
from tests.standins.scripted import Asked, Reply, Scripted
from tests.standins.settings import config_toml

# Sends itself a signal when it opens, renames or removes the so-manieth file whose path has a pattern.
STOPPER = """
import os, re, sys
pattern, left, number, whole_group = re.compile({pattern!r}), {count}, {number}, {group}
def hook(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and any(pattern.search(str(a)) for a in arguments[:2]):
        left -= 1
        if left == 0:
            (os.killpg if whole_group else os.kill)(os.getpgid(0) if whole_group else os.getpid(), number)
sys.addaudithook(hook)
"""


def stopping(pattern: str, number: int, count: int = 1, *, group: bool = False) -> tuple[str, ...]:
    return with_prelude(STOPPER.format(pattern=pattern, count=count, number=int(number), group=group))


def run(project: Project, command: Sequence[str]) -> Done:
    """Build in a process group of its own."""
    process = start("build", config=project.config, cwd=project.folder, command=command)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def completed(project: Project, expected: Prepared) -> None:
    """The same command gives the right image, and nothing temporary is left anywhere."""
    done = envpack("build", config=project.config, cwd=project.folder, check=False)
    assert done.returncode == 0, done.stderr
    assert sha256(project.image.read_bytes()).hexdigest() == expected.sha256
    assert leftovers(project.folder, project.cache) == []
    assert not list(project.cache.rglob("*.part"))


def processes_of(project: Project) -> list[str]:
    """Command lines of processes that still use the project's cache."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if str(project.cache).encode() in command:
            found.append(command.decode(errors="replace"))
    return found


STEPS = {
    "downloading": ("plain", r"\.part\b", 2),
    "unpacking the base image": ("plain", r"cache/tmp/\w+/\w{20}", 1),
    "starting python": ("with_python", r"cache/tmp/\w+/python-\w+/lib/", 2),
    "linking": ("with_python", r"cache/segments/", 12),
    "writing": ("plain", r"\.sif\.partial", 1),
    "renaming": ("plain", r"\.sif\.partial", 2),
}


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_and_sigterm(tmp_path: Path, step: str, request: pytest.FixtureRequest) -> None:
    """Ctrl-C goes to the whole process group, workers included; SIGTERM to the process alone."""
    name, pattern, count = STEPS[step]
    prepared: Prepared = request.getfixturevalue(name)
    project = prepared.copied(tmp_path)
    done = run(project, stopping(pattern, signal.SIGINT, count, group=True))
    failed(done, 130, "interrupted", "goes on from there")
    assert not project.image.exists()
    assert leftovers(project.folder, project.cache) == []
    assert processes_of(project) == []
    done = run(project, stopping(pattern, signal.SIGTERM))
    if done.returncode:  # what was finished before is not done again
        failed(done, 130, "stopped by SIGTERM", "goes on from there")
        assert leftovers(project.folder, project.cache) == []
    completed(project, prepared)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted.serving() as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_a_server_is_silent(
    plain: Prepared, tmp_path: Path, server: Scripted, registry: Served, number: int
) -> None:
    """A lock at the channel, then a build at the registry: neither waits for the server."""
    project = plain.copied(tmp_path, channel=server.url, registry=server.url)

    def silent(asked: Asked) -> Reply:
        server.asked.append(asked)
        return Reply(silent=True)

    server.reply = silent  # type: ignore[method-assign]  # this one server
    for command in ("lock", "build"):
        server.asked.clear()
        process = start(command, config=project.config, cwd=project.folder)
        while not server.asked:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=20)
        failed(subprocess.CompletedProcess([], process.returncode, out, err), 130, "goes on from there")
        assert leftovers(project.folder, project.cache) == []


def test_killed_again_and_again(with_python: Prepared, tmp_path: Path) -> None:
    """kill -9 leaves what it leaves; each run goes on from there, and the last one tidies up."""
    project = with_python.copied(tmp_path)
    chance = random.Random(4)
    for _ in range(4):
        done = run(project, stopping("cache/|partial", signal.SIGKILL, chance.randrange(5, 150)))
        assert done.returncode in (-signal.SIGKILL, 0)
        assert not project.image.exists() or (
            sha256(project.image.read_bytes()).hexdigest() == with_python.sha256
        )
    completed(project, with_python)
    assert processes_of(project) == []


# How many moments of a cold build are tried: 50 in all, most of them where a build takes a second.
MOMENTS = {"plain": 42, "with_python": 8}


@pytest.mark.parametrize("name", MOMENTS)
def test_killed_at_any_moment(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    """kill -9 of the whole process group, spread over the time that a build takes; then the same command."""
    prepared: Prepared = request.getfixturevalue(name)
    project = prepared.copied(tmp_path)
    began = time.monotonic()
    completed(project, prepared)
    duration = time.monotonic() - began
    chance = random.Random(50)
    killed, left = 0, 0
    for turn in range(MOMENTS[name]):
        shutil.rmtree(project.cache)
        project.image.unlink()
        process = start("build", config=project.config, cwd=project.folder)
        with suppress(subprocess.TimeoutExpired):
            process.wait(duration * (turn + chance.random()) / MOMENTS[name])
        with suppress(ProcessLookupError):  # it was faster this time
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 10  # the system takes a moment to end them
        while (running := processes_of(project)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert running == []
        if project.image.exists():
            assert sha256(project.image.read_bytes()).hexdigest() == prepared.sha256
        for path in leftovers(project.folder, project.cache):
            left += 1
            # A file that is to appear whole is written beside its place, on the same file system.
            assert path.parent == project.cache / "tmp" or path.name.endswith(".partial"), path
        completed(project, prepared)
        assert [path.name for path in project.image.parent.iterdir()] == [project.image.name]
        assert list((project.cache / "tmp").iterdir()) == []
    assert killed > MOMENTS[name] / 2, "else the moments are not spread over the build"
    assert left, "else nothing had to be tidied up"


def test_pruned_while_building(with_python: Prepared, tmp_path: Path) -> None:
    """All that is not in use is removed, over and over, and the build neither fails nor is another one."""
    project = with_python.copied(tmp_path, built=True)
    settings = config.load({"ENVPACK_CONFIG": str(project.config), "HOME": str(tmp_path)})
    for turn in range(3):
        if turn == 1:
            shutil.rmtree(project.cache / "segments")
        process = start("build", config=project.config, cwd=project.folder)
        pruned = 0
        while process.poll() is None:
            prune_cache(settings, max_size=0)
            pruned += 1
            time.sleep(0.02)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert pruned > 1
        assert sha256(project.image.read_bytes()).hexdigest() == with_python.sha256
        project.image.unlink()
    assert leftovers(project.folder, project.cache) == []


def test_a_lock_that_is_killed(plain: Prepared, tmp_path: Path) -> None:
    project = plain.copied(tmp_path)
    before = project.lock.read_bytes()
    (project.folder / "environment.yml").write_text(
        "name: plain\nchannels: [conda-forge]\ndependencies: [links_demo]\n"
    )
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = start(
            "lock", config=project.config, cwd=project.folder,
            command=stopping("lock.yml.partial", number),
        )  # fmt: skip
        process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 130)
        assert project.lock.read_bytes() == before
    envpack("lock", config=project.config, cwd=project.folder)
    assert b"links_demo" in project.lock.read_bytes()
    assert leftovers(project.folder, project.cache) == []


def test_several_builds_at_once(with_python: Prepared, tmp_path: Path) -> None:
    """Two of one project and one of another, with one cache that is empty."""
    one = with_python.copied(tmp_path)
    (tmp_path / "b").mkdir()
    two = with_python.copied(tmp_path / "b")
    two.config.write_text(config_toml(one.cache, with_python.channel, with_python.registry))
    running = [start("build", config=p.config, cwd=p.folder) for p in (one, two, one)]
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    for project in (one, two):
        assert sha256(project.image.read_bytes()).hexdigest() == with_python.sha256
        assert leftovers(project.folder, one.cache) == []
    assert not list(one.cache.rglob("*.part"))


def damage(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["index", "footer", "cut"])
def test_a_damaged_segment_is_made_anew(with_python: Prepared, tmp_path: Path, what: str) -> None:
    project = with_python.copied(tmp_path, built=True)
    for path in (project.cache / "segments").iterdir():
        size = path.stat().st_size
        if what in ("index", "footer"):
            damage(path, size - (150 if what == "index" else 20))
        else:
            os.truncate(path, size // 2)
    completed(project, with_python)


def test_damaged_archives_and_layers_are_told(with_python: Prepared, tmp_path: Path) -> None:
    """Wherever a byte is wrong: either it does not matter, or the file to delete is named."""
    project = with_python.copied(tmp_path, built=True)
    chance = random.Random(5)
    files = [p for p in (project.cache / "archives").rglob("*") if p.is_file()]
    files += [p for p in (project.cache / "blobs").rglob("*") if p.stat().st_size > 1 << 20]
    for path in chance.sample(files, 2) + files[-1:]:
        good = path.read_bytes()
        damage(path, chance.randrange(len(good)))
        for segment in (project.cache / "segments").iterdir():
            segment.unlink()
        done = envpack("build", config=project.config, cwd=project.folder, check=False)
        if done.returncode:
            failed(done, 6, path.name, str(path))
            assert not project.image.exists()
        else:
            assert sha256(project.image.read_bytes()).hexdigest() == with_python.sha256, path
            project.image.unlink()
        path.write_bytes(good)
    completed(project, with_python)


def test_damaged_repodata_is_fetched_anew(plain: Prepared, tmp_path: Path) -> None:
    project = plain.copied(tmp_path)
    envpack("lock", config=project.config, cwd=project.folder)
    before = project.lock.read_bytes()
    for path in (project.cache / "repodata").rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(b"\0" * 100)
    done = envpack("lock", config=project.config, cwd=project.folder, check=False)
    assert done.returncode == 0, done.stderr
    assert project.lock.read_bytes() == before
