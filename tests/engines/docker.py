"""A Docker daemon of the tests' own, and its command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.standins.store import StandInError
from tests.standins.tied import tied

START_SECONDS = 60
# Debian's own comes first: it has BuildKit built in, for which newer ones need a plugin.
PATH = f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}"


@dataclass(frozen=True)
class Docker:
    """The command line of one daemon."""

    host: str

    def __call__(
        self, *arguments: str | Path, check: bool = True, buildkit: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; its output is part of the error if it fails and must not."""
        program = shutil.which("docker", path=PATH)
        assert program, "there is no docker: run `nox -s engines` as root, or install docker.io"
        done = subprocess.run(
            [program, *map(str, arguments)],
            env={**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": str(int(buildkit))},
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done


@contextmanager
def daemon() -> Iterator[Docker]:
    """A daemon with nothing in it, while the context lasts; for others than root, the one they use."""
    if os.geteuid() != 0:
        yield Docker(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
        return
    program = shutil.which("dockerd", path=PATH)
    if not program:
        raise StandInError("there is no dockerd: run `nox -s engines` as root, or install docker.io")
    folder = Path(tempfile.mkdtemp(prefix="envpack-docker-", dir="/tmp"))
    docker = Docker(f"unix://{folder}/socket")
    # Builds and containers use the host's network or none, so the daemon needs no bridge and no firewall.
    command: list[str | Path] = [
        program, "--host", docker.host, "--data-root", folder / "data", "--exec-root", folder / "run",
        "--pidfile", folder / "pid", "--bridge", "none", "--iptables=false", "--ip-forward=false",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _wait(docker, process, folder / "log")
        yield docker
    finally:
        process.terminate()
        process.wait()
        _unmount(folder)
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """What the daemon leaves mounted when it ends: the network namespace that containers share."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in reversed(mounted):
        if path.startswith(f"{folder}/"):
            subprocess.run(["umount", path], check=True)


def _wait(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(START_SECONDS * 5):
        if process.poll() is not None:
            break
        if docker("info", check=False).returncode == 0:
            return
        time.sleep(0.2)
    raise StandInError(f"dockerd does not start: {log.read_text('utf-8')[-1000:]}")
