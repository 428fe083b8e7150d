"""Of which system a list of packages is: by its prefix, its subdirs, and names that only one system has.

Most build strings cannot tell. Nor can every path of a build: packages without compiled code were built on
any machine (``/Users/ktietz/…`` is in lists from Linux).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_SUBDIR = re.compile(r"\b(?:(?:linux|osx|win)-(?:64|32|arm64|aarch64|ppc64le|s390x)|noarch)\b")
_WINDOWS_PATH = re.compile(r"(?:^|[\s\"'/=])[A-Za-z]:[\\/]")
_MAC_PATH = re.compile(r"/Users/(?!ktietz/)|/opt/homebrew|/private/var/folders|/opt/concourse/worker")
_LINUX_PATH = re.compile(r"(?:^|[\s\"'])/(?:home|root|mnt|srv|data|scratch|u|usr/local|opt/conda)/")
_WINDOWS_NAMES = frozenset(
    [
        "vs2015_runtime",
        "vs2013_runtime",
        "vs2008_runtime",
        "vc",
        "vc14_runtime",
        "ucrt",
        "pywin32",
        "pypiwin32",
        "pywin32-ctypes",
        "pywinpty",
        "winpty",
        "wincertstore",
        "win_inet_pton",
        "win-inet-pton",
        "win_unicode_console",
        "win-unicode-console",
        "console_shortcut",
        "powershell_shortcut",
        "msys2-conda-epoch",
        "windows-curses",
        "vcomp14",
        "wmi",
    ]
)
_MAC_NAMES = frozenset(
    ["appnope", "libcxxabi", "python.app", "applaunchservices", "osxphotos", "pyobjc-core", "pyobjc"]
)
_LINUX_NAMES = frozenset(
    [
        "_libgcc_mutex",
        "libgcc-ng",
        "libstdcxx-ng",
        "libgfortran-ng",
        "libgomp",
        "libnsl",
        "python-apt",
        "ufw",
        "distro-info",
        "ubuntu-drivers-common",
        "nvidia-cublas-cu11",
        "nvidia-cublas-cu12",
        "triton",
    ]
)


def of_path(path: str) -> str | None:
    """The conda subdir of the system that has the path ``path``, where it can be told."""
    if _WINDOWS_PATH.search(path):
        return "win-64"
    if _MAC_PATH.search(path):
        return "osx-arm64" if "/opt/homebrew" in path else "osx-64"
    return "linux-64" if _LINUX_PATH.search(path + "/") else None


def of_names(names: Iterable[str], *, whole: bool) -> str | None:
    """The conda subdir of the system on which packages with these ``names`` are installed together.

    With ``whole`` they are a whole environment; then names count that others may ask for too.
    """
    votes: Counter[str] = Counter()
    machine = "64"
    for name in names:
        lowered = name.lower()
        if lowered in _WINDOWS_NAMES or lowered.startswith(("m2w64-", "api-ms-win-")):
            votes["win"] += 1
        elif (
            lowered in _MAC_NAMES or lowered.startswith("pyobjc-framework") or (whole and lowered == "libcxx")
        ):
            votes["osx"] += 1
        elif lowered in _LINUX_NAMES or (whole and lowered.startswith("ld_impl_linux")):
            votes["linux"] += 1
        if found := re.search(r"_(linux|osx)-(64|arm64|aarch64|ppc64le)$", lowered):
            votes[found[1]] += 1
            machine = found[2]
    if not votes:
        return None
    (system, count), *others = votes.most_common(2)
    if others and others[0][1] == count:
        return None
    return f"{system}-{machine if system != 'win' else '64'}"


def of_subdirs(texts: Iterable[str]) -> str | None:
    """The conda subdir that ``texts`` (URLs, ``channel/subdir::name``) name most, without ``noarch``."""
    found = Counter(subdir for text in texts for subdir in _SUBDIR.findall(text) if subdir != "noarch")
    return found.most_common(1)[0][0] if found else None
