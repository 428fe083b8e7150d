"""One wording for every archive that cannot be read as what it should be."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envpack.cache import archive_name
from envpack.errors import IntegrityError


def damaged(path: Path, why: str) -> IntegrityError:
    """The error for the archive ``path``: ``why`` says what is wrong with it, and where inside."""
    return IntegrityError(
        f"{archive_name(path)} is damaged",
        why=why,
        hint=f"Delete {path} and run the same command again: it is fetched anew. "
        "If it fails again, the package is broken where it comes from.",
    )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what decoders raise on bad bytes of ``path`` into :class:`IntegrityError`."""
    from zstandard import ZstdError

    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        ZstdError,
        NotImplementedError,
    ) as error:
        raise damaged(path, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno is None:  # how bz2 and gzip report bad bytes
            raise damaged(path, str(error)) from error
        raise
