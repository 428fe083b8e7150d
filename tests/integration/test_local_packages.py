"""Packages that no index has: built as wheels by ``envpack lock``, carried along, and in the image."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from envpack import lockfile
from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from envpack.locking import default_index
from tests.absent import absent
from tests.conftest import Served
from tests.integration import projects
from tests.integration.commands import envpack, failed, with_prelude
from tests.standins.settings import config_toml

SITE = "opt/env/lib/python3.11/site-packages"
ENVIRONMENT = """\
name: own
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip:
    - -e .[more]
    - ./below
"""
UV = """\
version = 1
requires-python = "==3.11.*"

[[package]]
name = "mine-own"
source = { editable = "." }
dependencies = [{ name = "below" }, { name = "six" }, { name = "far", marker = "os_name == 'nt'" }]

[[package]]
name = "below"
source = { directory = "below" }

[[package]]
name = "far"
source = { directory = "far" }

[[package]]
name = "six"
version = "SIX"
source = { registry = "DEFAULT" }
"""
SETUPTOOLS = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"
[project]
name = "Mine.Own"
version = "1.5"
requires-python = ">=3.9"
dependencies = ["six>=1.10"]
[project.optional-dependencies]
more = ["mdurl"]
[project.scripts]
mine = "mine:main"
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture
def config(tmp_path: Path, channel: Served, registry: Served) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(config_toml(tmp_path / "cache", channel.url, registry.url), "utf-8")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    write(folder, environmentDOTyml=ENVIRONMENT, pyprojectDOTtoml=SETUPTOOLS)
    write(folder / "src/mine", **{"initDOTpy": ""})
    (folder / "src/mine/init.py").rename(folder / "src/mine/__init__.py")
    (folder / "src/mine/__init__.py").write_text("def main():\n    print('mine')\n")
    projects.of_hatchling(folder / "below")
    return folder


def lock_of(project: Path, name: str = "own") -> lockfile.Lockfile:
    return lockfile.read(project / f"lockfiles/{name}.conda-lock.yml")


def test_folders_become_wheels_and_get_into_the_image(project: Path, config: Path) -> None:
    sources = set(project.rglob("*"))
    said = json.loads(envpack("lock", "--json", config=config, cwd=project).stdout)
    told = {finding["subject"]: finding for finding in said["findings"]}
    assert told["-e .[more]"]["action"] == "translated"
    assert "built as lockfiles/wheels/own/mine_own-1.5-py3-none-any.whl" in told["-e .[more]"]["reason"]
    assert (told["./below"]["file"], told["./below"]["line"]) == ("environment.yml", 7)
    left = set(project.rglob("*")) - sources
    assert {path.relative_to(project).parts[0] for path in left} == {"lockfiles"}

    carried = {p.name: p for p in lock_of(project).packages if p.path is not None}
    assert set(carried) == {"mine-own", "below"}
    own = carried["mine-own"]
    assert own.path == "lockfiles/wheels/own/mine_own-1.5-py3-none-any.whl"
    assert own.sha256 == hashlib.sha256((project / own.path).read_bytes()).hexdigest()
    names = {p.name for p in lock_of(project).packages if p.manager == "pip"}
    assert names == {"mine-own", "below", "six", "mdurl"}  # the extra's, too
    assert str(project) not in (project / "lockfiles/own.conda-lock.yml").read_text()

    envpack("build", config=config, cwd=project)
    with (project / "images/own.sif").open("rb") as file:
        start = sif.read(project / "images/own.sif").partition().offset
        files = {
            entry.path: b"".join(entry.chunks)
            for entry in Squashfs(file, start).entries()
            if entry.kind is Kind.FILE
        }
    assert files[f"{SITE}/below/__init__.py"] == b"answer = 42\n"
    assert b"from mine import main" in files["opt/env/bin/mine"]
    assert not [path for path in files if path.endswith("direct_url.json")]
    assert not [path for path, data in files.items() if str(project).encode() in data]
    recipe = project / "recipes/own"
    assert (recipe / "wheels/mine_own-1.5-py3-none-any.whl").read_bytes() == (project / own.path).read_bytes()
    assert 'href="wheels/below-0.1-py3-none-any.whl"' in (recipe / "wheels.html").read_text()
    assert "COPY wheels /opt/build/wheels" in (recipe / "Dockerfile").read_text()


def test_folders_in_a_lock_of_pips(project: Path, config: Path) -> None:
    """The project itself, and a folder that it needs; the index in it is uv's default one."""
    envpack("lock", config=config, cwd=project)
    six = next(p.version for p in lock_of(project).packages if p.name == "six")
    (project / "far").mkdir()
    (project / "far/setup.py").write_text("raise SystemExit('this is run on another system only')\n")
    default = default_index._uvs()
    assert default is not None
    (project / "uv.lock").write_text(UV.replace("SIX", six).replace("DEFAULT", default))
    done = envpack("lock", "uv.lock", "--name", "locked", "--json", config=config, cwd=project)
    told = {f["subject"]: f for f in json.loads(done.stdout)["findings"]}
    assert "built as lockfiles/wheels/locked/mine_own-1.5" in told["."]["reason"]
    assert (told["./below"]["action"], told["./below"]["line"]) == ("translated", 9)
    assert told["./far"]["action"] == "dropped"
    assert "uv's default index" in told[f"index {default}"]["reason"]
    found = {p.name: p.path for p in lock_of(project, "locked").packages if p.manager == "pip"}
    assert found == {
        "mine-own": "lockfiles/wheels/locked/mine_own-1.5-py3-none-any.whl",
        "below": "lockfiles/wheels/locked/below-0.1-py3-none-any.whl",
        "six": None,
    }
    envpack("lock", "uv.lock", "--name", "locked", "--check", config=config, cwd=project)


def test_the_same_source_gives_the_same_lock(project: Path, config: Path) -> None:
    envpack("lock", config=config, cwd=project)
    first = (project / "lockfiles/own.conda-lock.yml").read_bytes()
    for path in project.rglob("*.py"):
        path.touch()
    shutil.rmtree(project / "lockfiles/wheels")
    envpack("lock", config=config, cwd=project)
    assert (project / "lockfiles/own.conda-lock.yml").read_bytes() == first
    envpack("lock", "--check", config=config, cwd=project)


def test_a_changed_source_or_wheel_is_noticed(project: Path, config: Path) -> None:
    envpack("lock", config=config, cwd=project)
    module = project / "src/mine/__init__.py"
    before = module.read_text()
    module.write_text("def main(): ...\n")
    failed(envpack("lock", "--check", config=config, cwd=project, check=False), 1, "src/mine/__init__.py")
    for arguments in (["lock", "--keep"], ["build", "--format", "sqfs"]):
        said = envpack(*arguments, config=config, cwd=project).stderr
        assert "src/mine/__init__.py has changed since lockfiles/wheels/own/mine_own-1.5" in said
    module.write_text(before)
    (module.parent / "new.py").touch()
    failed(envpack("lock", "--check", config=config, cwd=project, check=False), 1, "src/mine/new.py")
    (module.parent / "new.py").unlink()
    says = project / "pyproject.toml"
    says.write_text(says.read_text().replace("six>=1.10", "six>=1.11"))
    failed(
        envpack("lock", "--check", config=config, cwd=project, check=False), 1, "pyproject.toml has changed"
    )
    says.write_text(SETUPTOOLS)
    envpack("lock", "--check", config=config, cwd=project)

    wheel = project / "lockfiles/wheels/own/below-0.1-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    for command in (["build"], ["recipe"], ["lock", "--keep"], ["lock", "--check"]):
        code = 1 if command[0] == "lock" else 10
        done = envpack(*command, config=config, cwd=project, check=False)
        failed(done, code, "below-0.1-py3-none-any.whl was changed since it was locked", "envpack lock")
    wheel.unlink()
    failed(envpack("build", config=config, cwd=project, check=False), 10, "there is no lockfiles/wheels")


def test_the_line_that_is_gone_is_noticed(project: Path, config: Path) -> None:
    envpack("lock", config=config, cwd=project)
    source = project / "environment.yml"
    source.write_text(ENVIRONMENT.replace("    - ./below\n", ""))
    failed(envpack("lock", "--check", config=config, cwd=project, check=False), 1, "requirements")
    envpack("lock", config=config, cwd=project)
    assert [path.name for path in (project / "lockfiles/wheels/own").iterdir()] == [
        "mine_own-1.5-py3-none-any.whl"
    ]


def test_a_build_that_fails_is_told_with_its_line(project: Path, config: Path) -> None:
    (project / "below/below/__init__.py").unlink()
    (project / "below/below").rmdir()
    done = envpack("lock", config=config, cwd=project, check=False)
    failed(done, 12, "no wheel of ./below could be built", "environment.yml:7", "hatch")
    assert not (project / "lockfiles").exists()
    (project / "below/pyproject.toml").unlink()
    (project / "below/setup.py").write_text("import sys\nprint('y' * 1_000_000)\nsys.exit('its end')\n")
    done = envpack("lock", config=config, cwd=project, check=False)
    assert len(failed(done, 12, "no wheel of ./below could be built", "its end")) < 5000


def test_files_of_this_machine(project: Path, config: Path) -> None:
    """A wheel that was built before is taken as it is; one of another platform needs the user."""
    envpack("lock", config=config, cwd=project)
    ready = project / "ready"
    shutil.copytree(project / "lockfiles/wheels/own", ready)
    foreign = ready / "far-1.0-cp311-cp311-win_amd64.whl"
    hostile(foreign, {}, name="far")
    lines = f"below @ file://{ready}/below-0.1-py3-none-any.whl\nready/{foreign.name}\n"
    (project / "requirements.txt").write_text(lines)
    named = ["requirements.txt", "--name", "files", "--python", "3.11"]
    done = envpack("lock", *named, "--json", config=config, cwd=project)
    found = {f["subject"]: f["action"] for f in json.loads(done.stdout)["findings"]}
    assert found[lines.splitlines()[0]] == "translated"
    assert found[f"ready/{foreign.name}"] == "needs you"
    assert [p.path for p in lock_of(project, "files").packages if p.manager == "pip"] == [
        "lockfiles/wheels/files/below-0.1-py3-none-any.whl"
    ]


def hostile(path: Path, files: Mapping[str, bytes], name: str = "mine") -> Path:
    """A wheel of version 1.0 with ``files`` beside its metadata; RECORD is right about them."""
    about = f"{name}-1.0.dist-info/"
    content = {
        f"{about}METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{about}WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **files,
    }
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        rows = [f"{about}RECORD,,"]
        for member, data in content.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{member},sha256={digest},{len(data)}")
            archive.writestr(member, data)
        archive.writestr(f"{about}RECORD", "\n".join(rows) + "\n")
    return path


def test_wheels_that_no_image_can_have(tmp_path: Path, config: Path) -> None:
    """They are refused when they are locked, with the line that names them and what is wrong."""
    wheel = tmp_path / "mine-1.0-py3-none-any.whl"
    (tmp_path / "requirements.txt").write_text(f"six\n./{wheel.name}\n")
    lock = ["lock", "requirements.txt", "--name", "own", "--python", "3.11"]

    def refused(*said: str) -> None:
        done = envpack(*lock, config=config, cwd=tmp_path, check=False)
        text = failed(done, 4, "requirements.txt:2", wheel.name, *said)
        assert "cache" not in text
        assert not (tmp_path / "lockfiles").exists()

    hostile(wheel, {"../../../etc/passwd": b"x"})
    refused("cannot be put into an image", "'../../../etc/passwd'")
    hostile(wheel, {"mine-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../x = mine:main\n"})
    refused("cannot be put into an image", "entry point ../x")
    hostile(wheel, {}).write_bytes(b"PK")
    refused("is not a wheel")
    # An encrypted member, an unknown way of compression, broken data.
    for where, value in ((8, 1), (10, 97)):
        data = bytearray(hostile(wheel, {"mine.txt": b"x"}).read_bytes())
        for start in [at for at in range(len(data)) if data.startswith(b"PK\1\2", at)]:
            data[start + where] = value
        wheel.write_bytes(data)
        refused("is not a wheel")
    data = bytearray(hostile(wheel, {"mine.txt": os.urandom(5000)}).read_bytes())
    data[-3000:-2000] = bytes(1000)
    wheel.write_bytes(data)
    refused("is not a wheel")


def test_a_wheel_is_not_read_into_memory(tmp_path: Path, config: Path) -> None:
    """What it holds may be larger than this machine's memory."""
    wheel = hostile(tmp_path / "mine-1.0-py3-none-any.whl", {"zeros.bin": b"\x7fELF" + bytes(600_000_000)})
    (tmp_path / "requirements.txt").write_text(f"six\n./{wheel.name}\n")
    command = with_prelude(
        "import atexit, sys\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "atexit.register(lambda: print(status().partition('VmHWM:')[2].split()[0], file=sys.stderr))"
    )
    lock = ["lock", "requirements.txt", "--name", "own", "--python", "3.11"]
    done = envpack(*lock, config=config, cwd=tmp_path, command=command)
    assert int(done.stderr.splitlines()[-1]) < 300 << 10  # KiB


def test_packages_that_are_source_only(tmp_path: Path, config: Path) -> None:
    """All of them are named at once; they are built when that is asked for, and only then."""
    (tmp_path / "requirements.txt").write_text("docopt==0.6.2\npynput==1.8.2\nsix\n")
    lock = ["lock", "requirements.txt", "--name", "own", "--python", "3.11"]
    done = envpack(*lock, config=config, cwd=tmp_path, check=False)
    said = failed(done, 4, "docopt==0.6.2 has no wheel", "evdev has no wheel", "requirements.txt:1")
    assert "--build-sdist docopt --build-sdist evdev" in said
    assert "sys_platform" not in said

    (tmp_path / "requirements.txt").write_text("docopt==0.6.2\nsix\n")
    done = envpack(*lock, "--build-sdist", "DocOpt", "--json", config=config, cwd=tmp_path)
    findings = json.loads(done.stdout)["findings"]
    (told,) = (f for f in findings if f["subject"] == "docopt 0.6.2")
    assert "built as lockfiles/wheels/own/docopt-0.6.2-py2.py3-none-any.whl" in told["reason"]
    first = (tmp_path / "lockfiles/own.conda-lock.yml").read_bytes()
    assert {p.name for p in lock_of(tmp_path).packages if p.path} == {"docopt"}
    envpack(*lock, "--build-sdist", "all", config=config, cwd=tmp_path)
    assert (tmp_path / "lockfiles/own.conda-lock.yml").read_bytes() == first
    envpack(*lock, "--check", config=config, cwd=tmp_path)
    envpack("build", config=config, cwd=tmp_path)


def test_what_is_compiled_here(tmp_path: Path, config: Path) -> None:
    """It fits one platform, and the image has at least the glibc that it was compiled against."""
    if shutil.which("gcc") is None:
        absent("there is no C compiler")
    folder = tmp_path / "fast"
    text = SETUPTOOLS.partition("requires-python")[0].replace("Mine.Own", "fast")
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f"{text}[tool.setuptools]\npy-modules = []\n")
    module = 'Extension("fast", ["fast.c"], py_limited_api=True)'
    (folder / "setup.py").write_text(
        f"from setuptools import Extension, setup\nsetup(ext_modules=[{module}],"
        'options={"bdist_wheel": {"py_limited_api": "cp39"}})\n'
    )
    # No Python.h, which not every python here has; never imported.
    (folder / "fast.c").write_text('#include <stdio.h>\nvoid PyInit_fast(void) { puts("x"); }\n')
    (tmp_path / "requirements.txt").write_text("-e ./fast\nsix\n")
    platforms = ["--platform", "linux-64", "--platform", "linux-aarch64"]
    lock = ["lock", "requirements.txt", "--name", "own", "--json", *platforms]
    done = envpack(*lock, config=config, cwd=tmp_path, check=False)  # the channel may be for one platform
    findings = [f for f in json.loads(done.stdout)["findings"] if f["subject"] == "-e ./fast"]
    assert sorted(f["action"] for f in findings) == ["needs you", "translated"], findings
    (built,) = (f for f in findings if f["action"] == "translated")
    assert "compiled on this machine for x86_64 and needs glibc 2." in built["reason"]
