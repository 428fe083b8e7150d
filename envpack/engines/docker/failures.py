"""What Docker says when it fails, as errors that name the step, the place, the last lines and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from envpack.engines.docker.dockerfile import Instruction
from envpack.engines.docker.redaction import shown
from envpack.errors import EngineError, Location

TAIL = 15  # lines of a step's output in messages
_EXIT_CODE = re.compile(r"(?:returned a non-zero code:|exit code:|while running runtime: exit status) ?(\d+)")
_REGISTRY = re.compile(r"https?://([A-Za-z0-9.-]+(?::\d+)?)/")
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io", "auth.docker.io")

# The first that is found in what was said wins: causes come before what they bring about.
_HINTS = (
    (
        r"no space left on device|disk quota exceeded",
        "Free space where Docker keeps its data: docker system prune removes what no container uses, "
        "docker builder prune the cache of builds.",
    ),
    (
        r"exec format error|image operating system .* cannot be used|does not match the specified platform",
        "The image is for another kind of processor than Docker's machine has: build there, or let that "
        "machine emulate it (qemu-user-static, registered with binfmt_misc).",
    ),
    (
        r"do not match the hashes|checksum ?mismatch|did not match|computed checksum|"
        r"(?m:^\S*: FAILED$)|sha256 mismatch",
        "What was downloaded is not what the lock names. See whether a mirror or proxy changes files, then "
        "run `envpack lock` again.",
    ),
    (
        r"denied: requested access|access denied|unauthorized:|authentication required|"
        r"no basic auth credentials|failed to authorize|unexpected status.*: 40[13]\b",
        "Log in first: docker login{registry}. If that was done, see what the account may do there.",
    ),
    (
        r"file not found in build context|failed to compute cache key|failed to calculate checksum|"
        r"forbidden path outside|lstat .* no such file|(?:COPY|ADD) failed: .*no such file|"
        r"copier: stat: .*no such file",
        "The recipe's folder lacks a file: run the same command again, which writes the recipe anew.",
    ),
    (
        r"manifest unknown|manifest for .* not found|: not found\Z|repository name not known",
        "The registry has no such image (any more): run `envpack lock` again, and build then.",
    ),
    (
        r"server gave http response to https client",
        "The registry has no TLS: list it under insecure-registries in the daemon's daemon.json.",
    ),
    (
        r"could ?n.t resolve|could not resolve|name resolution|name or service not known|no such host|"
        r"connection refused|"
        r"network is unreachable|no route to host|failed to establish a new connection|timed? ?out|"
        r"condahttperror|connection reset|failed to connect|couldn't connect|could not connect|"
        r"tls handshake|proxyerror",
        "The build does not reach that server. Containers have a network of their own: see network under "
        '[docker] in the configuration (network = "host" is this machine\'s own), and "proxies" in '
        "~/.docker/config.json.",
    ),
)


def step_failed(
    instruction: Instruction | None, dockerfile: Path, message: str, lines: Sequence[str]
) -> EngineError:
    """The error for a build that ended with ``message`` after ``lines`` of output of its last step."""
    said = [shown(line) for line in lines if line.strip()][-TAIL:]
    code = _EXIT_CODE.search(message)
    said.append(f"exit code {code[1]}" if code else shown(message))
    hint = hint_for("\n".join(said), message)
    return EngineError(
        f"Docker failed in step {instruction.number} of {instruction.total} of the recipe: "
        f"{instruction.short}"
        if instruction
        else "Docker cannot build the recipe",
        where=Location(str(dockerfile), instruction.line if instruction else None),
        why="\n".join(said),
        hint=hint or f"See all of it with: docker build {dockerfile.parent}",
    )


def hint_for(said: str, message: str = "", registry: str | None = None) -> str | None:
    """What to do about what Docker said, if that is known. ``registry`` is the one that was asked."""
    for pattern, hint in _HINTS:
        if re.search(pattern, said, re.IGNORECASE):
            if registry is None and (found := _REGISTRY.search(message)):
                registry = found[1]
            return hint.format(registry=f" {registry}" if registry and registry not in _HUB else "")
    return None
