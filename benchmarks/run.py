"""What a lock and a build cost: wall time, peak memory and size, for the data stack.

Each row is a process of its own. ``cold`` has an empty cache (downloads included), ``warm`` repeats the build
with everything cached. The network is the demo's: the real one, or stand-ins on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.demo import ENVIRONMENT, network


def main() -> int:
    """Run the rows and print them as a Markdown table; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compression", action="append", choices=["zstd", "gzip"], help="default: both")
    compressions = parser.parse_args().compression or ["zstd", "gzip"]
    with tempfile.TemporaryDirectory(prefix="envpack-benchmark-") as temporary, network() as variables:
        project = Path(temporary)
        shutil.copy(ENVIRONMENT, project / "environment.yml")
        print("\n| what | wall s | peak MiB | MB |\n|---|---|---|---|")
        variables["ENVPACK_CACHE"] = str(project / "cache")
        row("lock", project, variables, "lock")
        for compression in compressions:
            variables["ENVPACK_CACHE"] = str(project / f"cache-{compression}")
            for state in ("cold", "warm"):
                arguments = ("build", "--compression", compression)
                row(f"build, {compression}, {state}", project, variables, *arguments)
    return 0


def row(what: str, project: Path, variables: Mapping[str, str], *arguments: str) -> None:
    """Run envpack once and print its row: seconds, the largest resident set, the size of the image."""
    program = Path(sys.executable).parent / "envpack"
    begun = time.monotonic()
    command = [str(program), *arguments, "--quiet"]
    process = subprocess.Popen(command, cwd=project, env=variables, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"envpack {' '.join(arguments)} ended with {code}")
    image = project / "images" / "data-stack.sif"
    size = f"{image.stat().st_size / 1e6:.1f}" if image.exists() else ""
    print(f"| {what} | {seconds:.1f} | {usage.ru_maxrss / 1024:.0f} | {size} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
