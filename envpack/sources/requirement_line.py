"""One line of a list for pip: what it asks for, or why it cannot be asked for.

The forms are PEP 508's, what ``pip freeze`` prints for packages that are from no index, what Debian's python
adds to them, and lines of conda's that were pasted in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from envpack.ledger import Action
from envpack.sources.local_package import NOT_HERE
from envpack.sources.match_specs import AS_IT_IS
from envpack.sources.urls import is_local, without_secrets

_VCS = re.compile(r"(?:^|@\s*)(?:git|hg|svn|bzr)(?:\+|://)|^git@")
_DIRECT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*@\s*(?P<url>\S.*)\Z")
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_FILE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*?(?:-[A-Za-z][A-Za-z0-9._]*)*)-(?P<version>\d[^-/\\]*?)"
    r"(?P<tags>(?:-[^-/\\]+){3,4}\.whl|\.tar\.gz|\.zip)\Z"
)
# Where conda's builders compile; paths of the machine that built a package, not of the one it is on.
_CONDA_BUILD = re.compile(
    r"/(?:feedstock_root|build_artifacts|conda-bld|croots?|80754af9|ktietz)/|file:///[A-Za-z]:/(?:ci\w*|b|bld)/"
    r"|/perseverance-python-buildout/|/(?:abs_\w+|_?work)(?:/|$)|_\d{10,13}/"
)
_DISTRIBUTION = re.compile(r"\d(?:\+|-\d+)?(?:ubuntu|debian|dfsg|build\d)|\d\+deb\d", re.IGNORECASE)
_CONDA_EXPORT = re.compile(
    r"(?P<name>[A-Za-z0-9_][\w.-]*)={1,2}(?P<version>\d[^=\s,;]*)=(?P<build>[A-Za-z0-9_.]+)\Z"
)
_CONDA_SPEC = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?P<extras>\[[^\[\]]*\])?\s*=\s*"
    r"(?P<version>\d[A-Za-z0-9._!]*(?:\+[A-Za-z0-9._]+)?)(?:\.\*)?\s*(?:;(?P<marker>.*))?\Z"
)
_TABLE_ROW = re.compile(
    r"(?P<name>[A-Za-z0-9_][\w.-]*)\s+(?P<version>v?\d[\w.!+]*)(?:\s+(?P<build>[\w.]*\d[\w.]*)(?:\s+\S+)?)?\Z"
)
_HEADING = re.compile(r"Package\s+Version(\s+(Editable project )?Location)?\Z|-[- ]{5,}\Z")
_MESSAGE = re.compile(
    r"\[?(WARNING|DEPRECATION|ERROR|NOTICE|notice|Warning|Error)\]?\b[: ]|You are using pip version "
    r"|You should consider upgrading |Could not determine |Requirement already |Collecting |Python 2\.7 "
    r"|cannot determine version of editable source"
)
_ARTEFACTS = {"pkg-resources": "Debian's python lists it by mistake; it is part of setuptools"}
# Parts of distributions that are on no index, or there as an empty namesake.
_SYSTEM = frozenset(
    [
        "apt-clone",
        "apt-xapian-index",
        "aptdaemon",
        "apturl",
        "brlapi",
        "checkbox-ng",
        "checkbox-support",
        "cloud-init",
        "command-not-found",
        "compizconfig-python",
        "cupshelpers",
        "distro-info",
        "language-selector",
        "louis",
        "oneconf",
        "python-apt",
        "screen-resolution-extra",
        "software-properties",
        "ssh-import-id-lp",
        "system-service",
        "ubuntu-advantage-tools",
        "ubuntu-drivers-common",
        "ubuntu-pro-client",
        "ufw",
        "unattended-upgrades",
        "unity-lens-photos",
        "usb-creator",
        "xkit",
    ]
)
_SYSTEM_WHY = "it is a part of the distribution, which no index has"
_SYSTEM_REMEDY = 'If you need it, ask for the system\'s package: apt = ["python3-…"] in envpack.toml.'
# What the index has for one other system alone; the package to ask for instead, where there is one.
_OTHER_SYSTEM = {
    "pypiwin32": ("Windows", None),
    "pywin32": ("Windows", None),
    "pywinpty": ("Windows", None),
    "tensorflow-intel": ("Windows", "tensorflow"),
    "triton-windows": ("Windows", "triton"),
    "windows-curses": ("Windows", None),
    "tensorflow-macos": ("macOS", "tensorflow"),
    "tensorflow-metal": ("macOS", None),
}
_RELEASE = "Name a released version, or build a wheel and put it on an index."


@dataclass(frozen=True, slots=True)
class Read:
    """What became of a line: ``text`` is a requirement, ``conda`` a match spec; without both it is left out.

    ``local`` is the requirement with its local version (``torch==2.1.0+cu121``), where ``text`` is without.
    """

    action: Action
    reason: str
    remedy: str | None = None
    text: str | None = None
    conda: str | None = None
    local: str | None = None


def read(line: str) -> Read:
    """What ``line`` (no option, no comment) asks for. Raises ``ValueError`` with the reason if nothing."""
    if _HEADING.match(line):
        return Read(Action.DROPPED, "it is the heading of a table")
    if is_message(line):
        return Read(Action.DROPPED, "it is a message of pip, which went into the list")
    if _VCS.search(line):
        why = "it is built from a repository, and the image is made of finished packages only"
        return Read(Action.NEEDS_YOU, why, _RELEASE)
    if found := _DIRECT.match(line):
        return _direct(found["name"] + (found["extras"] or ""), found["url"])
    if is_local(line) or _HTTP.match(line):
        return elsewhere(line)
    if found := _CONDA_EXPORT.match(line):
        return _from_conda(found["name"], found["version"], found["build"])
    if found := _TABLE_ROW.match(line):
        return _from_conda(found["name"], found["version"].removeprefix("v"), found["build"])
    if found := _CONDA_SPEC.match(line):
        return _one_equals_sign(found)
    return _pep508(line)


def elsewhere(target: str) -> Read:
    """A path or an address, which is on no index: what to do instead."""
    file = _FILE.search(unquote(re.split(r"[\\/]", target.partition("#")[0])[-1]))
    named = f"{file['name'].replace('_', '-')}=={file['version']}" if file else "NAME==VERSION"
    if _HTTP.match(target):
        why = "it is a file outside of any index"
        if "pypi.nvidia.com" in target:
            return Read(
                Action.NEEDS_YOU,
                why,
                f"Replace the line by {named}, and add --extra-index-url https://pypi.nvidia.com.",
            )
        remedy = f"Replace the line by {named}, if an index has that (--extra-index-url)."
        return Read(Action.NEEDS_YOU, why, remedy)
    if "file:" in target and not file:
        why = "it names a file of the machine where the list was made, and the version is lost"
        return Read(Action.NEEDS_YOU, why, "Replace the line by NAME==VERSION.")
    if file:
        why = "it is a file of the machine where the list was made"
        if re.search(r"-(win|macosx)[^-]*\.whl\Z", file["tags"]):
            why += ", for another platform"
        remedy = f"Replace the line by {named}, if an index has that."
        return Read(Action.NEEDS_YOU, why, remedy)
    why = NOT_HERE
    remedy = "Put it where the line says, or remove the line: your own code can stay outside the image."
    return Read(Action.NEEDS_YOU, why, remedy)


def _direct(name: str, target: str) -> Read:
    """``name @ target``."""
    target, _, marker = target.partition(" ;")
    file = _FILE.search(unquote(target.partition("#")[0].rpartition("/")[2]))
    marker = f" ; {marker.strip()}" if marker.strip() else ""
    if target.startswith("file:") and _CONDA_BUILD.search(target):
        if file:
            why = "conda built and installed it: the same version is asked from pip's index"
            return Read(Action.TRANSLATED, why, text=f"{name}=={file['version']}{marker}")
        why = "conda installed it, and pip does not know the version: any is taken"
        remedy = f"For the same one, replace the line by {name}==VERSION, or give the output of conda list."
        return Read(Action.RELAXED, why, remedy, text=name + marker)
    if _HTTP.match(target) and file and "+" in file["version"]:
        public, _, local = file["version"].partition("+")
        why = f"the wheel +{local} is on no index that is named: the one of the index is taken"
        remedy = f"For the same one, write {name}=={file['version']}, and {_index_of(local)}."
        return Read(Action.REPLACED, why, remedy, text=f"{name}=={public}{marker}")
    return elsewhere(target)


def _from_conda(name: str, version: str, build: str | None) -> Read:
    """A line of ``conda list``, with or without ``--export``, or of ``pip list``."""
    if build is None or build.startswith("pypi_"):
        try:
            return Read(Action.TRANSLATED, "a row of a table", text=f"{name}=={Version(version)}")
        except InvalidVersion:
            raise ValueError(f"{version} is not a version") from None
    why = "it is conda's, by its build string: asked from conda"
    return Read(Action.TRANSLATED, why, conda=f"{name.lower()} =={version} {build}")


def _one_equals_sign(found: re.Match[str]) -> Read:
    """``six=1.10``, which is conda's word for any 1.10, and none of pip's."""
    try:
        version = Version(found["version"])
    except InvalidVersion:
        raise ValueError(f"{found['version']} is not a version, and pip has no =") from None
    final = not (version.is_prerelease or version.is_postrelease or version.local)
    text = f"{found['name']}{found['extras'] or ''}=={found['version']}{'.*' if final else ''}"
    text += f" ; {found['marker'].strip()}" if found["marker"] else ""
    read = _pep508(text)
    if read.action is not Action.KEPT:
        return read
    why = f"pip has no =, which is conda's: taken as {text}"
    return Read(Action.TRANSLATED, why, "Write it so, or with == for that version alone.", text=text)


def _pep508(line: str) -> Read:
    try:
        parsed = Pep508(line)
    except (InvalidRequirement, RecursionError) as error:
        return _old_version(line, str(error).partition("\n")[0])
    name = canonicalize_name(parsed.name)
    if artefact := _ARTEFACTS.get(name):
        return Read(Action.DROPPED, artefact)
    if parsed.marker is None and (other := of_other_system(name)):
        return Read(Action.DROPPED, *other)
    pins = [s.version for s in parsed.specifier if s.operator in ("==", "===")]
    if name in _SYSTEM or any(_DISTRIBUTION.search(pin) for pin in pins):
        return Read(Action.DROPPED, _SYSTEM_WHY, _SYSTEM_REMEDY)
    if any(s.operator == "===" and not _is_version(s.version) for s in parsed.specifier):
        return _any_version(parsed, pins[0])
    with_local = [pin for pin in pins if "+" in pin]
    return _local(parsed, line, with_local[0]) if with_local else Read(Action.KEPT, AS_IT_IS, text=line)


def of_other_system(name: str) -> tuple[str, str | None] | None:
    """Why no Linux can have the package of this normalised ``name``, if so, and what to do instead."""
    system, instead = (
        ("macOS", None) if re.match(r"pyobjc(-|\Z)", name) else _OTHER_SYSTEM.get(name, ("", None))
    )
    if not system:
        return None
    return f"it exists for {system} alone", f"Ask for {instead}, if that is meant." if instead else None


def _local(parsed: Pep508, line: str, version: str) -> Read:
    """A version with a local part, which indexes other than the one it is from do not have (PEP 440)."""
    public, _, local = version.partition("+")
    if public == "0" or local.startswith(("unknown", "untagged")):
        return _any_version(parsed, version)
    if ".dev" in public or re.match(r"\d*\.?g[0-9a-f]{6,}|dirty", local):
        why = "it was built from a repository, between two releases"
        return Read(Action.NEEDS_YOU, why, _RELEASE)
    why = f"+{local} is of an index that the list does not name: the same version of the usual one is taken"
    remedy = f"For the same one, {_index_of(local)}."
    return Read(Action.RELAXED, why, remedy, text=line.replace(f"+{local}", "", 1), local=line)


def _index_of(local: str) -> str:
    if re.match(r"(cu|rocm|cpu|xpu)[\d.]*\Z", local):
        return f"add the line --extra-index-url https://download.pytorch.org/whl/{local}"
    return "name its index (--extra-index-url) or its page of files (--find-links)"


def _any_version(parsed: Pep508, version: str) -> Read:
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    why = f"{version} is no version that an index can have: any is taken"
    remedy = f"Name another one: {parsed.name}==VERSION."
    return Read(Action.RELAXED, why, remedy, text=f"{parsed.name}{extras}{marker}")


def _old_version(line: str, why: str) -> Read:
    """``name==version`` with a version from before PEP 440."""
    found = re.match(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*={2,3}\s*(?P<version>\d[\w.+~!:-]*)\Z", line)
    if not found or found["name"][-1] in "._-":
        raise ValueError(why)
    if canonicalize_name(found["name"]) in _SYSTEM or _DISTRIBUTION.search(found["version"]):
        return Read(Action.DROPPED, _SYSTEM_WHY, _SYSTEM_REMEDY)
    return _any_version(Pep508(found["name"]), found["version"])


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def is_message(line: str) -> bool:
    """Whether ``line`` is what pip said, not what it listed."""
    return _MESSAGE.match(line) is not None


def shown(line: str) -> str:
    """``line`` as messages show it: without secrets, and not too long."""
    line = without_secrets(line)
    return line if len(line) <= 300 else f"{line[:300]}…"
