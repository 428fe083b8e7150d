"""``envpack lock && envpack build``, as typed, on real packages and a real registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import envpack

ENVIRONMENT = """\
name: small
channels:
  - conda-forge
dependencies:
  - python
  - six
  - entry_demo
  - activate_demo
  - pip:
      - humanize
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "environment.yml").write_text(ENVIRONMENT)
    return folder


def read_image(path: Path) -> dict[str, bytes | str | None]:
    """Path to content (files), target (links) or None (the rest)."""
    found: dict[str, bytes | str | None] = {}
    with path.open("rb") as file:
        for entry in Squashfs(file, sif.read(path).partition().offset).entries():
            is_file = entry.kind is Kind.FILE
            found[entry.path] = b"".join(entry.chunks) if is_file else entry.target or None
    return found


def test_two_commands_make_an_image(project: Path, config_file: Path) -> None:
    locked = envpack("lock", cwd=project, config=config_file)
    assert "six" in locked.stdout
    assert "ubuntu:20.04" in locked.stdout
    built = envpack("build", cwd=project, config=config_file)
    image = project / "images" / "small.sif"
    assert hashlib.sha256(image.read_bytes()).hexdigest() in built.stdout
    assert image.stat().st_mode & 0o111, "an image can be run like a program"
    lock = lockfile.read(project / "lockfiles" / "small.conda-lock.yml")
    content = read_image(image)
    for package in lock.packages:
        if package.manager == "conda":
            stem = package.filename.removesuffix(".conda").removesuffix(".tar.bz2")
            record = content[f"opt/env/conda-meta/{stem}.json"]
            assert isinstance(record, bytes)
            assert json.loads(record)["sha256"] == package.sha256
    program = "import sys, six; print(six.__version__); sys.exit(3)"
    ran = envpack("run", "-q", str(image), "-c", program, cwd=project, config=config_file, check=False)
    assert (ran.returncode, ran.stdout[:2]) == (3, "1."), ran.stderr
    site = f"opt/env/lib/python3.{sys.version_info.minor}/site-packages"
    assert f"{site}/humanize/__init__.py" in content
    assert content["opt/env/bin/entry-demo"]
    assert content["etc/os-release"], "the base image is there too"
    test = content[".singularity.d/test"]
    assert isinstance(test, bytes)
    assert b"entry_demo humanize six" in test
    assert (project / "recipes" / "small" / "Apptainer.def").read_text() == (
        content[".singularity.d/Singularity"].decode()  # type: ignore[union-attr]  # a file has bytes
    )


def test_every_source_has_bytecode_that_needs_no_clock(project: Path, config_file: Path) -> None:
    envpack("lock", cwd=project, config=config_file)
    envpack("build", cwd=project, config=config_file)
    content = read_image(project / "images" / "small.sif")
    tag = f"cpython-3{sys.version_info.minor}"
    sources = [p for p in content if p.startswith("opt/env/lib/python3") and p.endswith(".py")]
    bare = []
    for path in sources:
        folder, _, name = path.rpartition("/")
        bytecode = content.get(f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc")
        if not isinstance(bytecode, bytes):
            bare.append(path)
        else:
            assert bytecode[4:8] == b"\1\0\0\0", f"{path}: not an unchecked hash"
    # Python's own deliberately broken sources compile nowhere.
    assert [p for p in bare if "lib2to3/" not in p and "/bad_" not in p] == []
    assert len(sources) > 500


def test_same_lock_same_bytes(project: Path, config_file: Path, tmp_path: Path) -> None:
    envpack("lock", cwd=project, config=config_file)
    other = tmp_path / "elsewhere" / "deeper"
    (other / "lockfiles").mkdir(parents=True)
    shutil.copy(project / "lockfiles" / "small.conda-lock.yml", other / "lockfiles")
    first = json.loads(envpack("build", "--json", cwd=project, config=config_file).stdout)
    done = envpack(
        "build",
        "--json",
        cwd=other,
        config=config_file,
        ENVPACK_CACHE=str(tmp_path / "another-cache"),
        TZ="Asia/Kathmandu",
        PYTHONHASHSEED="7",
        LC_ALL="C",
    )
    second = json.loads(done.stdout)
    assert first["sha256"] == second["sha256"]
    assert (project / "images" / "small.sif").read_bytes() == (other / "images" / "small.sif").read_bytes()
    third = json.loads(envpack("build", "--json", cwd=other, config=config_file).stdout)
    assert third["sha256"] == first["sha256"], "from cached segments"


def test_source_date_epoch_is_the_image_s_date(project: Path, config_file: Path) -> None:
    envpack("lock", cwd=project, config=config_file)
    envpack("build", cwd=project, config=config_file, SOURCE_DATE_EPOCH="1234567890")
    assert sif.read(project / "images" / "small.sif").created == 1234567890


def test_locking_again_changes_nothing(project: Path, config_file: Path) -> None:
    path = project / "lockfiles" / "small.conda-lock.yml"
    envpack("lock", cwd=project, config=config_file)
    before = path.read_bytes()
    again = json.loads(envpack("lock", "--json", cwd=project, config=config_file).stdout)
    assert path.read_bytes() == before
    assert again["changed"] is False
    envpack("lock", "--check", cwd=project, config=config_file)
    (project / "environment.yml").write_text(ENVIRONMENT.replace("- six", "- click"))
    stale = envpack("lock", "--check", cwd=project, config=config_file, check=False)
    assert stale.returncode == 1
    assert "envpack lock" in stale.stderr


def test_a_build_makes_three_files_a_package_at_most_all_in_the_cache(
    project: Path, config_file: Path, cache: Path, tmp_path: Path
) -> None:
    envpack("lock", cwd=project, config=config_file)
    lock = lockfile.read(project / "lockfiles" / "small.conda-lock.yml")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    before = files_below(tmp_path)
    trace = tmp_path / "trace"
    watched = [sys.executable, "-c", WATCHER, str(trace), "build"]
    done = subprocess.run(
        watched, cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "ENVPACK_CONFIG": str(config_file), "HOME": str(home), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = files_below(tmp_path) - before - {trace}
    image = {p for p in made if p.is_relative_to(project)}
    assert {p.relative_to(project).parts[0] for p in image} == {"images", "recipes"}
    assert all(p.is_relative_to(cache) for p in made - image)
    in_cache = [p for p in made - image if "archives" in p.parts or "segments" in p.parts]
    assert len(in_cache) <= 2 * len(lock.packages) + 1, "the one more is the base image's segment"
    assert not list((cache / "tmp").iterdir()), "nothing temporary is left"
    # What was opened for writing and is gone again: only the interpreter that compiles bytecode.
    opened = {Path(line) for line in trace.read_text().splitlines()}
    passing = {p for p in opened if not p.exists() and p.is_absolute() and p.is_relative_to(tmp_path)}
    unpacked = {p for p in passing if "site-packages" in p.parts}
    assert not unpacked
    assert len(passing) < 3 * len(lock.packages) + 100


WATCHER = """
import sys
log = open(sys.argv.pop(1), "w")
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
        if set("wxa+") & set(arguments[1]):
            log.write(arguments[0] + "\\n")
            log.flush()
sys.addaudithook(hook)
from envpack.cli import main
main()
"""


def files_below(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


def test_others_read_the_lock(project: Path, config_file: Path) -> None:
    envpack("lock", cwd=project, config=config_file)
    path = project / "lockfiles" / "small.conda-lock.yml"
    rendered = subprocess.run(
        [sys.executable, "-m", "conda_lock", "render", "-k", "explicit", "-p", "linux-64", str(path)],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    explicit = (project / "conda-linux-64.lock").read_text()
    lock = lockfile.read(path)
    for package in lock.packages:
        if package.manager == "conda":
            assert f"{package.url}#{package.md5}" in explicit


def test_several_platforms_in_one_lock(project: Path, config_file: Path, channel: Served) -> None:
    text = ENVIRONMENT.partition("  - pip:")[0]
    (project / "environment.yml").write_text(text)
    envpack("lock", "--platform", "linux-64", "--platform", "linux-aarch64", cwd=project, config=config_file)
    lock = lockfile.read(project / "lockfiles" / "small.conda-lock.yml")
    assert lock.platforms == ("linux-64", "linux-aarch64")
    assert lock.pins is not None
    digests = {pin.base.digest for pin in lock.pins.platforms.values()}
    assert len(digests) == 2, "each platform has its own manifest"


def test_pip_freeze_from_standard_input(project: Path, config_file: Path) -> None:
    frozen = "humanize==4.9.0\nsix==1.16.0\n"
    done = envpack("lock", "-", "--name", "frozen", "--json", cwd=project, config=config_file, text=frozen)
    report = json.loads(done.stdout)
    versions = {r["name"]: r["version"] for r in report["platforms"]["linux-64"]["requested"]}
    assert versions["humanize"] == "4.9.0"
    assert any(f["action"] == "guessed" for f in report["findings"]), "the python version was not given"


@pytest.mark.parametrize("arguments", [["--help"], ["lock", "--help"], ["build", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom envpack.cli.commands import run\n"
        f"assert run({arguments!r}) == 0\n"
        "print('loaded', *sorted({m.partition('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    heavy = {"conda_lock", "rattler", "docker", "requests", "rich", "zstandard", "ruamel", "uv", "pydantic"}
    assert not loaded & heavy
