"""The ``conda`` of the Miniforge stand-in: ``conda create --prefix PREFIX --file EXPLICIT``, by py-rattler.

Runs inside images, with py-rattler and the standard library alone. It does what recipes ask of conda, and
refuses whatever else it is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

from pip._vendor import certifi

# py-rattler wants certificates before it downloads anything, and a base image may have none. conda brings its
# own, as pip does.
os.environ["SSL_CERT_FILE"] = certifi.where()

import rattler
from rattler import package_streaming

# What conda 24.9 and newer accept: a URL and a hash behind it.
LINE = re.compile(
    r"(?P<url>https?://\S+/(?P<name>[^/\s#]+(?:\.tar\.bz2|\.conda)))#(?:sha256:)?(?P<sha256>[0-9a-f]{64})"
)


def main() -> None:
    """Install what an explicit specification lists."""
    parser = argparse.ArgumentParser(prog="conda", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    create = commands.add_parser("create", allow_abbrev=False)
    create.add_argument("-y", "--yes", action="store_true", required=True)
    create.add_argument("-q", "--quiet", action="store_true")
    create.add_argument("-p", "--prefix", type=Path, required=True)
    create.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    if options.prefix.exists():
        sys.exit(f"conda (stand-in): {options.prefix} exists")
    packages = Path(sys.prefix) / "pkgs"
    packages.mkdir(exist_ok=True)
    lines = [line for line in options.file.read_text().splitlines() if line and not line.startswith("#")]
    if lines[:1] != ["@EXPLICIT"]:
        sys.exit(f"conda (stand-in): {options.file} is not an explicit specification")
    records = [record(line, packages) for line in lines[1:]]
    asyncio.run(
        rattler.install(
            records,
            options.prefix,
            cache_dir=packages / "cache",
            show_progress=False,
            execute_link_scripts=True,
        )
    )
    (options.prefix / "conda-meta" / "history").touch()


def record(line: str, folder: Path) -> rattler.RepoDataRecord:
    """Download one package, check it, and say what is in it."""
    found = LINE.fullmatch(line)
    if not found:
        sys.exit(f"conda (stand-in): not an explicit URL with a sha256: {line!r}")
    with urllib.request.urlopen(found["url"], timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != found["sha256"]:
        sys.exit(f"conda (stand-in): {found['url']} has another sha256")
    path = folder / found["name"]
    path.write_bytes(data)
    unpacked = folder / f"{found['name']}.d"
    package_streaming.extract(path, unpacked)
    index = unpacked / "info" / "index.json"
    made = rattler.PackageRecord.from_index_json(index, size=len(data), sha256=found["sha256"])
    channel = found["url"].rsplit("/", 2)[0]
    # By its address, which conda-meta records: the library fetches it once more.
    return rattler.RepoDataRecord(made, found["name"], found["url"], channel)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Without the interpreter's clean-up, in which the library's threads crash now and then.
    time.sleep(0.05)
    os._exit(0)
