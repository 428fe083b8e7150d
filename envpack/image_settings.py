"""What a project wants in its image beside the packages: the model of ``envpack.toml`` and of what a lock
records of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from envpack.image import Digest


@dataclass(frozen=True, slots=True)
class CopiedPath:
    """A file or folder of the project that is copied into the image.

    ``source`` is relative to the project's folder, ``destination`` absolute in the image; ``digest`` is that
    of the content (:mod:`envpack.content.project_files`).
    """

    source: str
    destination: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What is put into an image, and how it starts.

    ``apt`` are packages of a Debian-like base, ``NAME`` or ``NAME=VERSION``; ``variables`` are set on
    activation; ``labels`` are OCI annotation keys and values; ``post`` are shell commands that are run when
    everything else is in place; ``runscript`` is the text of a POSIX shell script that takes the place of
    ``exec python "$@"``.
    """

    apt: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    files: tuple[CopiedPath, ...] = ()
    post: tuple[str, ...] = ()
    runscript: str | None = None

    def digest(self) -> Digest:
        """A hash of all of it: equal settings have equal ones."""
        document = [
            list(self.apt),
            dict(self.variables),
            dict(self.labels),
            [[copied.source, copied.destination, str(copied.digest)] for copied in self.files],
            list(self.post),
            self.runscript,
        ]
        text = json.dumps(document, sort_keys=True)
        return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
