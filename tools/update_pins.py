"""Look up again what recipes download: Miniforge with its hashes, and the image under environments.

Writes ``envpack/recipes/pins.toml``, or nothing if a single value cannot be had. Run by
``nox -s update_pins``.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

from envpack import atomic, config
from envpack.bases.registry import Registry
from envpack.cache import Cache
from envpack.config import Config
from envpack.download import Downloader
from envpack.errors import EnvpackError, IntegrityError
from envpack.platforms import PLATFORMS
from envpack.progress import Quiet
from envpack.recipes import pins

LATEST = "https://api.github.com/repos/conda-forge/miniforge/releases/latest"
FILE = Path(pins.__file__).with_name("pins.toml")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def updated(text: str, settings: Config, latest: str = LATEST) -> str:
    """``text``, a ``pins.toml``, with the values of today; comments and order stay.

    ``latest`` is the address of the release in GitHub's form. The hashes are those that the release
    publishes beside each installer. Raises :class:`EnvpackError` when something cannot be looked up.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pins.toml"
        path.write_text(text, "utf-8")
        old = pins.load(path)
        with Downloader(settings, Quiet()) as downloader:
            version = str(json.loads(downloader.get(latest).body)["tag_name"])
            if not _VERSION.fullmatch(version):
                raise IntegrityError(f"{latest} names no version: {version!r}")
            text = _with(text, "version", version)
            for subdir in old.sha256:
                url = old.url.replace("{version}", version).replace("{machine}", PLATFORMS[subdir].machine)
                digits = downloader.get(f"{url}.sha256").body.decode("ascii", "replace").split()[:1]
                if not digits or not _SHA256.fullmatch(digits[0]):
                    raise IntegrityError(f"{url}.sha256 holds no sha256")
                text = _with(text, subdir, digits[0])
            registry = Registry(settings, downloader, Cache(Path(folder) / "cache"))
            return _with(text, "digest", str(registry.digest(old.runtime)))


def _with(text: str, key: str, value: str) -> str:
    new, count = re.subn(rf'^{re.escape(key)} = ".*"$', f'{key} = "{value}"', text, flags=re.MULTILINE)
    assert count == 1, key
    return new


def main() -> int:
    """Rewrite the file; gives the exit code."""
    before = FILE.read_text("utf-8")
    try:
        after = updated(before, config.load())
    except EnvpackError as error:
        print(f"update_pins: {error.what}: {error.why or ''}", file=sys.stderr)
        return error.exit_code
    atomic.write(FILE, after.encode())
    print("nothing changed" if after == before else f"{FILE} has new pins: look at them, then update_recipes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
