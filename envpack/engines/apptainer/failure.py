"""Why a build failed, in the user's terms, from what the program said last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envpack.engines.apptainer import definition
from envpack.engines.apptainer.facts import Program
from envpack.engines.apptainer.transcript import Transcript
from envpack.errors import (
    BaseImageError,
    EngineError,
    EnvpackError,
    IntegrityError,
    Location,
    NetworkError,
    OutputError,
)

_SHOWN = 15  # lines of output in an error
_FATAL = re.compile(r"FATAL:\s+(.*)")
_ENDED = re.compile(r"%(?P<section>\w+) (?:section|script|proc): (?P<how>exit status \d+|signal: \w+)")
_COPY = re.compile(r"unable to copy files from .*? while copying \[(?P<source>[^\]]+)\]")
_RAN = 60  # characters of a command in a message


@dataclass(frozen=True, slots=True)
class _Kind:
    """Words by which a failure is known, and what it means."""

    pattern: re.Pattern[str]
    error: type[EnvpackError]
    what: str
    hint: str


def _kind(pattern: str, error: type[EnvpackError], what: str, hint: str) -> _Kind:
    return _Kind(re.compile(pattern, re.IGNORECASE), error, what, hint)


# A full disk first: much else goes wrong because of it.
_ANYWHERE = (
    _kind(
        r"no space left on device|disk quota exceeded|curl: \(23\)",
        OutputError,
        "no space is left on a disk",
        "The files of a build are in {variable} (else TMPDIR, else /tmp), and base images in {cache} (else "
        "below your home folder): free some space there, or set these variables to folders with more of it.",
    ),
    _kind(
        r"GLIBC_[0-9.]+['\u2019]? not found.*faked|faked.*GLIBC_|libfakeroot.*cannot be preloaded",
        EngineError,
        "this machine's fakeroot command does not run in the base image",
        "Use a base image as new as this machine (`envpack lock --base`), or the native engine: leave "
        "--engine away.",
    ),
    _kind(
        r"do not match the hashes|checksum did not match|ChecksumMismatch|sha256 mismatch|conda.*checksum",
        IntegrityError,
        "a file does not have the recorded hash",
        "Something on the way changed it, or the file was replaced: try again, then run `envpack lock` to "
        "record what there is now.",
    ),
    _kind(
        r"connection refused|no such host|network is unreachable|no route to host|i/o timeout|timed out"
        r"|could not resolve|name or service not known|couldn't connect|failed to connect"
        r"|connection (?:was )?reset|TLS handshake"
        r"|x509:|certificate verify failed|temporary failure in name resolution|ConnectionFailed"
        r"|NewConnectionError",
        NetworkError,
        "a server cannot be reached",
        "Check the network and the proxy settings (https_proxy, http_proxy), then run the same command "
        "again.",
    ),
)
_POST = (
    *_ANYWHERE,
    _kind(
        r"curl: \(22\)|HTTPError|HTTP error [45]|HTTP [45]\d\d",
        NetworkError,
        "a download was refused",
        "Look whether the address above is still served; `envpack lock` records what there is now.",
    ),
    _kind(
        r"signal: killed|exit status 137|MemoryError",
        EngineError,
        "it was ended from outside, perhaps for want of memory",
        "Build where there is more memory, or with the native engine, which needs little: leave --engine "
        "away.",
    ),
)
_IMAGE = (
    _kind(
        r"unauthorized|authentication required|denied|(?:HTTP|status|code):? 40[13]\b",
        NetworkError,
        "the registry wants a login",
        "Run `{login}`.",
    ),
    _kind(
        r"manifest[ _]unknown|name[ _]unknown|not found|(?:HTTP|status|code):? 404\b",
        BaseImageError,
        "the registry does not have the image",
        "It was replaced or removed: run `envpack lock` to record what there is now.",
    ),
)
_PROGRAM = (
    _kind(
        r"mksquashfs",
        EngineError,
        "mksquashfs, which writes images, is missing or failed",
        "Install squashfs-tools, or build with the native engine (leave --engine away), which writes them "
        "itself.",
    ),
    _kind(
        r"newuidmap|newgidmap|user namespace|userns|/etc/sub[ug]id|fakeroot|operation not permitted",
        EngineError,
        "this machine does not let you build without root",
        "The administrators can allow it. The native engine needs nothing of it: leave --engine away.",
    ),
)


def failure(program: Program, file: Path, transcript: Transcript, code: int) -> EnvpackError:
    """The error for a build from the definition ``file`` that ended with exit code ``code``."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:  # gone meanwhile
        text = ""
    failed = _Failed(program, file, text, transcript)
    fatal = next((match[1] for line in reversed(transcript.lines) if (match := _FATAL.match(line))), "")
    if ended := _ENDED.search(fatal):
        return failed.section(ended["section"], ended["how"])
    if copy := _COPY.search(fatal):
        return failed.copy(copy["source"], fatal)
    if "conveyor failed" in fatal or re.search(r"/v2/|docker://", fatal):
        return failed.image(fatal)
    return failed.error(
        f"{program} ended with exit code {code}",
        None,
        fatal or "\n".join(transcript.lines),
        (*_ANYWHERE, *_PROGRAM),
        hint="The native engine needs no other program: leave --engine away.",
    )


@dataclass(frozen=True, slots=True)
class _Failed:
    """A build that failed. ``text`` is that of its definition ``file``."""

    program: Program
    file: Path
    text: str
    transcript: Transcript

    def section(self, name: str, how: str) -> EnvpackError:
        """A section's commands failed."""
        what = f"%{name} ended with {how}"
        if name != "post":
            return self.error(
                what,
                definition.section_line(self.text, name),
                hint="Nothing was kept. The lines above say what is missing: mend the environment, then "
                "lock and build again.",
            )
        traces = list(self.transcript.traces)
        if traces:
            ran = traces[-1] if len(traces[-1]) <= _RAN else traces[-1][: _RAN - 1] + "…"
            what += f" at `{ran}`"
        return self.error(
            what,
            definition.command_line(self.text, traces),
            "\n".join(self.transcript.since),
            _POST,
            hint="Nothing was kept. The lines above are what the command said: mend the cause, then run the "
            "same command again.",
        )

    def copy(self, sources: str, fatal: str) -> EnvpackError:
        """A file could not be copied into the image; of another stage, the program names its folder."""
        source = re.sub(r"^.*/rootfs(?=/)", "", sources.rsplit(maxsplit=1)[-1])
        return self.error(
            f"{source} cannot be copied into the image",
            definition.copied_line(self.text, source),
            fatal,
            _ANYWHERE,
            hint="Run the same command again: it writes the files of the recipe anew.",
        )

    def image(self, fatal: str) -> EnvpackError:
        """A base image could not be had."""
        line = definition.image_line(self.text, fatal)
        image = self.text.splitlines()[line - 1].partition(":")[2].strip() if line else ""
        return self.error(
            f"the base image {image.partition('@')[0]} cannot be fetched".replace("  ", " "),
            line,
            fatal,
            (*_ANYWHERE, *_IMAGE),
            hint="Run the same command again.",
            registry=image.partition("/")[0] or "REGISTRY",
        )

    def error(
        self,
        what: str,
        line: int | None,
        said: str = "",
        kinds: Sequence[_Kind] = (),
        *,
        hint: str,
        registry: str = "REGISTRY",
    ) -> EnvpackError:
        """The error of the first kind whose words are in ``said``, else a general one with ``hint``."""
        shown = [shown for shown in self.transcript.lines if shown.strip()][-_SHOWN:]
        why = "\n".join(shown) or "it said nothing"
        where = Location(str(self.file), line)
        kind = next((kind for kind in kinds if kind.pattern.search(said)), None)
        if kind is None:
            return EngineError(what, where=where, why=why, hint=hint)
        prefix = "APPTAINER" if self.program.is_apptainer else "SINGULARITY"
        # `registry login` came with Apptainer 1.3 and SingularityCE 4.0.
        new = self.program.version >= ((1, 3) if self.program.is_apptainer else (4,))
        words = {
            "variable": f"{prefix}_TMPDIR",
            "cache": f"{prefix}_CACHEDIR",
            "login": f"{self.program.path.name} {'registry' if new else 'remote'} login --username NAME "
            f"docker://{registry}",
        }
        return kind.error(f"{what}: {kind.what}", where=where, why=why, hint=kind.hint.format(**words))
