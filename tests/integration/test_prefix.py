"""``envpack lock FOLDER``: a real environment, pip at work in it, and the lock of exactly that."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.ledger import Action, Ledger
from envpack.pipeline.image_tree import opened
from envpack.sources import from_image
from tests.conftest import Served
from tests.integration.commands import envpack, failed

FORGE = "https://conda.anaconda.org/conda-forge"
SPECS = ("python", "pip", "python-dateutil", "six ==1.16.0", "click ==8.1.8", "hello_prefix")
# What importlib says is there, in the environment's own words.
LISTING = """
import importlib.metadata, json
print(json.dumps({d.name.lower(): d.version for d in importlib.metadata.distributions()}))
"""


def install(channel: Served, target: Path, cache: Path, mirrored: bool = True) -> None:
    """Have rattler install :data:`SPECS` from ``channel``, recorded as conda-forge's if ``mirrored``."""
    import rattler
    from rattler.networking import Client

    mirror = f'[mirrors]\n"{FORGE}" = ["{channel.url}"]\n[repodata-config]\ndisable-sharded = true\n'
    settings = rattler.Config.from_toml(mirror)

    async def run() -> None:
        records = await rattler.solve(
            [rattler.Channel(FORGE if mirrored else channel.url)],
            [rattler.MatchSpec(spec) for spec in SPECS],
            gateway=rattler.Gateway.from_config(settings),
            platforms=["linux-64", "noarch"],
            virtual_packages=[package.into_generic() for package in rattler.VirtualPackage.detect()],
        )
        await rattler.install(
            records, target, cache_dir=cache, config=settings, client=Client.from_config(settings),
            show_progress=False,
        )  # fmt: skip

    asyncio.run(run())


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, channel: Served) -> Callable[[Path], Path]:
    """Gives a fresh environment in the folder ``env`` of another one."""
    cache = tmp_path_factory.mktemp("rattler")

    def make(folder: Path) -> Path:
        target = folder / "env"
        install(channel, target, cache)
        return target

    return make


def pip(prefix: Path, *arguments: str) -> None:
    """The environment's own pip."""
    command = [str(prefix / "bin" / "python"), "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def in_python(prefix: Path) -> dict[str, str]:
    """Version by name of all that python finds in the environment."""
    done = subprocess.run(
        [prefix / "bin" / "python", "-I", "-c", LISTING], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def in_image(project: Path, name: str, config: Path) -> dict[str, str]:
    """The same of the image that is built from the lock."""
    envpack("build", name, config=config, cwd=project)
    image = f"images/{name}.sif"
    found: dict[str, str] = json.loads(
        envpack("run", "-q", image, "-I", "-c", LISTING, config=config, cwd=project).stdout
    )
    return found


def recorded(prefix: Path) -> dict[str, str]:
    """Version by name of conda's records."""
    records = [json.loads(path.read_bytes()) for path in (prefix / "conda-meta").glob("*.json")]
    return {record["name"]: record["version"] for record in records}


def locked(project: Path, name: str) -> dict[str, dict[str, str]]:
    """Version by name of a lock, for conda and for pip."""
    found: dict[str, dict[str, str]] = {"conda": {}, "pip": {}}
    for package in lockfile.read(project / "lockfiles" / f"{name}.conda-lock.yml").packages:
        assert package.platform == "linux-64"
        found[package.manager][package.name] = package.version
    return found


def test_the_lock_is_of_what_is_installed(
    environment: Callable[[Path], Path], tmp_path: Path, config_file: Path
) -> None:
    prefix = environment(tmp_path)
    with (prefix / "conda-meta" / "history").open("a") as history:
        history.write("# update specs: ['python', 'conda-forge::hello_prefix', \"six==1.16.0\"]\n")
    pip(prefix, "install", "rich==13.9.4")
    project = tmp_path / "project"
    project.mkdir()
    done = envpack("lock", str(prefix), config=config_file, cwd=project)
    found = locked(project, "env")
    assert found["conda"] == recorded(prefix)
    assert set(found["pip"]) == {"rich", "markdown-it-py", "mdurl", "pygments"}
    there = in_python(prefix)
    assert there == {name: (found["pip"] | found["conda"])[name] for name in there}
    lock = lockfile.read(project / "lockfiles" / "env.conda-lock.yml")
    assert lock.channels == ("conda-forge",)
    assert lock.pins is not None
    assert lock.pins.platforms["linux-64"].requested == (
        "conda:hello_prefix",
        "conda:python",
        "conda:six",
        "pip:rich",
    )
    assert "name: env" in done.stderr
    assert in_image(project, "env", config_file) == there
    envpack("lock", str(prefix), "--check", config=config_file, cwd=project)
    pip(prefix, "uninstall", "-y", "mdurl")
    assert (
        envpack("lock", str(prefix), "--check", config=config_file, cwd=project, check=False).returncode == 1
    )


def test_pip_over_conda(environment: Callable[[Path], Path], tmp_path: Path, config_file: Path) -> None:
    """Nothing needs click: pip's stays pip's. python-dateutil needs six: conda is asked for pip's version."""
    prefix = environment(tmp_path)
    assert (recorded(prefix)["click"], recorded(prefix)["six"]) == ("8.1.8", "1.16.0")
    pip(prefix, "install", "--upgrade", "click==8.2.1", "six==1.17.0")
    there = in_python(prefix)
    assert (there["click"], there["six"]) == ("8.2.1", "1.17.0")
    done = envpack("lock", "env", "--name", "mixed", config=config_file, cwd=tmp_path)
    found = locked(tmp_path, "mixed")
    assert found["pip"] == {"click": "8.2.1"}
    expected = {**recorded(prefix), "six": "1.17.0"}
    del expected["click"]
    assert found["conda"] == expected
    assert there == {name: (found["pip"] | found["conda"])[name] for name in there}
    assert "pip installed 8.2.1 over it" in done.stderr
    assert "python-dateutil needs it from conda" in " ".join(done.stderr.split())


def test_a_sandbox(environment: Callable[[Path], Path], tmp_path: Path, config_file: Path) -> None:
    """The environment is where the label says, links and all are the sandbox's own."""
    sandbox = tmp_path / "images" / "work.sandbox"
    (sandbox / ".singularity.d").mkdir(parents=True)
    (sandbox / "srv").mkdir()
    (sandbox / "opt").symlink_to("/srv")  # the host's /srv has nothing to do with it
    made = environment(tmp_path)
    pip(made, "install", "humanize")
    shutil.move(made, sandbox / "srv" / "science")
    labels = {
        "org.envpack.prefix": "/opt/science",
        "org.opencontainers.image.title": "work",
        "org.opencontainers.image.base.name": "docker.io/library/ubuntu:20.04",
    }
    (sandbox / ".singularity.d" / "labels.json").write_text(json.dumps(labels))
    done = envpack("lock", "images/work.sandbox", config=config_file, cwd=tmp_path)
    found = locked(tmp_path, "work")
    assert found["conda"] == recorded(sandbox / "srv" / "science")
    assert set(found["pip"]) == {"humanize"}
    assert "--base docker.io/library/ubuntu:20.04" in done.stderr


def test_a_virtual_environment(tmp_path: Path, config_file: Path) -> None:
    venv = tmp_path / "work"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip(venv, "install", "rich==13.9.4", "setuptools==80.9.0")
    done = envpack("lock", "work", config=config_file, cwd=tmp_path)
    found = locked(tmp_path, "work")
    there = in_python(venv)
    image = in_image(tmp_path, "work", config_file)
    assert {name: image[name] for name in there if name != "pip"} == {
        name: version for name, version in there.items() if name != "pip"
    }
    assert there.pop("setuptools") == found["conda"]["setuptools"], "conda's pip needs it"
    del there["pip"]  # of any version, as is said
    assert "relaxed: work/lib" in done.stderr
    assert found["pip"] == there
    assert found["conda"]["python"].startswith(f"3.{sys.version_info.minor}.")


def test_a_channel_by_its_address(channel: Served, tmp_path: Path, config_file: Path) -> None:
    install(channel, tmp_path / "env", tmp_path / "rattler", mirrored=False)
    envpack("lock", "env", config=config_file, cwd=tmp_path)
    assert locked(tmp_path, "env")["conda"] == recorded(tmp_path / "env")
    assert lockfile.read(tmp_path / "lockfiles" / "env.conda-lock.yml").channels == (channel.url,)


def test_what_cannot_be_locked_is_said_at_once(
    environment: Callable[[Path], Path], tmp_path: Path, config_file: Path
) -> None:
    prefix = environment(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    (own / "pyproject.toml").write_text('[project]\nname = "own"\nversion = "1"\n')
    pip(prefix, "install", "--no-build-isolation", "--no-deps", "-e", str(own))
    os.mkfifo(prefix / "conda-meta" / "odd.json")
    done = envpack("lock", "env", config=config_file, cwd=tmp_path, check=False)
    failed(done, 3, "env/conda-meta/odd.json", "not a file")
    assert not (tmp_path / "lockfiles").exists()
    (prefix / "conda-meta" / "odd.json").unlink()
    done = envpack("lock", "env", config=config_file, cwd=tmp_path)
    assert "own 1" in done.stderr
    assert "built as lockfiles/wheels/env/own-1-py3-none-any.whl" in done.stderr
    assert locked(tmp_path, "env") == {"conda": recorded(prefix), "pip": {"own": "1"}}
    (own / "pyproject.toml").unlink()  # its source is gone: nothing can be built
    done = envpack("lock", "env", config=config_file, cwd=tmp_path)
    assert "own 1" in done.stderr
    assert "editable" in done.stderr
    assert locked(tmp_path, "env") == {"conda": recorded(prefix), "pip": {}}
    assert not (tmp_path / "lockfiles" / "wheels" / "env").exists()


def test_an_image(tmp_path: Path, config_file: Path) -> None:
    """What was built is read back."""
    dependencies = [*SPECS[:2], "hello_prefix", {"pip": ["rich==13.9.4"]}]
    source = {"name": "work", "channels": ["conda-forge"], "dependencies": dependencies}
    (tmp_path / "environment.yml").write_text(json.dumps(source))
    envpack("lock", config=config_file, cwd=tmp_path)
    envpack("build", "-o", "work.sif", config=config_file, cwd=tmp_path)
    ledger = Ledger()
    with opened(tmp_path / "work.sif", "work.sif") as tree:
        spec = from_image(tree, shown="work.sif", ledger=ledger)
    assert (spec.name, spec.channels, spec.exported_from) == ("work", ("conda-forge",), "linux-64")
    found = locked(tmp_path, "work")
    assert {r.text.rpartition(" ")[0] for r in spec.conda} == {
        f"{n} =={v}" for n, v in found["conda"].items()
    }
    assert {r.text for r in spec.pip} == {f"{name}=={version}" for name, version in found["pip"].items()}
    assert [finding.action for finding in ledger] == [Action.DROPPED]
