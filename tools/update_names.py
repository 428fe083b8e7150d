"""Fetch again which PyPI projects conda-forge's packages contain.

Writes ``envpack/locking/conda_pypi_names.json``, or nothing if what was fetched cannot be such a mapping. Run
by ``nox -s update_names``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from envpack import atomic, config
from envpack.config import Config
from envpack.download import Downloader
from envpack.errors import EnvpackError, IntegrityError
from envpack.locking import names
from envpack.progress import Quiet

PUBLISHED = "https://raw.githubusercontent.com/prefix-dev/parselmouth/main/files/v0/conda-forge/compressed_mapping.json"
FILE = Path(names.__file__).with_name("conda_pypi_names.json")


def updated(before: str, settings: Config, published: str = PUBLISHED) -> str:
    """The new text of the file that now has the text ``before``, from the mapping at ``published``.

    Raises :class:`EnvpackError` when the mapping cannot be had, makes no sense, or has lost a tenth of its
    packages since: half a file is no news.
    """
    with Downloader(settings, Quiet()) as downloader:
        body = downloader.get(published).body
    try:
        mapping = json.loads(body)
    except ValueError as error:
        raise IntegrityError(f"{published} is not JSON", why=str(error)) from error
    if not isinstance(mapping, dict) or not all(map(_is_entry, mapping.items())):
        raise IntegrityError(f"{published} does not map conda names to lists of PyPI names")
    new: Mapping[str, list[str]] = names.reduce(mapping)
    known = len(json.loads(before))
    if len(new) < 0.9 * known:
        raise IntegrityError(f"{published} names {len(new)} packages, where {known} were known")
    return names.render(new)


def _is_entry(entry: tuple[str, object]) -> bool:
    _, value = entry
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def main() -> int:
    """Rewrite the file; gives the exit code."""
    before = FILE.read_text("utf-8")
    try:
        after = updated(before, config.load())
    except EnvpackError as error:
        print(f"update_names: {error.what}: {error.why or ''}", file=sys.stderr)
        return error.exit_code
    atomic.write(FILE, after.encode())
    print("nothing changed" if after == before else f"{FILE} has changed: look at the difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
