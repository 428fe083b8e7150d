"""What a project wants in its image beside the packages: the model of ``envpack.toml`` and of what a lock
records of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from envpack.entry import is_safe_path
from envpack.image import Digest

# Stands unquoted in Dockerfiles and definition files, which have no quoting for paths.
_DESTINATION = re.compile(r"/[A-Za-z0-9._+@/-]+\Z")
_RUNTIME_S_OWN = (".singularity.d", "dev", "proc", "sys", "tmp")


@dataclass(frozen=True, slots=True)
class CopiedPath:
    """A file or folder of the project that is copied into the image.

    ``source`` is relative to the project's folder, ``destination`` absolute in the image; ``digest`` is that
    of the content (:mod:`envpack.content.project_files`). Raises :class:`ValueError` for a source that could
    lead out of the folder and for a destination that no image can have.
    """

    source: str
    destination: str
    digest: Digest

    def __post_init__(self) -> None:
        if not is_safe_path(self.source) or not self.source.isprintable():
            raise ValueError(f"{self.source!r} is not a path below the project's folder")
        if not _DESTINATION.match(self.destination) or not is_safe_path(self.destination[1:]):
            raise ValueError(
                f"{self.destination!r} is not an absolute path of letters, digits and . _ + @ / -"
            )
        if self.destination.split("/")[1] in _RUNTIME_S_OWN:
            raise ValueError(f"{self.destination!r} belongs to the container runtime")


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What is put into an image, and how it starts.

    ``apt`` are packages of a Debian-like base, ``NAME`` or ``NAME=VERSION``; ``variables`` are set on
    activation; ``labels`` are OCI annotation keys and values; ``files`` are in the order of their
    destinations; ``post`` are shell commands that are run when everything else is in place; ``runscript`` is
    the text of a POSIX shell script that takes the place of ``exec python "$@"``.
    """

    apt: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    files: tuple[CopiedPath, ...] = ()
    post: tuple[str, ...] = ()
    runscript: str | None = None

    def to_metadata(self) -> dict[str, str]:
        """A map of texts that :meth:`from_metadata` reads back; empty for settings that say nothing."""
        out = {f"file.{copied.destination}": f"{copied.digest} {copied.source}" for copied in self.files}
        out |= {f"label.{key}": value for key, value in self.labels.items()}
        out |= {f"variable.{name}": value for name, value in self.variables.items()}
        if self.apt:
            out["apt"] = " ".join(self.apt)
        if self.post:
            out["post"] = json.dumps(self.post, ensure_ascii=False)
        if self.runscript is not None:
            out["runscript"] = self.runscript
        return out

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ImageSettings:
        """Read the map back; raises :class:`ValueError` saying what is wrong with it."""
        post = json.loads(metadata.get("post", "[]"))
        if not isinstance(post, list) or not all(isinstance(command, str) for command in post):
            raise ValueError("the commands are not a list of texts")
        files = []
        for destination, text in sorted(_below(metadata, "file.").items()):
            digest, _, source = text.partition(" ")
            files.append(CopiedPath(source, destination, Digest(digest)))
        return cls(
            tuple(metadata.get("apt", "").split()),
            _below(metadata, "variable."),
            _below(metadata, "label."),
            tuple(files),
            tuple(post),
            metadata.get("runscript"),
        )


def _below(metadata: Mapping[str, str], start: str) -> dict[str, str]:
    return {key.removeprefix(start): value for key, value in metadata.items() if key.startswith(start)}
