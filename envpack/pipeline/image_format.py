"""The formats of images that ``envpack build`` writes, and what writes them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from envpack.errors import UsageError
from envpack.image import parse_reference

if TYPE_CHECKING:
    from envpack.engines.native.linked import ImageWriter

Format = Literal["sif", "oci", "docker"]
Compression = Literal["zstd", "gzip"]

# Docker before 23.0 reads no other layers than gzip's.
_DEFAULTS: dict[Format, Compression] = {"sif": "zstd", "oci": "gzip", "docker": "gzip"}
_LEVELS: dict[Compression, int] = {"zstd": 3, "gzip": 6}
_LAYER_LEVELS: dict[Compression, int] = {"zstd": 3, "gzip": 5}
# One archive serves all container engines; it is called what it is.
SUFFIXES: dict[Format, str] = {"sif": ".sif", "oci": ".oci.tar", "docker": ".oci.tar"}
_NO_NAME = re.compile(r"[^a-z0-9]+")
_SEPARATOR = re.compile(r"\.|__?|-+")


def writer(
    format: Format, compression: Compression | None, level: int | None, tag: str | None, name: str
) -> ImageWriter:
    """What writes images of ``format``.

    ``tag`` is the name of an OCI image, by default that of the environment ``name`` in lower case, with
    ``latest``. Raises :class:`UsageError` for an impossible tag, :class:`ConfigError` for such a level.
    """
    compression = compression or _DEFAULTS[format]
    if format == "sif":
        from envpack.engines.native.sif_image import SifImage
        from envpack.formats.squashfs.options import Options

        if tag is not None:
            raise UsageError(
                "a SIF file is known by its file name and has no tag", hint="Use --output, or --format oci."
            )
        return SifImage(Options(compression, _LEVELS[compression] if level is None else level))
    from envpack.engines.native.oci_image import OciImage
    from envpack.formats.oci import compression as layers

    reference = parse_reference(tag or _default_tag(name))
    if reference.digest is not None:
        raise UsageError(
            f"{tag!r} has a digest, which an image has only when it is built", hint="Use --tag NAME:TAG."
        )
    level = _LAYER_LEVELS[compression] if level is None else level
    return OciImage(layers.Compression(compression, level), reference)


def _default_tag(name: str) -> str:
    """An environment's name as an image's, which is stricter."""

    def separator(found: re.Match[str]) -> str:
        return found[0] if _SEPARATOR.fullmatch(found[0]) else "-"

    return f"{_NO_NAME.sub(separator, name.lower()).strip('._-') or 'environment'}:latest"
