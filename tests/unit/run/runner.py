"""Running images in a process of its own, as oneself or as an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Prints what envpack.run says, and gives its code; errors by their kind.
MAIN = """
import sys
from pathlib import Path
from envpack.errors import EnvpackError
from envpack.progress import Quiet
from envpack.run import parse_bind, run

class Notes(Quiet):
    def note(self, text):
        print("note:", text, file=sys.stderr)

image, *arguments = sys.argv[1:]
binds = []
while arguments[0].startswith("bind:"):
    binds.append(parse_bind(arguments.pop(0).removeprefix("bind:")))
try:
    sys.exit(run(Path(image), arguments, binds=binds, progress=Notes()))
except EnvpackError as error:
    print(type(error).__name__, error, sep=": ", file=sys.stderr)
    sys.exit(error.exit_code)
"""
# The tests may be root's, and python may lie where only root can read: uid 1000 with the right to read.
AS_USER: tuple[str, ...] = ()
if os.geteuid() == 0:
    AS_USER = (
        *("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    )


@dataclass
class Runner:
    """Runs an image in a process of its own, as someone, with some way to the image's files."""

    path: str
    prefix: tuple[str, ...]
    temporary: Path
    home: str = "/nonexistent"

    def command(self, image: Path, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-c", MAIN, str(image), *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        # setpriv is found through the PATH of the tests, everything that envpack looks for through this one
        return {"PATH": self.path, "TMPDIR": str(self.temporary), "HOME": self.home, **variables}

    def __call__(
        self, image: Path, *arguments: str, cwd: str | Path = "/", stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(image, *arguments),
            cwd=cwd,
            env=self.environment(**variables),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def left_behind(self) -> list[Path]:
        return sorted(self.temporary.glob("envpack-*/tmp/*"))


def make_runner(shared: Path, way: str, prefix: tuple[str, ...]) -> Runner:
    """A runner that finds squashfuse, or no program at all."""
    folder = Path(tempfile.mkdtemp(dir=shared))
    folder.chmod(0o777)
    programs = folder / "bin"
    programs.mkdir()
    if way == "mounted":
        found = shutil.which("squashfuse_ll") or shutil.which("squashfuse")
        assert found, "install squashfuse to run this test"
        (programs / Path(found).name).symlink_to(found)
    if prefix:
        setpriv = shutil.which(prefix[0])
        assert setpriv, f"{prefix[0]} is not installed"
        prefix = (setpriv, *prefix[1:])
    return Runner(str(programs), prefix, folder)
