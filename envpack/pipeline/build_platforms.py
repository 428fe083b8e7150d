"""``envpack build --platform A,B``: images of several platforms of one lock, on any machine.

Nothing of a platform is run to build for it, so it need not be this machine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envpack.config import Config
from envpack.errors import UsageError
from envpack.image import Digest
from envpack.ledger import Finding, Ledger
from envpack.pipeline.build import Built, build
from envpack.pipeline.target import EngineName, Format
from envpack.progress import Progress, Quiet

if TYPE_CHECKING:
    from envpack.engines.native.oci_image import OciIndex


@dataclass(frozen=True, slots=True)
class BuiltPlatforms:
    """What :func:`build_platforms` made: one file for each platform, or of the format ``oci`` one for all, in
    which ``index`` is the digest that leads to the platforms' manifests.
    """

    builds: tuple[Built, ...]
    index: Digest | None

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        index = None if self.index is None else str(self.index)
        return {"index": index, "platforms": [built.as_dict() for built in self.builds]}


def build_platforms(
    name: str | None = None,
    *,
    platforms: Sequence[str],
    directory: Path,
    config: Config,
    engine: EngineName = "native",
    format: Format | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
    ledger: Ledger | None = None,
    **options: Any,
) -> BuiltPlatforms:
    """Build for ``platforms``, of which the lock has all; the other parameters are those of :func:`build`.

    Recipes are written for the first. Raises :class:`UsageError` for what cannot be done for several
    platforms, and all that :func:`build` raises.
    """
    progress = progress or Quiet()
    ledger = Ledger() if ledger is None else ledger
    platforms = tuple(dict.fromkeys(platforms))
    if len(platforms) == 1:
        built = build(
            name, platform=platforms[0], directory=directory, config=config, engine=engine, format=format,
            output=output, progress=progress, ledger=ledger, **options,
        )  # fmt: skip
        return BuiltPlatforms((built,), None)
    in_one = format in ("oci", "docker")
    _check(engine, format, None if in_one else output)
    index = _index(name, directory, options, format) if in_one else None
    made: dict[str, Built] = {}
    ledgers = {platform: Ledger() for platform in platforms}
    try:
        for platform in (*platforms[1:], platforms[0]):  # the recipes of the last one stay
            progress.note(f"building for {platform}")
            made[platform] = build(
                name, platform=platform, directory=directory, config=config, format=format, output=output,
                progress=progress, ledger=ledgers[platform], into=index, **options,
            )  # fmt: skip
    finally:
        _merge(ledgers, ledger)
    if index is None:
        return BuiltPlatforms(tuple(made[platform] for platform in platforms), None)
    file = made[platforms[0]].image.path
    assert file is not None
    images, digest = index.finish(file, progress)
    finished = {image.recipe.platform.subdir: image for image in images}
    return BuiltPlatforms(tuple(replace(made[p], image=finished[p]) for p in platforms), digest)


def _check(engine: EngineName, format: Format | None, output: Path | None) -> None:
    if engine != "native":
        raise UsageError(
            f"the engine {engine} builds for one platform at a time",
            hint="Use --engine native, or name one --platform.",
        )
    if format == "sandbox":
        raise UsageError("a sandbox is for this machine", hint="Name one --platform.")
    if output is not None:
        raise UsageError(
            f"the images of several platforms do not fit into {output}",
            why="each is a file of its own",
            hint="Leave --output out: they are named after their platforms. Or use --format oci.",
        )


def _index(name: str | None, directory: Path, options: Mapping[str, Any], format: Format | None) -> OciIndex:
    """What collects the images."""
    from envpack import lockfile
    from envpack.engines.native.oci_image import OciImage, OciIndex
    from envpack.pipeline.project import find_lock
    from envpack.pipeline.target import target

    path = find_lock(directory, name)
    pins = lockfile.read(path).pins
    title = pins.name if pins is not None else "environment"
    writer = target(
        title, None, directory=directory, format=format, tag=options.get("tag"),
        compression=options.get("compression"), level=options.get("level"),
    ).writer()  # fmt: skip
    assert isinstance(writer, OciImage)
    return OciIndex(writer.compression, writer.reference)


def _merge(ledgers: Mapping[str, Ledger], into: Ledger) -> None:
    """What is so for all platforms is said once, the rest with the platform."""
    found = {platform: tuple(ledger) for platform, ledger in ledgers.items()}
    everywhere = set.intersection(*(set(findings) for findings in found.values()))
    said: set[Finding] = set()
    for platform, findings in found.items():
        for finding in findings:
            if finding in said:
                continue
            if finding in everywhere:
                said.add(finding)
            subject = finding.subject if finding in everywhere else f"{platform}: {finding.subject}"
            into.add(finding.action, subject, finding.reason, where=finding.where, remedy=finding.remedy)
