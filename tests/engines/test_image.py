"""The image of the data stack in the hands of what people have: Apptainer, squashfs-tools, FUSE, Linux."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from envpack.formats import sif

pytestmark = pytest.mark.engines

APPTAINER = shlex.split(os.environ.get("ENVPACK_TEST_APPTAINER", "apptainer"))


def run(*command: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **variables},
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done


def apptainer(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run(*APPTAINER, *arguments, check=check)


def test_exec_imports_the_locked_versions(image: Path, versions: dict[str, str]) -> None:
    code = (
        "import json, numpy, scipy, pandas, matplotlib, IPython as i\n"
        "modules = (numpy, scipy, pandas, matplotlib, i)\n"
        "print(json.dumps({m.__name__.lower(): m.__version__ for m in modules}))"
    )
    found = json.loads(apptainer("exec", image, "python", "-c", code).stdout)
    assert found == {name: versions[name] for name in found}


def test_the_image_is_a_program(image: Path, versions: dict[str, str]) -> None:
    # APPTAINER may be a wrapper that becomes another user: it runs the image as its program.
    assert run(*APPTAINER[:-1], image, "--version").stdout.strip() == f"Python {versions['python']}"


def test_run_hands_arguments_on_unchanged(image: Path) -> None:
    awkward = ["a b", "*", "", "$HOME", "'", '"', "\\", "--flag"]
    done = apptainer("run", image, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *awkward)
    assert json.loads(done.stdout) == awkward


def test_test_imports_what_was_asked_for(image: Path) -> None:
    said = apptainer("test", image).stdout
    for name in ("IPython", "humanize", "matplotlib", "numpy", "pandas", "rich", "scipy"):
        assert f"\n{name} " in said


def test_inspect_shows_every_section(image: Path, project: Path) -> None:
    labels = apptainer("inspect", "--labels", image).stdout
    assert "org.opencontainers.image.base.name: docker.io/library/ubuntu:20.04" in labels
    assert "export CONDA_PREFIX=/opt/env" in apptainer("inspect", "--environment", image).stdout
    assert 'exec /opt/env/bin/python "$@"' in apptainer("inspect", "--runscript", image).stdout
    assert "numpy" in apptainer("inspect", "--test", image).stdout
    assert "numpy" in apptainer("inspect", "--helpfile", image).stdout
    shown = apptainer("inspect", "--deffile", image).stdout
    assert shown.strip() == (project / "recipes" / "data-stack" / "Apptainer.def").read_text().strip()


def test_sif_list(image: Path) -> None:
    listed = apptainer("sif", "list", image).stdout
    assert "FS (Squashfs/*System/amd64)" in listed
    assert "Def.FILE" in listed


def test_the_home_folder_does_not_leak_in(image: Path, project: Path, versions: dict[str, str]) -> None:
    python = ".".join(versions["python"].split(".")[:2])
    home = project / "home"
    trap = home / ".local" / "lib" / f"python{python}" / "site-packages"
    trap.mkdir(parents=True)
    (trap / "numpy.py").write_text("raise SystemExit('numpy of the home folder')")
    code = "import numpy, os; print(os.environ['HOME'], numpy.__version__)"
    done = apptainer("exec", "--home", home, image, "python", "-c", code)
    assert done.stdout.split() == [str(home), versions["numpy"]]


def test_packages_activate_scripts_are_run(image: Path) -> None:
    done = apptainer("exec", image, "sh", "-c", "echo $SSL_CERT_FILE")
    assert done.stdout.strip() == "/opt/env/ssl/cacert.pem"


def listing(root: Path) -> dict[str, tuple[int, int, str]]:
    """Every path: mode, size (of files), link target."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in names + files:
            path = Path(folder, name)
            status = path.lstat()
            is_link = stat.S_ISLNK(status.st_mode)
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found[str(path.relative_to(root))] = (
                status.st_mode,
                size,
                str(path.readlink()) if is_link else "",
            )
    return found


@pytest.fixture(scope="module")
def partition(image: Path, project: Path) -> Path:
    """The image's file system as a file of its own."""
    at = sif.read(image).partition()
    path = project / "partition.sqfs"
    with image.open("rb") as source, path.open("wb") as out:
        source.seek(at.offset)
        left = at.size
        while left:
            left -= out.write(source.read(min(left, 1 << 20)))
    return path


@pytest.fixture(scope="module")
def unsquashed(partition: Path, project: Path) -> dict[str, tuple[int, int, str]]:
    """What unsquashfs makes of it."""
    target = project / "unsquashed"
    run("unsquashfs", "-no-progress", "-d", target, partition)
    return listing(target)


def test_unsquashfs_reads_its_superblock(partition: Path) -> None:
    said = run("unsquashfs", "-s", partition).stdout
    assert "SQUASHFS 4:0 superblock" in said
    assert "Compression zstd" in said


def test_the_kernel_reads_the_same_tree(
    image: Path, project: Path, unsquashed: dict[str, tuple[int, int, str]]
) -> None:
    mounted = project / "mounted"
    mounted.mkdir()
    run(
        "mount",
        "-t",
        "squashfs",
        "-o",
        f"loop,ro,offset={sif.read(image).partition().offset}",
        image,
        mounted,
    )
    try:
        assert listing(mounted) == unsquashed
    finally:
        run("umount", mounted)


def test_squashfuse_reads_the_same_tree(
    image: Path, project: Path, unsquashed: dict[str, tuple[int, int, str]]
) -> None:
    mounted = project / "fused"
    mounted.mkdir()
    run("squashfuse", "-o", f"offset={sif.read(image).partition().offset}", image, mounted)
    try:
        assert listing(mounted) == unsquashed
    finally:
        run("umount", mounted)


def test_gzip_images_run_too(project: Path) -> None:
    output = project / "images" / "old-kernels.sif"
    settings = {"ENVPACK_CONFIG": str(project / "config.toml")}
    done = subprocess.run(
        [sys.executable, "-m", "envpack", "build", "--compression", "gzip", "-o", str(output)],
        cwd=project, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "numpy" in apptainer("test", output).stdout
