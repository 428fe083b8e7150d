"""The main job, shown: ``envpack lock && envpack build`` in a folder with an environment.yml.

Where conda-forge and Docker Hub answer, they are used. Where they do not, stand-ins for both are built and
served on 127.0.0.1, and the same commands run. Results stay in ``.demo/``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.standins import base, registry, server
from tests.standins.channel import channel
from tests.standins.settings import config_toml, hub_images, without_proxy
from tests.standins.store import StandInError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".demo"
ENVIRONMENT = ROOT / "tests" / "environments" / "data-stack.yml"
ANSWER_SECONDS = 5
# What answers where the real thing is reachable: a channel's index, a registry that wants a login.
REAL = {
    "conda-forge": ("https://conda.anaconda.org/conda-forge/noarch/repodata.json.zst", 200),
    "Docker Hub": ("https://registry-1.docker.io/v2/", 401),
}
# Runs in the image; its last line is read by this program too.
PROGRAM = """
import os, sys
import humanize, IPython, matplotlib, numpy, pandas, scipy
print("python", sys.version.split()[0], "in", sys.prefix)
for module in (numpy, scipy, pandas, matplotlib, IPython, humanize):
    print(module.__name__, module.__version__)
paths = [os.path.join(top, name) for top, _, names in os.walk(sys.prefix) for name in names]
print(len(paths), "files,", sum(os.lstat(path).st_size for path in paths), "bytes in", sys.prefix)
"""


def main() -> int:
    """Show it; gives the exit code."""
    begun = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    project = FOLDER / "project"
    project.mkdir(parents=True)
    shutil.copy(ENVIRONMENT, project / "environment.yml")
    try:
        with network() as environment:
            print(f"\n$ cd {project.relative_to(ROOT)} && cat environment.yml\n{ENVIRONMENT.read_text()}")
            envpack(project, environment, "lock")
            envpack(project, environment, "build")
            image = Path("images") / "data-stack.sif"
            files, size = inspected(envpack(project, environment, "run", str(image), "-c", PROGRAM))
    except StandInError as reason:
        print(f"demo: a stand-in cannot be built: {reason}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"demo: envpack {failed.cmd[1]} ended with {failed.returncode}", file=sys.stderr)
        return 1
    print(f"\nbefore  {files:>7,} files  {size / 1e6:8.1f} MB  the environment as a folder")
    after = (project / image).stat().st_size
    print(f"after   {1:>7,} file   {after / 1e6:8.1f} MB  {image}, base image included")
    print(f"in {time.monotonic() - begun:.0f} s, preparations included")
    return 0


@contextmanager
def network() -> Iterator[dict[str, str]]:
    """The environment variables to run envpack with: the user's, or those by which it meets stand-ins."""
    silent = [name for name, (url, status) in REAL.items() if not answers(url, status)]
    if not silent:
        print(f"{' and '.join(REAL)} answer: they are used.")
        yield dict(os.environ)
        return
    print(f"{' and '.join(silent)} cannot be reached from here, so both are stand-ins, on 127.0.0.1:")
    print("- conda-forge: this machine's CPython and libraries, and wheels from PyPI, as conda packages;")
    print("- Docker Hub: Debian's docker-registry, where every base image is one made of Debian's packages.")
    print("The lock made here is valid with these stand-ins only.")
    packages = built("conda packages", lambda: channel("data"))
    layout = built("base image", base.image)
    with server.serving(packages) as channel_url, registry.serving() as registry_url:
        for repository, tag in hub_images():
            registry.push(registry_url, repository, tag, layout)
        config = FOLDER / "config.toml"
        config.write_text(config_toml(FOLDER / "cache", channel_url, registry_url), "utf-8")
        yield {**without_proxy(os.environ), "ENVPACK_CONFIG": str(config)}


def built(name: str, build: Callable[[], Path]) -> Path:
    """What ``build`` builds, and a line of how long it took."""
    begun = time.monotonic()
    path = build()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"  {name}: {size / 1e6:.0f} MB in {time.monotonic() - begun:.0f} s, kept in {path}", flush=True)
    return path


def answers(url: str, status: int) -> bool:
    """Whether a server answers a request for ``url`` with ``status``."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == status)
    except urllib.error.HTTPError as error:
        return error.code == status
    except OSError:
        return False


def envpack(project: Path, environment: dict[str, str], *arguments: str) -> str:
    """Run one command as a user would type it; gives its standard output, which is shown too."""
    shown = [argument if "\n" not in argument else "…" for argument in arguments]
    print(f"\n$ envpack {shlex.join(shown)}", flush=True)
    program = Path(sys.executable).parent / "envpack"
    begun = time.monotonic()
    done = subprocess.run(
        [program, *arguments], cwd=project, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout.rstrip())
    print(f"({time.monotonic() - begun:.1f} s)", flush=True)
    return done.stdout


def inspected(output: str) -> tuple[int, int]:
    """How many files, and bytes in them, the program in the image counted."""
    files, _, size, *_ = output.splitlines()[-1].split()
    return int(files), int(size)


if __name__ == "__main__":
    sys.exit(main())
