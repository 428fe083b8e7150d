"""The images of all engines hold the same environment, file by file.

The reference is the native engine's SIF; compared with it are its OCI archive, the images of Docker's two
builders as ``docker save`` gives them, and Apptainer's: kind, mode and content (a link's target) of every
path below ``/opt/env``. A hard link counts as the file that it is. Nothing is missing in any of them, the
OCI archive is equal, and what built recipes differ in is this:

- ``CACHEDIR.TAG``: a mark of py-rattler, which is the conda of the stand-in for Miniforge.
- ``conda-meta/history``: that conda's is empty. The native engine's names the packages, as conda's does.
- ``conda-meta/*.json``: tells who linked a package from where (:data:`LINKED_BY`); the stand-in for conda
  leaves out what is null or empty, and writes records for their owner alone. The native engine lists the
  bytecode that it makes as the package's, and the hash of what it mended; recipes compile when conda has
  finished.
- ``REQUESTED`` of what pip installs, and its line in ``RECORD``: pip marks all that a requirements file
  names. The native engine marks nothing, as wheels give it no reason to.
- The scripts in ``bin`` for entry points of what pip installs: pip starts them with the name that it was
  itself started with, ``bin/python``, which is a link, and has a text of its own. ``RECORD`` has their hash.
- What link scripts make: the native engine runs none, and says so.
- Code in ``.pyc`` files is equal, and so is their header: an unchecked hash of the source. But recipes
  compile everything, so that tracebacks name sources where they are, and the native engine keeps code that
  packages ship, which names them where they were built. How often marshal refers to a shared string instead
  of repeating it depends on what the interpreter had compiled before.
"""

from __future__ import annotations

import configparser
import csv
import json
import marshal
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import source_hash
from pathlib import Path

import pytest

from envpack.content import rootfs
from envpack.entry import Entry, Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.engines.docker import Docker
from tests.engines.recipes.conftest import Project

pytestmark = pytest.mark.engines

PREFIX = "opt/env/"
CELLS = [("any-base", "conda"), ("any-base", "conda-pip"), ("miniforge3", "pip")]
LINKED_BY = {"channel", "extracted_package_dir", "link", "md5", "requested_spec", "requested_specs"}
UNCHECKED_HASH = (1).to_bytes(4, "little")
LINK_SCRIPTS_MAKE = {"postlink_demo": {"var", "var/postlink_demo", "var/postlink_demo/ran"}}


@dataclass(frozen=True)
class Node:
    """A path of an environment; a link's content is its target."""

    kind: Kind
    mode: int
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode()


Tree = dict[str, Node]


def tree(entries: Iterable[Entry]) -> Tree:
    """The environment of a file system."""
    found: Tree = {}
    for entry in entries:
        if not entry.path.startswith(PREFIX):
            continue
        path = entry.path.removeprefix(PREFIX)
        if entry.kind is Kind.HARDLINK:
            found[path] = found[entry.target.removeprefix(PREFIX)]
        else:
            content = entry.target.encode() if entry.kind is Kind.SYMLINK else b"".join(entry.chunks)
            found[path] = Node(entry.kind, entry.mode, content)
    return found


def of_sif(image: Path) -> Tree:
    with image.open("rb") as file:
        return tree(Squashfs(file, sif.read(image).partition().offset).entries())


def of_archive(archive: Path, work: Path) -> Tree:
    """Of an archive with Docker's ``manifest.json``, as ``docker save`` and ``envpack build`` make it."""
    layers = []
    with tarfile.open(archive) as tar:
        (manifest,) = json.loads(_member(tar, "manifest.json"))
        for number, name in enumerate(manifest["Layers"]):
            layers.append(work / f"layer-{number}")
            layers[-1].write_bytes(_member(tar, name))
    return tree(rootfs.entries(layers))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, name
    with file:
        return file.read()


@pytest.fixture(scope="session")
def native(
    settings: dict[str, str], project: Callable[[str, str], Project]
) -> Callable[[str, str, str], Path]:
    """A function that builds a project's image with the native engine in a format, once each."""
    made: dict[tuple[str, str, str], Path] = {}

    def build(family: str, content: str, format: str) -> Path:
        key = (family, content, format)
        if key not in made:
            folder = project(family, content).folder
            made[key] = folder / f"native.{format}"
            command = ["build", "--skip-link-scripts", "--format", format, "--output", str(made[key])]
            done = subprocess.run(
                [sys.executable, "-m", "envpack", *command],
                cwd=folder, env=settings, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        return made[key]

    return build


@pytest.mark.parametrize(("family", "content"), CELLS)
def test_the_oci_archive(
    family: str, content: str, native: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    expected = of_sif(native(family, content, "sif"))
    found = of_archive(native(family, content, "oci"), tmp_path)
    assert len(expected) > 1500
    assert [p for p in sorted(expected | found) if expected.get(p) != found.get(p)] == []


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
@pytest.mark.parametrize(("family", "content"), CELLS)
def test_docker(
    family: str,
    content: str,
    builder: str,
    docker: Docker,
    docker_image: Callable[[str, str, str], str],
    native: Callable[[str, str, str], Path],
    project: Callable[[str, str], Project],
    tmp_path: Path,
) -> None:
    docker("save", "--output", tmp_path / "saved.tar", docker_image(family, content, builder))
    found = of_archive(tmp_path / "saved.tar", tmp_path)
    expected = of_sif(native(family, content, "sif"))
    assert list(differences(expected, found, project(family, content))) == []


@pytest.mark.parametrize(("family", "content"), CELLS)
def test_apptainer(
    family: str,
    content: str,
    apptainer_image: Callable[[str, str], Path],
    native: Callable[[str, str, str], Path],
    project: Callable[[str, str], Project],
) -> None:
    expected = of_sif(native(family, content, "sif"))
    found = of_sif(apptainer_image(family, content))
    assert list(differences(expected, found, project(family, content))) == []


def differences(expected: Tree, found: Tree, project: Project) -> Iterator[str]:
    """The paths that differ from the native engine's and are not explained above."""
    locked = project.versions()
    by_pip = installed_by_pip(expected)
    assert len(by_pip) == len(locked["pip"])
    added = {"CACHEDIR.TAG", *(f"{folder}/REQUESTED" for folder in by_pip)}
    added.update(*(LINK_SCRIPTS_MAKE.get(name, set()) for name in locked["conda"]))
    yield from (f"{path} is missing" for path in sorted({*expected, *added} - set(found)))
    yield from (f"{path} is new" for path in sorted(set(found) - {*expected, *added}))
    for path in sorted(set(expected) & set(found)):
        ours, theirs = expected[path], found[path]
        mode = 0o600 if is_record(path) else ours.mode
        if (theirs.kind, theirs.mode) != (ours.kind, mode):
            yield f"{path} is a {theirs.kind.value} with mode {theirs.mode:o}, not {mode:o}"
        elif ours.content != theirs.content and not is_explained(path, expected, found, by_pip):
            yield f"{path} has another content"


def installed_by_pip(expected: Tree) -> dict[str, set[str]]:
    """The ``.dist-info`` folders of pip's distributions, and each one's scripts for entry points."""
    folders: dict[str, set[str]] = {}
    for path, node in expected.items():
        # Not those that setuptools has inside of it.
        if (
            re.fullmatch(r"lib/[^/]+/site-packages/[^/]+\.dist-info/INSTALLER", path)
            and node.content == b"pip\n"
        ):
            folder = path.removesuffix("/INSTALLER")
            parser = configparser.ConfigParser(delimiters="=")
            parser.read_string(expected.get(f"{folder}/entry_points.txt", Node(Kind.FILE, 0)).text)
            commands = parser.options("console_scripts") if parser.has_section("console_scripts") else []
            folders[folder] = {f"bin/{command}" for command in commands}
    return folders


def is_record(path: str) -> bool:
    return path.startswith("conda-meta/") and path.endswith(".json")


def is_explained(path: str, expected: Tree, found: Tree, by_pip: dict[str, set[str]]) -> bool:
    """Whether contents that are not equal differ only in what is explained above."""
    ours, theirs = expected[path], found[path]
    folder, _, name = path.rpartition("/")
    if path == "conda-meta/history":
        return not theirs.content
    if is_record(path):
        return same_record(ours, theirs)
    if path.endswith(".pyc"):
        return same_bytecode(path, expected, found)
    if folder in by_pip and name == "RECORD":
        info = folder.rpartition("/")[2]
        listed = rows(theirs, by_pip[folder])
        return listed.pop(f"{info}/REQUESTED", None) is not None and listed == rows(ours, by_pip[folder])
    if any(path in scripts for scripts in by_pip.values()):
        return what_it_does(ours, expected) == what_it_does(theirs, found)
    return False


def same_record(ours: Node, theirs: Node) -> bool:
    """Whether two records of ``conda-meta`` tell the same of the package."""
    mine, other = json.loads(ours.content), json.loads(theirs.content)
    paths, other_paths = ({p["_path"]: p for p in record["paths_data"]["paths"]} for record in (mine, other))
    for path in list(paths):
        if path.endswith(".pyc"):
            made, shipped = paths.pop(path), other_paths.pop(path, {})
            if shipped and shipped["sha256"] != made["sha256"]:
                return False
    files, other_files = ({p for p in record["files"] if not p.endswith(".pyc")} for record in (mine, other))
    ignored = {*LINKED_BY, "files", "paths_data"}
    rest, other_rest = (
        {key: value for key, value in record.items() if key not in ignored and value not in (None, [])}
        for record in (mine, other)
    )
    return (paths, files, rest) == (other_paths, other_files, other_rest)


def same_bytecode(path: str, expected: Tree, found: Tree) -> bool:
    """Whether both are unchecked hashes of the source and the same code, theirs compiled where it is."""
    folder, _, name = path.rpartition("/")
    source = f"{folder.removesuffix('__pycache__')}{name.partition('.')[0]}.py"
    ours, theirs = expected[path].content, found[path].content
    header = ours[:4] + UNCHECKED_HASH + source_hash(expected[source].content)
    if not ours[:16] == theirs[:16] == header:
        return False
    code = marshal.loads(theirs[16:])
    return bool(marshal.loads(ours[16:]) == code) and code.co_filename == f"/{PREFIX}{source}"


def rows(record: Node, scripts: set[str]) -> dict[str, tuple[str, str]]:
    """Path to hash and size of a ``RECORD``; without both for ``scripts``."""
    found = {path: (digest, size) for path, digest, size in csv.reader(record.text.splitlines())}
    return {
        path: ("", "") if path.removeprefix("../../../") in scripts else listed
        for path, listed in found.items()
    }


def what_it_does(script: Node, environment: Tree) -> list[str]:
    """The interpreter of a script, what it imports of its distribution, and what it calls."""
    first, *lines = script.text.splitlines()
    interpreter = first.removeprefix(f"#!/{PREFIX}")
    if environment[interpreter].kind is Kind.SYMLINK:
        interpreter = f"bin/{environment[interpreter].text}"
    calls = [line.strip() for line in lines if line.strip().startswith(("from ", "sys.exit("))]
    return [interpreter, *calls]
