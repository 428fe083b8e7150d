"""Writing OCI images: the base's layers as they were pulled, and the environment's on top.

The files are those of the SIF image, without ``/.singularity.d``: containers of Docker and podman start
through an entry point, and Apptainer writes its own when it converts the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from envpack import atomic
from envpack.engines import Contents, Image
from envpack.engines.native.layers import Layers
from envpack.engines.native.link_scripts import OWNER
from envpack.engines.native.linked import Base, Linked, Part, Workspace, report_overwritten
from envpack.entry import file
from envpack.formats.oci import archive, configuration
from envpack.formats.oci.compression import Compression
from envpack.formats.oci.configuration import Settings
from envpack.formats.oci.layer import Layer
from envpack.formats.squashfs.merged import Merged
from envpack.formats.squashfs.options import DEFAULT, Options
from envpack.image import Digest, Reference
from envpack.ledger import Ledger
from envpack.recipes import activation

_BASE = 0  # the position of the base among the segments


@dataclass(frozen=True, slots=True)
class Group:
    """Segments, by position, that make one layer, and what to say of them in the image's history."""

    title: str
    segments: Sequence[int]


@dataclass(frozen=True, slots=True)
class OciImage:
    """An :class:`~envpack.engines.native.linked.ImageWriter` of archives for Docker, podman and others.

    ``reference`` is the image's name, with a tag.
    """

    compression: Compression
    reference: Reference

    @property
    def on_base(self) -> bool:
        """The base's layers are the lowest."""
        return True

    @property
    def options(self) -> Options:
        """Segments are those of SIF images by default, so that building both links once."""
        return DEFAULT

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Groups of segments become layers; layers, configuration and manifest the archive."""
        recipe = linked.recipe
        packages = linked.segments
        linked.activated.report(ledger)
        entrypoint = activation.entrypoint(recipe, linked.activated.scripts).encode()
        own = [file(activation.ENTRYPOINT.lstrip("/"), entrypoint, 0o755), *linked.own()]
        merged = Merged([*packages, workspace.segments.write("metadata", own)])
        maker = Layers(workspace.cache, workspace.folder, self.compression, workspace.pool, recipe.epoch)
        packed = grouped(linked.parts, len(linked.files))
        groups = [Group(group.title, linked.places(group.segments)) for group in packed]
        groups[-1:-1] = [Group(f"envpack: {OWNER}", [place]) for place in linked.made_by_scripts]
        with workspace.progress.step("Making layers", len(groups)) as task:
            made = []
            for group in groups:
                made.append(maker.get(merged.part(group.segments), group.title))
                task.advance()
        entry, command = activation.start(recipe)
        settings = Settings(
            entrypoint=entry,
            command=command,
            variables={**linked.variables, **linked.activated.variables},
            labels=recipe.labels,
        )
        base = linked.base
        assert base is not None
        config = configuration.render(base.manifest.config, made, settings, recipe.epoch)
        with workspace.progress.step(f"Writing {output.name}"), atomic.replacing(output) as out:
            written = archive.write(
                out,
                config,
                [*_base_layers(base), *made],
                platform=recipe.platform,
                reference=self.reference,
                annotations=recipe.labels,
                epoch=recipe.epoch,
            )
        owners = [*linked.owners, "envpack"]
        report_overwritten(merged.overwritten, owners, recipe, ledger)
        counts = merged.counts()
        return Image(
            recipe,
            output,
            written.size,
            written.sha256,
            Contents(counts.files, counts.directories, counts.size),
            self.reference,
            written.manifest,
        )


def grouped(parts: Sequence[Part], files: int = 0) -> Iterator[Group]:
    """What shares a layer: conda's packages, pip's, the ``files`` of the project, and what envpack adds.

    A layer for each package would exceed the 127 that overlay file systems can stack. What changes seldom
    lies below what changes often: a new wheel leaves conda's layer as it is.
    """
    first = _BASE + 1
    for manager, title in (("conda", "conda packages"), ("pip", "pip section")):
        places = [place for place, part in enumerate(parts, first) if part.package.manager == manager]
        if places:
            yield Group(f"envpack: {title} ({len(places)})", places)
    own = first + len(parts) + files
    if files:
        yield Group("envpack: files of the project", range(first + len(parts), own))
    yield Group("envpack: entry point and history of the environment", [own])


def _base_layers(base: Base) -> Iterator[Layer]:
    ids = base.manifest.config["rootfs"]["diff_ids"]
    for descriptor, diff_id, path in zip(base.manifest.layers, ids, base.layers, strict=True):
        yield Layer(descriptor, Digest(diff_id), path, "base image")
