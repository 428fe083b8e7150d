"""The engine that has a real Docker daemon build recipes, with both builders."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from envpack import config
from envpack.cache import Cache
from envpack.engines import Image
from envpack.engines.docker import DockerEngine, Format
from envpack.errors import EngineError
from envpack.image import parse_reference
from envpack.ledger import Ledger
from envpack.pipeline.recipe import recipe_of
from envpack.platforms import get
from envpack.progress import Quiet, Task
from envpack.recipe import Recipe
from tests.conftest import Served
from tests.engines.docker import PATH, Docker
from tests.engines.recipes import test_activation
from tests.engines.recipes.conftest import Project, alone
from tests.engines.recipes.test_builds import PROGRAM, check

pytestmark = pytest.mark.engines

PIP = ("any-base", "conda-pip")
CONDA = ("any-base", "conda")
BUILDERS = ["classic", "buildkit"]
RUN = ("run", "--rm", "--network", "none")
PYTHON = ("python", "-W", "ignore", "-c", PROGRAM)


class Counted:
    """A step's amounts."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int = 1) -> None:
        self.done += amount

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@dataclass
class Watching(Quiet):
    """Progress that remembers."""

    steps: list[tuple[str, str, Counted]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step(self, title: str, total: int | None = None, unit: str = "items") -> Task:
        self.steps.append((title, unit, Counted()))
        return self.steps[-1][2]

    def note(self, text: str) -> None:
        self.notes.append(text)

    def titles(self) -> list[str]:
        return [title for title, _, _ in self.steps]


@dataclass
class Bench:
    """Builds recipes with the engine; ``watched`` is the last build's progress."""

    project: Callable[[str, str], Project]
    settings: dict[str, str]
    watched: Watching = field(default_factory=Watching)

    def recipe(self, cell: tuple[str, str]) -> Recipe:
        made = self.project(*cell)
        path = made.folder / "lockfiles" / f"{made.name}.conda-lock.yml"
        return recipe_of(made.lock, path, None, None, config.load(self.settings))

    def build(
        self,
        cell: tuple[str, str] = CONDA,
        format: Format = "docker",
        output: Path | None = None,
        *,
        tag: str = "built",
        push: bool = False,
        folder: Path | None = None,
        recipe: Recipe | None = None,
    ) -> Image:
        made, self.watched = self.project(*cell), Watching()
        cache = Cache(config.load(self.settings).cache)
        engine = DockerEngine(
            folder or made.recipes, self.watched, format=format, reference=parse_reference(tag),
            push=push, network="host", cache=cache,
        )  # fmt: skip
        ledger = Ledger()
        image = engine.build(made.lock, recipe or self.recipe(cell), output, ledger)
        assert not list(ledger)
        assert not list((cache.root / "tmp").glob("*"))
        return image


@pytest.fixture
def builder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The classic builder is what remains where there is no command line."""
    name: str = getattr(request, "param", "classic")
    monkeypatch.setenv("PATH", PATH if name == "buildkit" else str(tmp_path))
    return name


@pytest.fixture
def bench(
    builder: str,
    docker: Docker,
    project: Callable[[str, str], Project],
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    # Locked before PATH is changed for the builder's sake.
    for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    return Bench(project, settings)


@pytest.fixture
def base(plain_registry: Served) -> str:
    return f"{plain_registry.url.partition('//')[2]}/library/ubuntu:20.04"


def simple(folder: Path, dockerfile: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_the_image_is_what_the_lock_says(builder: str, bench: Bench, docker: Docker) -> None:
    tag = f"group/says-{builder}:1.0"
    image = bench.build(PIP, tag=tag)
    assert image.path is None
    assert str(image.reference) == f"docker.io/{tag}"
    about = json.loads(docker("image", "inspect", tag).stdout)[0]
    assert str(image.daemon_id) == about["Id"]
    assert image.size == about["Size"]
    check(docker(*RUN, tag, *PYTHON).stdout, bench.project(*PIP))
    titles = bench.watched.titles()
    # In any order: BuildKit speaks first of what it still has from an earlier build.
    first, second = sorted(title.partition(" …")[0] for title in titles if ": RUN " in title)
    assert first.startswith("Step 3/14: RUN printf '%s  %s\\n' ")
    assert second == "Step 7/14: RUN /opt/conda/bin/conda create --yes --quiet --prefix /opt/"
    assert any(title.startswith("Step 9/14: COPY --from=build") for title in titles)
    assert any("classic builder" in note for note in bench.watched.notes) == (builder == "classic")
    assert ("Storing the image" in titles) == (builder == "buildkit")


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_docker_exec_sees_what_the_entry_point_sets(builder: str, bench: Bench, docker: Docker) -> None:
    """What packages' scripts set, and values that no Dockerfile can hold."""
    tag = f"exec-{builder}"
    bench.build(CONDA, tag=f"{tag}:latest")
    (note,) = [n for n in bench.watched.notes if "docker exec" in n]
    named = {*test_activation.ACTIVATED, "HOSTILE_LINES"}
    assert note == f"set for `docker exec` too: {', '.join(sorted(named))}"
    container = docker("run", "-d", "--rm", "--network", "none", tag, "sleep", "300").stdout.strip()
    try:
        said = docker("exec", container, "python", "-c", test_activation.PRINT).stdout
        test_activation.check(said, test_activation.EXPECTED | test_activation.ACTIVATED)
    finally:
        docker("kill", container)
    settings = json.loads(docker("image", "inspect", tag).stdout)[0]["Config"]
    assert settings["Entrypoint"] == ["/bin/sh", "/usr/local/bin/entrypoint.sh"]
    assert settings["Cmd"] == ["/opt/env/bin/python"]
    assert "HOSTNAME" not in "".join(settings["Env"])
    assert settings["Labels"]["org.opencontainers.image.title"] == "any-base-conda"
    assert docker("ps", "--all", "--quiet").stdout == ""


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_a_step_that_fails(bench: Bench, docker: Docker, tmp_path: Path) -> None:
    before = docker("ps", "--all", "--quiet").stdout
    folder = alone(bench.project(*PIP).recipes, tmp_path / "recipe")
    requirements = folder / "requirements.txt"
    good = requirements.read_text()
    found = good.index("sha256:") + len("sha256:")
    requirements.write_text(f"{good[:found]}{'0' * 64}{good[found + 64 :]}")
    with pytest.raises(EngineError) as caught:
        bench.build(PIP, folder=folder)
    error = caught.value
    assert error.what.startswith("Docker failed in step 7 of 14 of the recipe: RUN /opt/conda/bin/conda")
    assert error.where is not None
    line = (folder / "Dockerfile").read_text().splitlines()[int(str(error.where.line)) - 1]
    assert error.where.file == str(folder / "Dockerfile")
    assert line.startswith("RUN /opt/conda/bin/conda create")
    said = str(error.why).splitlines()
    assert any(f"Expected sha256 {'0' * 64}" in text for text in said)
    assert said[-1] == "exit code 1"
    assert len(said) <= 16
    assert "not what the lock names" in str(error.hint)
    assert docker("ps", "--all", "--quiet").stdout == before


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
@pytest.mark.parametrize(
    ("dockerfile", "step", "line", "said", "hint"),
    [
        ("FROM {base}\nCOPY absent /x\n", "2 of 2", 2, "absent", "lacks a file"),
        ("FROM {base}9\n", "1 of 1", 1, "not found", "no such image"),
        ("FROM 127.0.0.1:{port}/x:1\n", "1 of 1", 1, "connection refused", "does not reach"),
        ("FROM {base}\nADD http://me:s3cret@127.0.0.1:{port}/x /x\n", "2 of 2", 2, "refused", "reach"),
        (
            "# one\nFROM {base} AS a\nFROM {base}\n\nRUN curl --fail http://127.0.0.1:{port}/x\n",
            "3 of 3",
            5,
            "exit code 7",
            "does not reach",
        ),
        ("FROM {base}\nRUN echo 'tar: x: No space left on device' && false\n", "2 of 2", 2, "x:", "prune"),
        ("FROM {base}\nRUN exit 3\n", "2 of 2", 2, "exit code 3", "docker build"),
    ],
    ids=["missing file", "no image", "no registry", "no server", "no network", "disk full", "other"],
)
def test_what_to_do(
    dockerfile: str, step: str, line: int, said: str, hint: str, bench: Bench, base: str, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = simple(tmp_path / "recipe", dockerfile.format(base=base, port=port))
    with pytest.raises(EngineError) as caught:
        bench.build(folder=folder)
    error = caught.value
    assert f"step {step} of the recipe" in error.what
    assert error.where is not None
    assert error.where.line == line
    assert said in str(error.why)
    assert hint in str(error.hint)
    assert "s3cret" not in str(error) + str(bench.watched.steps)


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_another_platform(
    bench: Bench, docker: Docker, base: str, plain_registry: Served, tmp_path: Path
) -> None:
    # Of the platform's own digest, as recipes have it: the classic builder takes what it has by that name.
    index = plain_registry.path / "index.json"
    while "manifests" in (found := json.loads(index.read_bytes())):
        wanted = [m for m in found["manifests"] if m.get("platform", {}).get("architecture") != "amd64"]
        digest = wanted[0]["digest"]
        index = plain_registry.path / "blobs" / digest.replace(":", "/")
    base = f"{base}@{digest}"
    recipe = replace(bench.recipe(CONDA), platform=get("linux-aarch64"))
    folder = simple(tmp_path / "recipe", f"FROM {base}\nCMD true\n")
    bench.build(tag="foreign", folder=folder, recipe=recipe)
    assert docker("image", "inspect", "-f", "{{.Architecture}}", "foreign").stdout.strip() == "arm64"
    # The header of a program for that platform.
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 183, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    (folder / "sh").write_bytes(header + bytes(56))
    (folder / "sh").chmod(0o755)
    simple(folder, f"FROM {base}\nCOPY sh /bin/sh\nRUN true\n")
    with pytest.raises(EngineError) as caught:
        bench.build(tag="foreign", folder=folder, recipe=recipe)
    assert "exec format error" in str(caught.value.why)
    assert "binfmt_misc" in str(caught.value.hint)


def test_the_archive_is_loaded_again(bench: Bench, docker: Docker, tmp_path: Path) -> None:
    output = tmp_path / "images" / "image.tar"
    image = bench.build(CONDA, "docker", output, tag="again:1.0")
    assert image.path == output
    assert image.size == output.stat().st_size
    assert image.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    [saved] = [counted for title, _, counted in bench.watched.steps if title == "Saving the image"]
    assert saved.done == image.size
    docker("rmi", "--force", "again:1.0")
    assert "Loaded image: again:1.0" in docker("load", "-i", output).stdout
    check(docker(*RUN, "again:1.0", *PYTHON).stdout, bench.project(*CONDA))


def test_the_oci_archive_is_the_same_image(bench: Bench, docker: Docker, tmp_path: Path) -> None:
    output = tmp_path / "image.oci.tar"
    image = bench.build(CONDA, "oci", output, tag="oci-again:1.0")
    assert image.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    skopeo = shutil.which("skopeo", path=PATH)
    assert skopeo
    inspect = [skopeo, "inspect", f"oci-archive:{output}"]
    said = subprocess.run(inspect, check=True, capture_output=True).stdout
    assert json.loads(said)["Digest"] == str(image.manifest)
    raw = subprocess.run([*inspect, "--config", "--raw"], check=True, capture_output=True).stdout
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == str(image.daemon_id)
    size = int(docker("image", "inspect", "-f", "{{.Size}}", "oci-again:1.0").stdout)
    assert output.stat().st_size < size / 2
    docker("rmi", "--force", "oci-again:1.0")
    assert "Loaded image: oci-again:1.0" in docker("load", "-i", output).stdout
    loaded = docker("image", "inspect", "-f", "{{.Id}}", "oci-again:1.0").stdout.strip()
    assert loaded == str(image.daemon_id)
    check(docker(*RUN, "oci-again:1.0", *PYTHON).stdout, bench.project(*CONDA))


@pytest.fixture
def sif(bench: Bench, shared_folder: Path) -> Image:
    return bench.build(CONDA, "sif", shared_folder / "image.sif", tag="for-sif")


def test_the_sif_image_runs_in_apptainer(
    sif: Image, bench: Bench, apptainer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", PATH)
    path = sif.path
    assert path is not None
    assert sif.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    started = test_activation.started
    check(started([*apptainer, "exec", str(path), *PYTHON]), bench.project(*CONDA))
    expected = test_activation.EXPECTED | test_activation.ACTIVATED
    for how in (["exec"], ["exec", "--cleanenv"]):
        said = started([*apptainer, *how, str(path), "python", "-c", test_activation.PRINT])
        test_activation.check(said, expected)
    said = started([*apptainer, "run", str(path), "-c", test_activation.ARGUMENTS, *test_activation.AWKWARD])
    assert json.loads(said) == test_activation.AWKWARD
    assert "Bootstrap: docker" in started([*apptainer, "inspect", "--deffile", str(path)])
    labels = started([*apptainer, "inspect", "--labels", str(path)])
    assert "org.opencontainers.image.title: any-base-conda" in labels
    tested = started([*apptainer, "test", str(path)]).splitlines()
    assert sif.recipe.imports == ("six", "yaml")
    assert [line.split()[0] for line in tested] == ["python", *sif.recipe.imports]


def test_push_and_pull_by_digest_with_bytes(
    bench: Bench, docker: Docker, plain_registry: Served, base: str, tmp_path: Path
) -> None:
    name = f"{plain_registry.url.partition('//')[2]}/group/pushed"
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "data").write_bytes(os.urandom(2_000_000))
    folder = simple(tmp_path / "recipe", f"FROM {base}\nCOPY data /data\nCMD cat /etc/hostname\n")
    image = bench.build(tag=f"{name}:1.0", push=True, folder=folder)
    assert image.manifest is not None
    pushed = [
        counted.done for title, unit, counted in bench.watched.steps if title.startswith("Pushing layer")
    ]
    assert any(done > 1_000_000 for done in pushed)
    docker("rmi", "--force", f"{name}:1.0")
    docker("pull", f"{name}@{image.manifest}")
    found = docker("image", "inspect", "-f", "{{.Id}}", f"{name}@{image.manifest}").stdout.strip()
    assert found == str(image.daemon_id)

    docker("rmi", "--force", found)
    bench.build(tag="pulled", folder=simple(folder, f"FROM {name}@{image.manifest}\nCMD true\n"))
    pulled = [counted.done for title, unit, counted in bench.watched.steps if title.startswith("Unpacking")]
    assert len(pulled) == 1
    assert pulled[0] > 0


def test_a_push_that_is_refused(bench: Bench, base: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    folder = simple(tmp_path / "recipe", f"FROM {base}\nCMD true\n")
    with pytest.raises(EngineError, match=f"Docker cannot push the image to {place}/group/x") as caught:
        bench.build(tag=f"{place}/group/x:1", push=True, folder=folder)
    assert "connection refused" in str(caught.value.why)


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_the_daemon_of_a_context(
    builder: str, bench: Bench, docker: Docker, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    docker("context", "create", "tests", "--docker", f"host={docker.host}")
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONTEXT", "tests")
    tag = f"context-{builder}"
    bench.build(tag=tag, folder=simple(tmp_path / "recipe", f"FROM {base}\nCMD true\n"))
    assert docker("image", "inspect", tag).returncode == 0


DRIVE = """\
import os, sys
from pathlib import Path
from envpack import config, lockfile
from envpack.cache import Cache
from envpack.engines.docker import DockerEngine
from envpack.image import parse_reference
from envpack.ledger import Ledger
from envpack.pipeline.recipe import recipe_of
from envpack.progress import Quiet
lock, folder, path = map(Path, sys.argv[1:4])
os.environ["PATH"] = sys.argv[4]
settings = config.load()
read = lockfile.read(lock)
engine = DockerEngine(folder, Quiet(), format="docker", reference=parse_reference("never"), network="host",
                      cache=Cache(settings.cache))
try:
    engine.build(read, recipe_of(read, lock, None, None, settings), path, Ledger())
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.read()  # what ends the build is not that this process ends
"""


def sleeping(seconds: str) -> bool:
    """Whether ``sleep`` runs for so long somewhere on this machine."""
    wanted = f"sleep\0{seconds}\0".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("builder", BUILDERS, indirect=True)
def test_an_interrupted_build_leaves_nothing(
    builder: str, bench: Bench, docker: Docker, base: str, tmp_path: Path
) -> None:
    seconds = {"classic": "86401", "buildkit": "86402"}[builder]
    folder = simple(tmp_path / "recipe", f"FROM {base}\nRUN sleep {seconds}\n")
    before = docker("ps", "--all", "--quiet").stdout
    made, output = bench.project(*CONDA), tmp_path / "images" / "never.tar"
    lock = made.folder / "lockfiles" / f"{made.name}.conda-lock.yml"
    path = PATH if builder == "buildkit" else str(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(lock), str(folder), str(output), path],
        env={**bench.settings, "DOCKER_HOST": docker.host},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: sleeping(seconds))
        child.send_signal(signal.SIGINT)
        assert child.stdout is not None
        assert child.stdout.readline() == "interrupted\n"
        wait_for(lambda: not sleeping(seconds))
        wait_for(lambda: docker("ps", "--all", "--quiet").stdout == before)
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()
    assert not output.parent.exists() or not list(output.parent.iterdir())
    assert docker("image", "inspect", "never", check=False).returncode != 0


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(150):
        if condition():
            return
        time.sleep(0.2)
    pytest.fail("it did not happen within 30 s")
