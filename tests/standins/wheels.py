"""Wheels from PyPI as the conda packages that conda-forge would make of them."""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.markers import default_environment
from packaging.metadata import Metadata
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.standins import bytecode
from tests.standins.conda_package import PLACEHOLDER, File, Package, script
from tests.standins.cpython import ABI, SHORT
from tests.standins.store import StandInError

# Where conda-forge's name is not PyPI's.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "pure-eval": "pure_eval",
    "stack-data": "stack_data",
    "typing-extensions": "typing_extensions",
    "tzdata": "python-tzdata",
}
# What conda-forge adds to the wheel's own requirements.
ADDED = {"pip": ("setuptools", "wheel")}

# The form of noarch's and of compiled packages' console scripts.
ENTRY_POINT = """#!{python}
import sys

from {module} import {first}

if __name__ == "__main__":
    sys.exit({function}())
"""


def conda_name(project: str) -> str:
    name = canonicalize_name(project)
    return CONDA_NAMES.get(name, name)


def download(pins: Mapping[str, str], folder: Path) -> None:
    """Put the wheel of each pinned project for this python into ``folder``, by the user's pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pinned = [f"{name}=={version}" for name, version in pins.items()]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", folder, *pinned],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise StandInError(f"pip cannot download the wheels of the channel stand-in: {done.stderr.strip()}")


def convert(path: Path, subdir: str, date: str) -> Iterator[Package]:
    """The conda packages of a wheel: one, and matplotlib's metapackage."""
    project, version, _, tags = parse_wheel_filename(path.name)
    noarch = all(tag.platform == "any" and tag.abi == "none" for tag in tags)
    site_packages = "site-packages" if noarch else f"lib/python{SHORT}/site-packages"
    with zipfile.ZipFile(path) as archive:
        info = next(part for n in archive.namelist() if (part := n.split("/")[0]).endswith(".dist-info"))
        metadata = Metadata.from_email(archive.read(f"{info}/METADATA"), validate=False)
        entry_points = _entry_points(archive, info)
        files = dict(_files(archive, info, site_packages, "python-scripts" if noarch else "bin"))
    files[f"{site_packages}/{info}/INSTALLER"] = File(b"conda\n")
    files[f"{site_packages}/{info}/REQUESTED"] = File()
    files[f"{site_packages}/{info}/RECORD"] = File(_record(files, site_packages, info))
    name = conda_name(project)
    depends = [*_depends(metadata), *ADDED.get(name, ())]
    if noarch:
        requires = _spec(metadata.requires_python) if metadata.requires_python else ">=3.6"
        depends.insert(0, f"python {requires}")
    else:
        major, minor = SHORT.split(".")
        python = f"python >={SHORT},<{major}.{int(minor) + 1}.0a0"
        depends = [python, f"python_abi {SHORT}.* *_{ABI}", "libgcc >=12", "libstdcxx >=12", *depends]
        files |= {f"bin/{e.split(' = ')[0]}": _entry_script(e) for e in entry_points}
        files |= bytecode.compiled(files, date)
    number = hashlib.sha256(repr(depends).encode()).hexdigest()[:7]
    build = f"pyh{number}_0" if noarch else f"py{SHORT.replace('.', '')}h{number}_0"
    package = Package(
        name,
        str(version),
        build,
        "noarch" if noarch else subdir,
        files,
        depends,
        noarch="python" if noarch else None,
        date=date,
        entry_points=entry_points if noarch else (),
        license=metadata.license_expression or "custom",
        summary=metadata.summary or "",
    )
    yield package
    if name == "matplotlib-base":
        whole = [f"matplotlib-base =={version}", depends[0]]
        yield Package("matplotlib", str(version), build, subdir, {}, whole, date=date)


def _files(archive: zipfile.ZipFile, info: str, site: str, scripts: str) -> Iterator[tuple[str, File]]:
    for member in archive.infolist():
        if member.is_dir() or member.filename == f"{info}/RECORD":
            continue
        data = archive.read(member)
        mode = 0o755 if (member.external_attr >> 16) & 0o111 else 0o644
        top, _, rest = member.filename.partition("/")
        if not top.endswith(".data"):
            yield f"{site}/{member.filename}", File(data, mode)
            continue
        scheme, _, name = rest.partition("/")
        if scheme == "scripts":
            head, _, body = data.partition(b"\n")
            if head.startswith(b"#!python"):
                yield f"{scripts}/{name}", script(f"#!{PLACEHOLDER}/bin/python\n{body.decode()}")
            else:
                yield f"{scripts}/{name}", File(data, 0o755)
        elif scheme in ("purelib", "platlib"):
            yield f"{site}/{name}", File(data, mode)
        elif scheme == "data":
            yield name, File(data, mode)


def _record(files: Mapping[str, File], site: str, info: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name in sorted(files):
        if name.startswith(f"{site}/"):
            data = files[name].data
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            writer.writerow([name[len(site) + 1 :], f"sha256={digest}", len(data)])
    writer.writerow([f"{info}/RECORD", "", ""])
    return out.getvalue().encode()


def _entry_points(archive: zipfile.ZipFile, info: str) -> list[str]:
    """``name = module:function`` of all scripts."""
    if f"{info}/entry_points.txt" not in archive.namelist():
        return []
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    parser.read_string(archive.read(f"{info}/entry_points.txt").decode())
    sections = [parser[name] for name in ("console_scripts", "gui_scripts") if parser.has_section(name)]
    return [
        f"{name.strip()} = {target.split('[')[0].strip()}"
        for section in sections
        for name, target in section.items()
    ]


def _entry_script(entry: str) -> File:
    module, _, function = entry.split(" = ")[1].partition(":")
    return script(
        ENTRY_POINT.format(
            python=f"{PLACEHOLDER}/bin/python{SHORT}",
            module=module.strip(),
            function=function.strip(),
            first=function.split(".")[0].strip(),
        )
    )


def _depends(metadata: Metadata) -> list[str]:
    """``Requires-Dist`` as match specs; markers are judged for this python on 64-bit Linux."""
    environment = {name: str(value) for name, value in default_environment().items()}
    environment |= {"platform_machine": "x86_64", "extra": ""}
    return sorted(
        {
            f"{conda_name(requirement.name)} {_spec(requirement.specifier)}".strip()
            for requirement in metadata.requires_dist or []
            if not requirement.marker or requirement.marker.evaluate(environment)
        }
    )


def _spec(specifiers: SpecifierSet) -> str:
    """A conda version spec for a PEP 440 one; only ``== 1.*`` is written differently."""
    ordered = sorted(specifiers, key=lambda s: (not s.operator.startswith(">"), str(s)))
    return ",".join(
        s.version if s.operator == "==" and s.version.endswith(".*") else f"{s.operator}{s.version}"
        for s in ordered
    )
