"""What py-rattler does, as a program: ``install RECORDS PREFIX CACHE BAKED`` and ``extract ARCHIVE FOLDER``.

``RECORDS`` is JSON: for each archive on this disk its ``index.json``, name and URL. ``BAKED`` is the prefix
that files are told.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import rattler
from rattler import package_streaming


def main(action: str, *arguments: str) -> None:
    if action == "extract":
        package_streaming.extract(Path(arguments[0]), Path(arguments[1]))
        return
    records, prefix, cache, baked = arguments
    made = []
    for index, filename, url in json.loads(Path(records).read_text()):
        package = rattler.PackageRecord.from_index_json(Path(index))
        made.append(rattler.RepoDataRecord(package, filename, url, url.rsplit("/", 2)[0]))
    asyncio.run(
        rattler.install(
            made, prefix, cache_dir=Path(cache), show_progress=False, alternative_target_prefix=baked
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    # Without the interpreter's clean-up, in which the library's threads crash now and then.
    time.sleep(0.05)
    os._exit(0)
