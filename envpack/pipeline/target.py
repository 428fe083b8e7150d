"""What ``envpack build`` shall make: by which engine, in which format, under which name.

=========  ==========================================  ======================================
engine     formats, the first by default               compression, level
=========  ==========================================  ======================================
native     sif; sqfs; oci, docker (one archive);       chosen here
           sandbox
docker     docker (in the daemon); oci; sif            what the native engine has by default
apptainer  sif; sandbox                                what Apptainer is configured to use
=========  ==========================================  ======================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from envpack.errors import UsageError
from envpack.image import Reference, parse_reference
from envpack.pipeline.project import image_path

if TYPE_CHECKING:
    from envpack.engines.native.linked import ImageWriter

EngineName = Literal["native", "docker", "apptainer"]
Format = Literal["sif", "sqfs", "oci", "docker", "sandbox"]
Compression = Literal["zstd", "gzip"]

FORMATS: dict[EngineName, tuple[Format, ...]] = {
    "native": ("sif", "sqfs", "oci", "docker", "sandbox"),
    "docker": ("docker", "oci", "sif"),
    "apptainer": ("sif", "sandbox"),
}
# Docker before 23.0 reads no other layers than gzip's.
_DEFAULTS: dict[Format, Compression] = {
    "sif": "zstd",
    "sqfs": "zstd",
    "sandbox": "zstd",
    "oci": "gzip",
    "docker": "gzip",
}
_LEVELS: dict[Compression, int] = {"zstd": 3, "gzip": 6}
_LAYER_LEVELS: dict[Compression, int] = {"zstd": 3, "gzip": 5}
# One archive serves all container engines; it is called what it is.
_SUFFIXES: dict[Format, str] = {
    "sif": ".sif",
    "sqfs": ".sqfs",
    "sandbox": ".sandbox",
    "oci": ".oci.tar",
    "docker": ".oci.tar",
}
_NO_NAME = re.compile(r"[^a-z0-9]+")
_SEPARATOR = re.compile(r"\.|__?|-+")


@dataclass(frozen=True, slots=True)
class Target:
    """One image to make. ``output`` is ``None`` where it shall be in Docker's daemon alone; ``reference``,
    with a tag, is the name of an image of Docker or the OCI, which has one.
    """

    engine: EngineName
    format: Format
    output: Path | None
    reference: Reference | None
    push: bool = False
    compression: Compression | None = None
    level: int | None = None

    def writer(self) -> ImageWriter:
        """What writes it for the native engine. Raises :class:`ConfigError` for an impossible level."""
        compression = self.compression or _DEFAULTS[self.format]
        if self.reference is None:
            from envpack.engines.native.sif_image import SifImage
            from envpack.engines.native.sqfs_image import SqfsImage
            from envpack.formats.squashfs.options import Options

            options = Options(compression, _LEVELS[compression] if self.level is None else self.level)
            return SqfsImage(options) if self.format == "sqfs" else SifImage(options)
        from envpack.engines.native.oci_image import OciImage
        from envpack.formats.oci import compression as layers

        level = _LAYER_LEVELS[compression] if self.level is None else self.level
        return OciImage(layers.Compression(compression, level), self.reference)


def target(
    name: str,
    platform: str | None,
    *,
    directory: Path,
    engine: EngineName = "native",
    format: Format | None = None,
    tag: str | None = None,
    push: bool = False,
    compression: Compression | None = None,
    level: int | None = None,
    output: Path | None = None,
) -> Target:
    """The target of the environment ``name``; ``platform`` is part of the file's name if given.

    ``tag`` is the name of an OCI or Docker image, by default that of the environment in lower case, with
    ``latest``. Raises :class:`UsageError` for what does not go together.
    """
    format = format or FORMATS[engine][0]
    if format not in FORMATS[engine]:
        able = [name for name, formats in FORMATS.items() if format in formats]
        raise UsageError(
            f"the engine {engine} makes no {format}",
            why=f"it makes {' and '.join(FORMATS[engine])}",
            hint=f"Use --engine {' or '.join(able)}, or another --format.",
        )
    if engine != "native" and (compression is not None or level is not None):
        raise UsageError(f"--compression and --level are not for the engine {engine}", hint="Leave them out.")
    if push and engine != "docker":
        raise UsageError(
            f"the engine {engine} does not push images",
            hint="Use --engine docker, or push the file: skopeo copy oci-archive:FILE docker://NAME:TAG",
        )
    reference = None
    if format in ("oci", "docker") or engine == "docker":
        reference = _reference(tag or _default_tag(name))
    elif tag is not None:
        raise UsageError(
            f"a {format} is known by its file name and has no tag", hint="Use --output, or --format oci."
        )
    if output is None and not (engine == "docker" and format == "docker"):
        output = image_path(directory, name, platform, _SUFFIXES[format])
    return Target(engine, format, output, reference, push, compression, level)


def _reference(tag: str) -> Reference:
    reference = parse_reference(tag)
    if reference.digest is not None:
        raise UsageError(
            f"{tag!r} has a digest, which an image has only when it is built", hint="Use --tag NAME:TAG."
        )
    return reference


def _default_tag(name: str) -> str:
    """An environment's name as an image's, which is stricter."""

    def separator(found: re.Match[str]) -> str:
        return found[0] if _SEPARATOR.fullmatch(found[0]) else "-"

    return f"{_NO_NAME.sub(separator, name.lower()).strip('._-') or 'environment'}:latest"
