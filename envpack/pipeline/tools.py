"""What an image's bytes depend on beside the lock's content: recorded in the lock, checked at the build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from envpack import __version__
from envpack.ledger import Action, Ledger

_SAME = "the image has the same content, but its bytes may differ"
_ANEW = "Or run `envpack lock --keep` to record what is here."


def current() -> dict[str, str]:
    """Name and version of everything that is recorded.

    ``segments`` is the number of how packages are linked and stored; ``zstandard`` is the distribution that
    brings the library ``zstd``.
    """
    import zstandard

    from envpack.engines.native.segments import LINKING
    from envpack.formats import library
    from envpack.formats.squashfs.segment_file import VERSION

    return {
        "envpack": __version__,
        "segments": f"{LINKING}.{VERSION}",
        "zlib": library.version("gzip"),
        "zstandard": zstandard.__version__,
        "zstd": library.version("zstd"),
    }


def check(pinned: Mapping[str, str], compression: Literal["zstd", "gzip"], ledger: Ledger) -> None:
    """Findings about what differs from the lock's pins and matters with ``compression``.

    A lock without pins promises nothing, and nothing is said.
    """
    here = current()
    if pinned.get("segments", here["segments"]) != here["segments"]:
        remedy = [f"Install envpack=={pinned['envpack']} to get the same."] if "envpack" in pinned else []
        why = f"another version of envpack made the lock: {_SAME}"
        ledger.add(Action.REPLACED, "envpack", why, remedy=" ".join([*remedy, _ANEW]))
    library = "zlib" if compression == "gzip" else "zstd"
    wanted = pinned.get(library, here[library])
    if wanted != here[library]:
        way = "Build with a python that has it to get the same."
        if library == "zstd" and "zstandard" in pinned:
            way = f"Install zstandard=={pinned['zstandard']} to get the same."
        why = f"the lock was made with it, and {here[library]} compresses here: {_SAME}"
        ledger.add(Action.REPLACED, f"{library} {wanted}", why, remedy=f"{way} {_ANEW}")
