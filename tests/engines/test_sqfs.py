"""``envpack build --format sqfs`` in the hands of others: Apptainer, the kernel, squashfuse, unsquashfs."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.standins.settings import config_toml

pytestmark = pytest.mark.engines

MODULES = ("numpy", "scipy", "pandas", "matplotlib", "IPython")
IMPORTS = (
    f"import json, sys, {', '.join(MODULES)}\n"
    f"print(json.dumps([sys.prefix, {{m: sys.modules[m].__version__ for m in {MODULES}}}]))"
)


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sqfs(project: Path, data_channel: Served) -> Path:
    """The environment alone, from the segments of the SIF image; there is no registry."""
    settings = project / "no-registry.toml"
    settings.write_text(config_toml(project / "cache", data_channel.url, "http://127.0.0.1:9"))
    command = [sys.executable, "-m", "envpack", "build", "--format", "sqfs"]
    subprocess.run(command, cwd=project, env={**os.environ, "ENVPACK_CONFIG": str(settings)}, check=True)
    return project / "images" / "data-stack.sqfs"


@pytest.fixture(scope="module")
def base(project: Path, registry: Served, apptainer: list[str]) -> Path:
    """The base image as it is, without any environment."""
    archive, path = project / "base.tar", project / "built" / "base.sif"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    run("skopeo", "copy", f"oci:{registry.path}", f"oci-archive:{archive}")
    run(*apptainer, "build", path, f"oci-archive:{archive}")
    return path


@pytest.fixture(scope="module")
def bound(sqfs: Path, base: Path, apptainer: list[str]) -> list[str]:
    return [*apptainer, "exec", "--cleanenv", "-B", f"{sqfs}:/opt/env:ro,image-src=/", str(base)]


def test_python_of_any_base_it_is_bound_into(bound: list[str], versions: dict[str, str]) -> None:
    prefix, found = json.loads(run(*bound, "/opt/env/bin/python", "-c", IMPORTS))
    assert prefix == "/opt/env"
    assert found == {name: versions[name.lower()] for name in MODULES}


def test_path_is_all_that_python_needs(
    bound: list[str], apptainer: list[str], versions: dict[str, str]
) -> None:
    options = bound[len(apptainer) + 1 :]
    said = run(*apptainer, "exec", "--env", "PREPEND_PATH=/opt/env/bin", *options, "python", "--version")
    assert said.strip() == f"Python {versions['python']}"


def test_it_is_activated_by_its_script(bound: list[str]) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    script = '. /opt/env/activate.sh && exec python -c "$0"'
    found = json.loads(run(*bound, "sh", "-c", script, code))
    assert found["PATH"].startswith("/opt/env/bin:")
    expected = {
        "CONDA_PREFIX": "/opt/env",
        "PYTHONNOUSERSITE": "1",
        "SSL_CERT_FILE": "/opt/env/ssl/cacert.pem",
    }
    assert {name: found[name] for name in expected} == expected


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path: mode, owner, date, and size and hash or link target."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(root):
        for path in [Path(folder, name) for name in names + files]:
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            about = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), content)
            found[str(path.relative_to(root))] = about
    return found


def test_the_kernel_squashfuse_and_unsquashfs_read_the_same(sqfs: Path, project: Path) -> None:
    unsquashed, mounted, fused = (project / name for name in ("sqfs-un", "sqfs-kernel", "sqfs-fuse"))
    run("unsquashfs", "-no-progress", "-d", unsquashed, sqfs)
    expected = listing(unsquashed)
    assert {"bin/python", "conda-meta/history", "activate.sh"} <= expected.keys()
    for folder, command in (
        (mounted, ["mount", "-t", "squashfs", "-o", "loop,ro"]),
        (fused, ["squashfuse"]),
    ):
        folder.mkdir()
        run(*command, sqfs, folder)
        try:
            assert listing(folder) == expected
        finally:
            run("umount", folder)
