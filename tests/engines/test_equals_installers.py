"""The environment in the image against what the field's own installers make of the same lock.

The reference is ``rattler.install`` for conda's packages, ``installer`` for wheels, and ``compileall`` with
the environment's python for bytecode; compared are content, mode and link target of every path.

What differs, and why:

- ``conda-meta/*.json``: ours name no path of the machine that linked, and list the bytecode.
- ``conda-meta/history``: rattler's is empty; ours is what conda looks for.
- ``CACHEDIR.TAG`` is rattler's mark for backup programs on a folder that grows; images do not.
- ``.pyc`` of compiled packages: shipped with the source's time, which no file of an image has. They are
  compared without their headers, which are checked to be unchecked hashes of the source. Where linking
  changed the source, what was shipped is of another one: ours is compiled from the source in the image.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import marshal
import os
import stat
import subprocess
from importlib.util import source_hash
from pathlib import Path

import pytest

from envpack import config as settings
from envpack.cache import Cache
from envpack.content.conda_archive import CondaArchive
from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from envpack.lockfile import LockedPackage, Lockfile

pytestmark = pytest.mark.engines

PREFIX = "/opt/env"
Found = dict[str, tuple[str, int, str]]


def install_conda(packages: list[LockedPackage], cache: Cache, target: Path, work: Path) -> None:
    """With rattler, from the very archives that the image was built from."""
    import rattler

    records = []
    for package in packages:
        archive = cache.archive(package.sha256, package.filename)
        record = rattler.PackageRecord.from_index_json(_index_json(archive, work))
        records.append(rattler.RepoDataRecord(record, package.filename, archive.as_uri(), package.url))
    asyncio.run(
        rattler.install(
            records,
            target,
            cache_dir=work / "rattler",
            alternative_target_prefix=PREFIX,
            show_progress=False,
            execute_link_scripts=False,
        )
    )


def _index_json(archive: Path, work: Path) -> Path:
    path = work / f"{archive.name}.json"
    path.write_text(json.dumps(dict(CondaArchive.open(archive).index)))
    return path


def install_wheels(
    packages: list[LockedPackage], cache: Cache, target: Path, python: str, work: Path
) -> None:
    """With PyPA's installer, as if the folder were ``PREFIX`` already."""
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.sources import WheelFile

    site = f"{PREFIX}/lib/python{python}/site-packages"
    scheme = {"purelib": site, "platlib": site, "scripts": f"{PREFIX}/bin", "data": PREFIX}
    root = work / "root"
    (root / PREFIX[1:]).parent.mkdir(parents=True)
    (root / PREFIX[1:]).symlink_to(target)
    for package in packages:
        destination = SchemeDictionaryDestination(
            {**scheme, "headers": f"{PREFIX}/include/python{python}/{package.name}"},
            interpreter=f"{PREFIX}/bin/python{python}", script_kind="posix", destdir=str(root),
        )  # fmt: skip
        wheel = work / package.filename  # its name is read
        wheel.symlink_to(cache.archive(package.sha256, package.filename))
        with WheelFile.open(wheel) as source:
            install(source, destination, additional_metadata={"INSTALLER": b"pip\n"})


def on_disk(root: Path) -> Found:
    found = {}
    for folder, names, files in os.walk(root):
        for name in [*files, *(n for n in names if Path(folder, n).is_symlink())]:
            path = Path(folder, name)
            status = path.lstat()
            link = path.is_symlink()
            content = str(path.readlink()) if link else hashlib.sha256(path.read_bytes()).hexdigest()
            mode = 0o777 if link else stat.S_IMODE(status.st_mode)
            found[str(path.relative_to(root))] = ("link" if link else "file", mode, content)
    return found


def in_image(image: Path) -> tuple[Found, dict[str, bytes]]:
    """The environment's paths, and the bytes of sources and bytecode."""
    found: Found = {}
    code = {}
    start = PREFIX[1:] + "/"
    with image.open("rb") as file:
        for entry in Squashfs(file, sif.read(image).partition().offset).entries():
            if not entry.path.startswith(start) or entry.kind is Kind.DIRECTORY:
                continue
            path = entry.path.removeprefix(start)
            if entry.kind is Kind.SYMLINK:
                found[path] = ("link", 0o777, entry.target)
                continue
            content = b"".join(entry.chunks)
            found[path] = ("file", entry.mode, hashlib.sha256(content).hexdigest())
            if path.endswith((".py", ".pyc")):
                code[path] = content
    return found, code


def test_the_environment_equals_the_installers(
    project: Path, image: Path, lock: Lockfile, versions: dict[str, str], tmp_path: Path
) -> None:
    cache = Cache(settings.load({"ENVPACK_CONFIG": str(project / "config.toml")}).cache)
    target = tmp_path / "env"
    python = ".".join(versions["python"].split(".")[:2])
    install_conda([p for p in lock.packages if p.manager == "conda"], cache, target, tmp_path)
    install_wheels([p for p in lock.packages if p.manager == "pip"], cache, target, python, tmp_path)
    shipped = {p for p in on_disk(target) if p.endswith(".pyc")}
    expected, (found, code) = on_disk(target), in_image(image)

    ours = {p for p in found if p.startswith("conda-meta/")}
    theirs = {p for p in expected if p.startswith("conda-meta/") or p == "CACHEDIR.TAG"}
    assert theirs - ours <= {"CACHEDIR.TAG"}
    compiled = {p for p in found if p.endswith(".pyc")}
    assert {p: found.get(p) for p in expected if p not in theirs | shipped} == {
        p: expected[p] for p in expected if p not in theirs | shipped
    }
    assert set(found) - ours - compiled == set(expected) - theirs - shipped

    # Bytecode: all that was shipped is there, with the same code; the rest is what compileall makes.
    assert shipped <= compiled
    tag = f".cpython-{python.replace('.', '')}.pyc"
    reference = compile_all(target, python, tmp_path)
    for path in sorted(compiled):
        folder, _, name = path.rpartition("/")
        source = code[f"{folder.removesuffix('/__pycache__')}/{name.removesuffix(tag)}.py"]
        assert code[path][4:8] == b"\1\0\0\0", path
        assert code[path][8:16] == source_hash(source), path
        if path in shipped and code[path][16:] != (target / path).read_bytes()[16:]:
            assert PREFIX.encode() in source, path
            where = f"{PREFIX}/{folder.removesuffix('/__pycache__')}/{name.removesuffix(tag)}.py"
            assert loaded(code[path]) == compile(source, where, "exec", dont_inherit=True), path
        elif path not in shipped:
            assert loaded(code[path]) == loaded(reference[path]), path
    assert set(reference) <= compiled


def compile_all(target: Path, python: str, work: Path) -> dict[str, bytes]:
    """What ``compileall`` of the environment's python makes of sources without bytecode."""
    site = target / "lib" / f"python{python}" / "site-packages"
    before = set(site.rglob("*.pyc"))
    done = subprocess.run(
        [str(target / "bin" / "python"), "-S", "-E", "-s", "-m", "compileall", "-q", "-s", str(target),
         "-p", PREFIX, "--invalidation-mode", "unchecked-hash", str(site)],
        capture_output=True, check=False, cwd=work,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr  # 1: some sources are broken on purpose
    made = set(site.rglob("*.pyc")) - before
    return {str(p.relative_to(target)): p.read_bytes() for p in made}


def loaded(pyc: bytes) -> object:
    """The code, for comparison: the reference marks shared strings as the order of compiling had it."""
    return marshal.loads(pyc[16:])
