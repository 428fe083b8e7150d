"""Names and addresses of images and their parts, as the OCI specifications define them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from envpack.errors import UsageError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
# distribution/reference grammar: host[:port]/path/path:tag@digest
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z"
)

DEFAULT_REGISTRY = "docker.io"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Digest:
    """A content address: ``sha256:`` and 64 lower-case hexadecimal digits."""

    text: str

    def __post_init__(self) -> None:
        if not _DIGEST.match(self.text):
            raise ValueError(f"not a sha256 digest: {self.text!r}")

    @property
    def hex(self) -> str:
        """The digits alone."""
        return self.text.partition(":")[2]

    def __str__(self) -> str:
        """``sha256:…``"""
        return self.text


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's media type, digest and size in bytes (OCI image specification, descriptor.md)."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Reference:
    """An image name with every default filled in: ``docker.io/library/ubuntu:20.04``."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def familiar(self) -> str:
        """The short form people type: ``ubuntu:20.04``."""
        name = f"{self.registry}/{self.repository}"
        if self.registry == DEFAULT_REGISTRY:
            group, _, rest = self.repository.partition("/")
            if group == "library" and "/" not in rest:
                name = rest
            elif not _is_host(group):  # else the short form would name another registry
                name = self.repository
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{name}{tag}{digest}"

    @property
    def short(self) -> str:
        """The familiar form without the digest, if there is a tag to know the image by."""
        return replace(self, digest=None).familiar if self.tag else self.familiar

    def __str__(self) -> str:
        """The whole name."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Read an image name as Docker does (``distribution/reference``); raises :class:`UsageError`.

    The first part is a registry only if it holds a dot or a port or is ``localhost``; without a tag and
    a digest the tag is ``latest``. One-part names on Docker Hub are in its group ``library``.
    """
    host, slash, rest = text.partition("/")
    if not slash or not _is_host(host):
        host, rest = DEFAULT_REGISTRY, text
    if host in _HUB:
        host = DEFAULT_REGISTRY
        if "/" not in rest:
            rest = f"library/{rest}"
    match = _REFERENCE.match(f"{host}/{rest}")
    if match is None:
        raise UsageError(
            f"{text!r} is not an image name",
            hint="Image names look like ubuntu:20.04 or registry.example.org/group/name:tag; lower case.",
        )
    digest = Digest(match["digest"]) if match["digest"] else None
    tag = match["tag"] or (None if digest else "latest")
    return Reference(match["host"], match["repository"], tag, digest)


def _is_host(part: str) -> bool:
    """Whether the first part of a name is a registry's."""
    return "." in part or ":" in part or part == "localhost"
