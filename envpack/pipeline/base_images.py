"""The base images of a lock: what they offer to packages, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envpack.errors import BaseImageError
from envpack.image import parse_reference
from envpack.lockfile import BasePin
from envpack.platforms import Platform
from envpack.platforms import get as get_platform

if TYPE_CHECKING:
    from envpack.bases.choose import Choice
    from envpack.bases.manifest import Manifest
    from envpack.bases.registry import Registry


class BaseImages:
    """The base images of one lock: each is asked for once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._manifests: dict[tuple[str, str], Manifest] = {}
        self._glibc: dict[tuple[str, str], str] = {}

    def offered(self, base: str | None, subdirs: Sequence[str]) -> Mapping[str, str]:
        """The glibc that packages may count on: that of ``base``, or the newest of the catalogue's."""
        from envpack.bases import catalog

        if base is not None:
            reference = parse_reference(base)
            known = catalog.find(reference)
            return {s: known.glibc if known else self._read_glibc(base, s) for s in subdirs}
        newest = {}
        for subdir in subdirs:
            versions = [image.glibc for image in catalog.load() if subdir in image.platforms]
            if not versions:
                raise BaseImageError(f"no known base image exists for {subdir}", hint="Name one with --base.")
            newest[subdir] = max(versions, key=catalog.version)
        return newest

    def pin(self, choice: Choice, subdir: str, needed: Mapping[str, tuple[str, str] | None]) -> BasePin:
        """The chosen image of one platform, by digest."""
        from envpack.bases import choose

        name = str(choice.reference)
        glibc = choice.known.glibc if choice.known else self._read_glibc(name, subdir)
        choose.check_glibc(choice.reference, glibc, subdir, needed)
        return BasePin(choice.reference, self._resolve(name, get_platform(subdir)).digest, glibc)

    def python(self, name: str, subdirs: Sequence[str]) -> str:
        """The version of the python that the image's distribution has, the same on all platforms."""
        from envpack.bases import distribution
        from envpack.content import rootfs

        found = {}
        for subdir in subdirs:
            layers = self._registry.pull(self._resolve(name, get_platform(subdir)))
            text = rootfs.read_file(layers, distribution.OS_RELEASE)
            found[subdir] = distribution.identify(text, parse_reference(name).familiar)
        if len(set(found.values())) > 1:
            raise BaseImageError(
                f"{name} is another distribution on each platform",
                why=", ".join(f"{known} on {subdir}" for subdir, known in found.items()),
                hint="Lock one platform at a time, or name another base (--base).",
            )
        return found[subdirs[0]].python

    def _resolve(self, name: str, platform: Platform) -> Manifest:
        reference = parse_reference(name)
        key = (str(reference), platform.subdir)
        if key not in self._manifests:
            self._manifests[key] = self._registry.resolve(reference, platform)
        return self._manifests[key]

    def _read_glibc(self, name: str, subdir: str) -> str:
        """The glibc of an image that the catalogue does not know, read from its layers."""
        from envpack.content import rootfs

        key = (str(parse_reference(name)), subdir)
        if key not in self._glibc:
            found = rootfs.glibc_version(self._registry.pull(self._resolve(name, get_platform(subdir))))
            if found is None:
                raise BaseImageError(
                    f"{name} has no glibc",
                    why="conda packages for Linux need it, and images made with musl or from scratch lack it",
                    hint="Choose a base made from Ubuntu, Debian, Rocky Linux or the like.",
                )
            self._glibc[key] = found
        return self._glibc[key]
