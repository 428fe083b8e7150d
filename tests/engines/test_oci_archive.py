"""The native engine's OCI archive in the hands of Docker, podman, skopeo and Apptainer.

All of them get the same environment as the SIF image has: every path with its mode, date, content and target.
Owners are left out: Apptainer, which need not be root, gives all files to who converts the image.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from envpack import lockfile
from tests.conftest import Served
from tests.engines.docker import Docker
from tests.standins.settings import config_toml

pytestmark = pytest.mark.engines

ENVIRONMENT = """\
name: loaded
channels: [conda-forge]
dependencies: [python, six, links_demo, activate_demo, hello_prefix, pip: [humanize]]
variables: {GREETING: "it's $HOME"}
"""
VERSIONS = """\
import importlib.metadata as m, json, platform
print(json.dumps({"python": platform.python_version(), **{n: m.version(n) for n in ("six", "humanize")}}))
"""
VARIABLES = "import json, os; print(json.dumps(dict(os.environ)))"
YEAR_1980 = "315532800"  # the date in layers of what has none of its own
WALK = """\
import hashlib, json, os, sys
undated = int(sys.argv[1])
found = {}
for folder, names, files in os.walk("/opt/env"):
    for path in [os.path.join(folder, name) for name in names + files] + [folder]:
        s = os.lstat(path)
        about = [oct(s.st_mode), None if int(s.st_mtime) == undated else int(s.st_mtime)]
        if os.path.islink(path):
            about.append(os.readlink(path))
        elif os.path.isfile(path):
            about += [s.st_nlink, hashlib.sha256(open(path, "rb").read()).hexdigest()]
        found[path] = about
json.dump(found, sys.stdout)
"""
EXPECTED = {
    "CONDA_PREFIX": "/opt/env",
    "CONDA_DEFAULT_ENV": "loaded",
    "CONDA_SHLVL": "1",
    "PYTHONNOUSERSITE": "1",
    "ACTIVATE_DEMO_HOME": "/opt/env/share/activate_demo",
    "SSL_CERT_FILE": "/opt/env/ssl/cacert.pem",
}
AWKWARD = ["a b", "*", "", "$HOME", "'", '"', "\\", "--flag"]
ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(channel: Served, registry: Served) -> Iterator[Path]:
    """A project with both images; in /tmp, which the unprivileged user sees and may write to."""
    with tempfile.TemporaryDirectory(prefix="envpack-oci-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o777)
        (path / "environment.yml").write_text(ENVIRONMENT)
        (path / "script.py").write_text(ARGUMENTS)
        settings = path / "config.toml"
        settings.write_text(config_toml(path / "cache", channel.url, registry.url))
        environment = {**os.environ, "ENVPACK_CONFIG": str(settings)}
        for arguments in (["lock"], ["build"], ["build", "--format", "oci"]):
            subprocess.run(
                [sys.executable, "-m", "envpack", *arguments],
                cwd=path, env=environment, check=True, capture_output=True,
            )  # fmt: skip
        yield path


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    return folder / "images" / "loaded.oci.tar"


@pytest.fixture(scope="module")
def in_docker(docker: Docker, archive: Path) -> Callable[..., str]:
    assert "Loaded image: loaded:latest" in docker("load", "-i", archive).stdout
    return lambda *words: docker("run", "--rm", "--network", "none", "loaded", *words).stdout


@pytest.fixture(scope="module")
def podman() -> Iterator[Sequence[str]]:
    """podman with a store of its own."""
    assert shutil.which("podman"), "there is no podman: run `nox -s engines` as root, or install it"
    with ExitStack() as stack:
        names = [stack.enter_context(tempfile.TemporaryDirectory(prefix="envpack-podman-")) for _ in "ab"]
        command = [
            "podman", "--root", names[0], "--runroot", names[1], "--cgroup-manager", "cgroupfs",
            "--runtime", "runc", "--events-backend", "none",
        ]  # fmt: skip
        yield command
        run(*command, "rmi", "--all", "--force")


@pytest.fixture(scope="module")
def in_podman(podman: Sequence[str], archive: Path) -> Callable[..., str]:
    assert "docker.io/library/loaded:latest" in run(*podman, "load", "-i", archive)
    # Its own limits may be above this machine's, which not even root may raise in a container.
    options = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    return lambda *words: run(*podman, "run", "--rm", "--network", "none", *options, "loaded", *words)


@pytest.fixture(scope="module")
def converted(folder: Path, archive: Path, apptainer: list[str]) -> Path:
    """What Apptainer makes of the archive."""
    path = folder / "converted.sif"
    run(*apptainer, "build", path, f"oci-archive:{archive}")
    return path


@pytest.fixture(scope="module")
def in_apptainer(converted: Path, apptainer: list[str]) -> Callable[..., str]:
    return lambda *words: run(*apptainer, "exec", "--cleanenv", converted, *words)


@pytest.fixture(scope="module")
def in_sif(folder: Path, apptainer: list[str]) -> Callable[..., str]:
    """The SIF image of the native engine."""
    return lambda *words: run(*apptainer, "exec", "--cleanenv", folder / "images" / "loaded.sif", *words)


@pytest.fixture(scope="module")
def sif_environment(in_sif: Callable[..., str], folder: Path) -> dict[str, object]:
    pins = lockfile.read(folder / "lockfiles/loaded.conda-lock.yml").pins
    assert pins is not None
    found: dict[str, object] = json.loads(in_sif("python", "-I", "-c", WALK, str(pins.epoch)))
    return found


@pytest.fixture(params=["in_docker", "in_podman", "in_apptainer"])
def inside(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Runs a program in the image, in each engine."""
    runner: Callable[..., str] = request.getfixturevalue(request.param)
    return runner


def test_python_has_the_locked_versions(inside: Callable[..., str], folder: Path) -> None:
    locked = {p.name: p.version for p in lockfile.read(folder / "lockfiles/loaded.conda-lock.yml").packages}
    found = json.loads(inside("python", "-c", VERSIONS))
    assert found == {name: locked[name] for name in found}


def test_the_environment_is_that_of_the_sif_image(
    inside: Callable[..., str], sif_environment: dict[str, object]
) -> None:
    assert len(sif_environment) > 1000
    assert json.loads(inside("python", "-I", "-c", WALK, YEAR_1980)) == sif_environment


def test_the_variables_are_set(inside: Callable[..., str]) -> None:
    found = json.loads(inside("python", "-c", VARIABLES))
    assert {name: found.get(name) for name in EXPECTED} == EXPECTED
    assert found["PATH"].split(":")[0] == "/opt/env/bin"


def test_values_are_not_expanded(in_docker: Callable[..., str], in_podman: Callable[..., str]) -> None:
    """Apptainer does expand variables of images that it converts, and arguments too."""
    for runner in (in_docker, in_podman):
        assert json.loads(runner("python", "-c", VARIABLES))["GREETING"] == "it's $HOME"


def test_docker_exec_sees_the_same_variables(docker: Docker, in_docker: Callable[..., str]) -> None:
    container = docker("run", "-d", "--rm", "--network", "none", "loaded", "sleep", "300").stdout.strip()
    try:
        of_exec = json.loads(docker("exec", container, "python", "-c", VARIABLES).stdout)
    finally:
        docker("kill", container)
    of_run = json.loads(in_docker("python", "-c", VARIABLES))
    for found in (of_exec, of_run):
        for name in ("HOSTNAME", "HOME", "PWD", "SHLVL", "_"):
            found.pop(name, None)
    assert of_exec == of_run


def test_docker_runs_scripts_options_and_programs(
    docker: Docker, in_docker: Callable[..., str], folder: Path
) -> None:
    mounted = ["run", "--rm", "--network", "none", "-v", f"{folder}:/work", "-w", "/work", "loaded"]
    assert json.loads(docker(*mounted, "script.py", *AWKWARD).stdout) == AWKWARD
    assert json.loads(in_docker("-c", ARGUMENTS, *AWKWARD)) == AWKWARD
    assert in_docker("sh", "-c", 'printf "%s|" "$@"', "sh", *AWKWARD) == "".join(f"{a}|" for a in AWKWARD)
    assert (
        docker("run", "--rm", "--network", "none", "loaded", "sh", "-c", "exit 7", check=False).returncode
        == 7
    )


def test_docker_variables_of_the_user_win(docker: Docker, in_docker: Callable[..., str]) -> None:
    given = {"SSL_CERT_FILE": "/mine", "GREETING": "", "PYTHONPATH": "/x"}
    options = [part for name, value in given.items() for part in ("-e", f"{name}={value}")]
    done = docker("run", "--rm", "--network", "none", *options, "loaded", "python", "-c", VARIABLES)
    assert given.items() <= json.loads(done.stdout).items()


def test_docker_s_image_is_as_large_as_its_content(docker: Docker, in_docker: Callable[..., str]) -> None:
    paths = "(os.path.join(top, name) for top, _, names in os.walk('/opt/env') for name in names)"
    environment = int(
        in_docker("python", "-c", f"import os; print(sum(os.lstat(p).st_size for p in {paths}))")
    )
    layers = docker("image", "inspect", "-f", "{{.Size}}", "loaded").stdout
    history = docker(
        "history", "--no-trunc", "--human=false", "--format", "{{.Size}}", "loaded"
    ).stdout.split()
    base = int(history[-1])
    assert int(layers) <= 1.03 * (base + environment)


def test_skopeo_copies_both_kinds_of_archive(folder: Path, archive: Path) -> None:
    copied = []
    for kind in ("oci-archive", "docker-archive"):
        target = folder / kind
        run("skopeo", "copy", "--insecure-policy", f"{kind}:{archive}", f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_bytes())
        copied.append(manifest["config"]["digest"])
    assert copied[0] == copied[1], "one image, whichever manifest leads to it"


def test_apptainer_runs_the_converted_image(converted: Path, apptainer: list[str], folder: Path) -> None:
    said = run(*apptainer, "run", "--bind", folder, converted, folder / "script.py", "a b", "*", "--flag")
    assert json.loads(said) == ["a b", "*", "--flag"]
