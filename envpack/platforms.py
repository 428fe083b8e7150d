"""One table: conda subdir, OCI platform, SIF architecture, machine name, uv platform."""

from __future__ import annotations

import platform as _host
from dataclasses import dataclass

from envpack.errors import UsageError


@dataclass(frozen=True, slots=True)
class Platform:
    """A target the tool can build for.

    ``subdir`` is conda's name, ``oci_architecture`` that of the OCI image specification (GOARCH),
    ``sif_architecture`` the two-digit code of the SIF header, ``machine`` what ``uname -m`` prints.
    """

    subdir: str
    oci_architecture: str
    sif_architecture: str
    machine: str

    @property
    def is_host(self) -> bool:
        """Whether programs of this platform run on this machine."""
        return _host.system() == "Linux" and _host.machine() == self.machine


PLATFORMS: dict[str, Platform] = {
    p.subdir: p
    for p in (
        Platform("linux-64", "amd64", "02", "x86_64"),
        Platform("linux-aarch64", "arm64", "04", "aarch64"),
        Platform("linux-ppc64le", "ppc64le", "06", "ppc64le"),
    )
}

DEFAULT_PLATFORM = "linux-64"


def host() -> Platform | None:
    """The platform of this machine; ``None`` if images cannot be built for it."""
    return next((p for p in PLATFORMS.values() if p.is_host), None)


def get(subdir: str) -> Platform:
    """The platform with conda's name ``subdir``; raises :class:`UsageError` naming the known ones."""
    try:
        return PLATFORMS[subdir]
    except KeyError:
        raise UsageError(
            f"images cannot be built for the platform {subdir!r}",
            hint=f"Use one of: {', '.join(PLATFORMS)}.",
        ) from None
