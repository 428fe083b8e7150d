"""What is asked for, from whichever source the user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from envpack.errors import UsageError
from envpack.ledger import Ledger
from envpack.pipeline import image_tree
from envpack.spec import EnvSpec


def specification(
    source: str | Path | None,
    *,
    directory: Path,
    stdin: bytes | None,
    name: str | None,
    platforms: Sequence[str],
    python: str | None,
    from_env: str | None = None,
    from_image: Path | None = None,
    ledger: Ledger,
) -> EnvSpec:
    """What is asked for, wherever that is written; raises :class:`UsageError` for two sources."""
    from envpack import sources

    if len([given for given in (source, from_env, from_image) if given is not None]) > 1:
        raise UsageError(
            "there is more than one source", hint="Give a SOURCE, --from-env or --from-image, and only one."
        )
    if from_env is not None:
        return sources.from_env(from_env, directory=directory, environ=os.environ, name=name, ledger=ledger)
    image = from_image
    if image is None and source is not None and source != sources.STDIN:
        image = directory / source if image_tree.is_image(directory / source) else None
    if image is not None:
        shown = str(from_image or source)
        with image_tree.opened(directory / image, shown) as tree:
            return sources.from_image(tree, shown=shown, name=name, ledger=ledger)
    return sources.read(
        source, directory=directory, stdin=stdin, name=name, python=python, platforms=platforms, ledger=ledger
    )
