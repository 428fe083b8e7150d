"""What other tools write of one environment becomes a lock of the same packages, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.lockfile import LockedPackage
from tests.integration.commands import envpack

ENVIRONMENT = """\
name: first
channels: [conda-forge]
dependencies: [python, six, hello_prefix, {pip: [humanize==4.9.0]}]
"""
Packages = Sequence[LockedPackage]


def _build(package: LockedPackage) -> str:
    return package.filename.removesuffix(".conda").removesuffix(".tar.bz2").rsplit("-", 1)[1]


def conda_list(packages: Packages) -> str:
    rows = [
        f"{p.name:<25} {p.version:<15} {_build(p) if p.manager == 'conda' else 'pypi_0':<18} "
        f"{'conda-forge' if p.manager == 'conda' else 'pypi'}\n"
        for p in packages
    ]
    return "# packages in environment at /home/me/envs/first:\n#\n" + "".join(rows)


def export(packages: Packages) -> str:
    rows = [f"{p.name}={p.version}={_build(p) if p.manager == 'conda' else 'pypi_0'}\n" for p in packages]
    return "# platform: linux-64\n" + "".join(rows)


def explicit(packages: Packages) -> str:
    rows = [f"{p.url}#{p.sha256}\n" for p in packages if p.manager == "conda"]
    return "# platform: linux-64\n@EXPLICIT\n" + "".join(rows)


def json_export(packages: Packages) -> str:
    conda = [f"{p.name}={p.version}={_build(p)}" for p in packages if p.manager == "conda"]
    pip = [f"{p.name}=={p.version}" for p in packages if p.manager == "pip"]
    document = {"name": "first", "channels": ["conda-forge"], "dependencies": [*conda, {"pip": pip}]}
    return json.dumps(document, indent=2)


def pixi_toml(packages: Packages) -> str:
    conda = "".join(f'{p.name} = "=={p.version}"\n' for p in packages if p.manager == "conda")
    pip = "".join(f'{p.name} = "=={p.version}"\n' for p in packages if p.manager == "pip")
    head = '[workspace]\nname = "first"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
    return f"{head}[dependencies]\n{conda}[pypi-dependencies]\n{pip}"


def _pip(packages: Packages) -> dict[str, str]:
    return {p.name: p.version for p in packages if p.manager == "pip"}


def pylock(packages: Packages) -> str:
    rows = (f'[[packages]]\nname = "{n}"\nversion = "{v}"\n' for n, v in _pip(packages).items())
    return 'lock-version = "1.0"\nrequires-python = ">=3.9"\n' + "".join(rows)


def uv_lock(packages: Packages) -> str:
    rows = (f'[[package]]\nname = "{n}"\nversion = "{v}"\n' for n, v in _pip(packages).items())
    names = ", ".join(f'{{ name = "{n}" }}' for n in _pip(packages))
    root = f'[[package]]\nname = "first"\nsource = {{ virtual = "." }}\ndependencies = [{names}]\n'
    return 'version = 1\nrequires-python = ">=3.9"\n' + root + "".join(rows)


def poetry_lock(packages: Packages) -> str:
    rows = (f'[[package]]\nname = "{n}"\nversion = "{v}"\n' for n, v in _pip(packages).items())
    return "".join(rows) + '[metadata]\nlock-version = "2.1"\npython-versions = "^3.9"\n'


def pipfile(packages: Packages) -> str:
    return "[packages]\n" + "".join(f'{n} = "=={v}"\n' for n, v in _pip(packages).items())


def pipfile_lock(packages: Packages) -> str:
    return json.dumps({"default": {n: {"version": f"=={v}"} for n, v in _pip(packages).items()}})


SOURCES: dict[str, tuple[str, Callable[[Packages], str]]] = {
    "conda list": ("list.txt", conda_list),
    "conda list --export": ("export.txt", export),
    "conda list --explicit": ("explicit.txt", explicit),
    "conda env export --json": ("environment.json", json_export),
    "pixi.toml": ("pixi.toml", pixi_toml),
}
# The packages are pip's alone; python and what it needs are the solver's choice.
OF_PIP: dict[str, Callable[[Packages], str]] = {
    "pylock.toml": pylock,
    "uv.lock": uv_lock,
    "poetry.lock": poetry_lock,
    "Pipfile": pipfile,
    "Pipfile.lock": pipfile_lock,
}


@pytest.fixture
def packages(tmp_path: Path, config_file: Path) -> Packages:
    (tmp_path / "environment.yml").write_text(ENVIRONMENT)
    envpack("lock", config=config_file, cwd=tmp_path)
    return locked(tmp_path, "first")


def locked(folder: Path, name: str) -> Packages:
    return lockfile.read(folder / "lockfiles" / f"{name}.conda-lock.yml").packages


def versions(packages: Packages) -> dict[tuple[str, str], str]:
    return {(p.manager, p.name): p.url.rpartition("/")[2] for p in packages}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_packages(kind: str, packages: Packages, tmp_path: Path, config_file: Path) -> None:
    filename, write = SOURCES[kind]
    (tmp_path / filename).write_text(write(packages))
    done = envpack("lock", filename, "--name", "again", config=config_file, cwd=tmp_path)
    found = versions(locked(tmp_path, "again"))
    expected = versions(packages)
    if kind == "conda list --explicit":  # which knows nothing of pip's packages
        expected = {key: value for key, value in expected.items() if key[0] == "conda"}
    assert found == expected
    assert "needs you" not in done.stderr
    envpack("lock", filename, "--name", "again", "--check", config=config_file, cwd=tmp_path)


@pytest.mark.parametrize("filename", OF_PIP)
def test_the_same_packages_of_pip(
    filename: str, packages: Packages, tmp_path: Path, config_file: Path
) -> None:
    (tmp_path / filename).write_text(OF_PIP[filename](packages))
    envpack("lock", filename, "--name", "again", config=config_file, cwd=tmp_path)
    found = versions(locked(tmp_path, "again"))
    assert found.items() >= {(k, v) for k, v in versions(packages).items() if k[0] == "pip"}
    assert ("conda", "python") in found
    envpack("lock", filename, "--name", "again", "--check", config=config_file, cwd=tmp_path)


def test_a_lock_as_source(packages: Packages, tmp_path: Path, config_file: Path) -> None:
    envpack("lock", "lockfiles/first.conda-lock.yml", "--name", "again", config=config_file, cwd=tmp_path)
    assert versions(locked(tmp_path, "again")) == versions(packages)
