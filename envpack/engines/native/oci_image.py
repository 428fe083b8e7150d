"""Writing OCI images: the base's layers as they were pulled, and the environment's on top.

The files are those of the SIF image, without ``/.singularity.d``: containers of Docker and podman start
through an entry point, and Apptainer writes its own when it converts the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from envpack import atomic
from envpack.engines import Contents, Image
from envpack.engines.native.grouping import Group, grouped
from envpack.engines.native.layers import Layers
from envpack.engines.native.linked import OWNER, Base, Linked, Workspace, report_overwritten
from envpack.entry import file
from envpack.formats.oci import archive, configuration
from envpack.formats.oci.compression import Compression
from envpack.formats.oci.configuration import Settings
from envpack.formats.oci.layer import Layer
from envpack.formats.squashfs.merged import Merged
from envpack.formats.squashfs.options import DEFAULT, Options
from envpack.image import Digest, Reference
from envpack.ledger import Ledger
from envpack.platforms import PLATFORMS
from envpack.progress import Progress
from envpack.recipes import activation

# The date of what has none of its own. The image's is that of its newest package: with it, one new package
# would change all layers. When 1980 began, the earliest date that zip files can hold.
_UNDATED = 315_532_800


@dataclass(frozen=True, slots=True)
class OciWriter:
    """What is the same for one platform and for several. ``reference`` is the image's name, with a tag."""

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

    @property
    def compressor(self) -> Literal["zstd", "gzip"]:
        """Layers are compressed anew."""
        return self.compression.name


class OciImage(OciWriter):
    """An :class:`~envpack.engines.native.linked.ImageWriter` of archives for Docker, podman and others."""

    __slots__ = ()

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Groups of segments become layers; layers, configuration and manifest the archive."""
        made, contents = _layered(linked, workspace, self.compression, ledger)
        epoch = linked.recipe.epoch
        with workspace.progress.step(f"Writing {output.name}"), atomic.replacing(output) as out:
            written = archive.write(out, [made], reference=self.reference, epoch=epoch)
        size, sha256, [manifest] = written.size, written.sha256, written.manifests
        return Image(linked.recipe, output, size, sha256, contents, self.reference, manifest)


@dataclass(frozen=True, slots=True)
class OciIndex(OciWriter):
    """An :class:`~envpack.engines.native.linked.ImageWriter` of one archive for several platforms.

    The images it is given become layers in the cache, one platform after the other, and :meth:`finish`
    writes the archive of them all.
    """

    _made: list[tuple[archive.Image, Image]] = field(default_factory=list, init=False)

    def write(self, linked: Linked, workspace: Workspace, output: Path, ledger: Ledger) -> Image:
        """Take one platform's image; size, hash and manifest are known at the end."""
        made, contents = _layered(linked, workspace, self.compression, ledger)
        image = Image(linked.recipe, output, None, None, contents, self.reference)
        self._made.append((made, image))
        return image

    def finish(self, output: Path, progress: Progress) -> tuple[tuple[Image, ...], Digest]:
        """Write the archive; the images, in the order of :data:`~envpack.platforms.PLATFORMS`, and the digest
        of their index. Raises :class:`OutputError`.
        """
        order = list(PLATFORMS)
        self._made.sort(key=lambda pair: order.index(pair[0].platform.subdir))
        images = [made for made, _ in self._made]
        epoch = self._made[0][1].recipe.epoch
        with progress.step(f"Writing {output.name}"), atomic.replacing(output) as out:
            written = archive.write(out, images, reference=self.reference, epoch=epoch)
        assert written.index is not None
        finished = (
            replace(image, size=written.size, sha256=written.sha256, manifest=manifest)
            for (_, image), manifest in zip(self._made, written.manifests, strict=True)
        )
        return tuple(finished), written.index


def _layered(
    linked: Linked, workspace: Workspace, compression: Compression, ledger: Ledger
) -> tuple[archive.Image, Contents]:
    """Groups of segments become layers, with their configuration."""
    recipe, base = linked.recipe, linked.base
    assert base is not None
    workspace.segments.settle()
    linked.activated.report(ledger)
    entrypoint = activation.entrypoint(recipe, linked.activated.scripts).encode()
    own = [file(activation.ENTRYPOINT.lstrip("/"), entrypoint, 0o755), *linked.own()]
    merged = Merged([*linked.segments, workspace.segments.write("metadata", own)])
    maker = Layers(workspace.cache, workspace.folder, compression, workspace.pool, _UNDATED)
    sizes = [merged.size(place) for place in linked.places(range(1, 1 + len(linked.parts)))]
    made_by_scripts = linked.made_by_scripts
    below = len(base.layers) + len(made_by_scripts)
    packed = grouped(linked.parts, sizes, below, len(linked.files))
    groups = [Group(group.title, linked.places(group.segments)) for group in packed]
    groups[-1:-1] = [Group(f"envpack: {OWNER}", [place]) for place in made_by_scripts]
    with workspace.progress.step("Making layers", len(groups)) as task:
        made = []
        parts = merged.parts([group.segments for group in groups])
        for group, part in zip(groups, parts, strict=True):
            made.append(maker.get(part, group.title))
            task.advance()
    entry, command = activation.start(recipe)
    settings = Settings(
        entrypoint=entry,
        command=command,
        variables={**linked.variables, **linked.activated.variables},
        labels=recipe.labels,
    )
    config = configuration.render(base.manifest.config, made, settings, recipe.epoch)
    report_overwritten(merged.overwritten, [*linked.owners, "envpack"], recipe, ledger)
    counts = merged.counts()
    layers = [*_base_layers(base), *made]
    image = archive.Image(config, layers, recipe.platform, recipe.labels)
    return image, Contents(counts.files, counts.directories, counts.size)


def _base_layers(base: Base) -> Iterator[Layer]:
    ids = base.manifest.config["rootfs"]["diff_ids"]
    for descriptor, diff_id, path in zip(base.manifest.layers, ids, base.layers, strict=True):
        yield Layer(descriptor, Digest(diff_id), path, "base image")
