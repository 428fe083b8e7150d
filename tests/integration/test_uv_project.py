"""A project of uv's: what ``[tool.uv]`` says of its packages holds in the lock and in the image."""

from __future__ import annotations

import json
from pathlib import Path

from envpack import lockfile
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.integration import projects
from tests.integration.commands import envpack, failed
from tests.standins import index
from tests.standins.server import serving

SITE = "opt/env/lib/python3.11/site-packages"
PROJECT = """\
[project]
name = "study"
version = "1"
requires-python = ">=3.11,<3.12"
dependencies = ["python-dateutil>=4", "tabulate", "mine"]

[tool.uv]
constraint-dependencies = ["tzdata<2026"]

[tool.uv.sources]
tabulate = { index = "near" }
mine = { workspace = true }

[tool.uv.workspace]
members = ["packages/*"]

[[tool.uv.index]]
name = "near"
url = "URL/simple"
explicit = true
"""


def without_a_member(url: str) -> str:
    """The project at an index's ``url``, with packages of indexes alone."""
    text = PROJECT.replace(', "mine"', "").replace("mine = { workspace = true }\n", "")
    return text.replace("URL", url)


def test_what_uv_says_of_packages_holds(tmp_path: Path, config_file: Path) -> None:
    projects.of_hatchling(tmp_path / "packages/mine")
    with serving(index.index()) as url:
        (tmp_path / "pyproject.toml").write_text(PROJECT.replace("URL", url))
        done = envpack("lock", "pyproject.toml", "--json", config=config_file, cwd=tmp_path)
        lock = lockfile.read(tmp_path / "lockfiles/study.conda-lock.yml")
        pip = {p.name: p for p in lock.packages if p.manager == "pip"}
        assert pip.keys() == {"mine", "python-dateutil", "tabulate", "tzdata"}
        assert pip["tabulate"].url.startswith(f"{url}/files/")
        assert not pip["python-dateutil"].url.startswith(url)  # which that index has, too
        assert pip["tzdata"].version.startswith("2025")
        text = json.dumps(json.loads(done.stdout))
        assert "asked of this index alone" in text
        envpack("lock", "pyproject.toml", "--check", config=config_file, cwd=tmp_path)
        envpack("build", config=config_file, cwd=tmp_path)
    image = tmp_path / "images/study.sif"
    with image.open("rb") as file:
        paths = {entry.path for entry in Squashfs(file, sif.read(image).partition().offset).entries()}
    wanted = {f"{SITE}/{name}/__init__.py" for name in ("mine", "tabulate", "dateutil")}
    assert wanted <= paths, sorted(wanted - paths)


def test_another_index_for_a_package_is_another_request(tmp_path: Path, config_file: Path) -> None:
    with serving(index.index()) as url:
        text = without_a_member(url)
        (tmp_path / "pyproject.toml").write_text(text)
        envpack("lock", "pyproject.toml", config=config_file, cwd=tmp_path)
        for other in (
            text.replace('tabulate = { index = "near" }\n', ""),
            text.replace("tzdata<2026", "tzdata<2027"),
        ):
            assert other != text
            (tmp_path / "pyproject.toml").write_text(other)
            done = envpack("lock", "pyproject.toml", "--check", config=config_file, cwd=tmp_path, check=False)
            assert done.returncode == 1, done.stderr


def test_what_was_uploaded_after_a_date_is_not_taken(tmp_path: Path, config_file: Path) -> None:
    head = '[project]\nname = "study"\nrequires-python = ">=3.11"\ndependencies = ["six"]\n'
    (tmp_path / "pyproject.toml").write_text(f"{head}[tool.uv]\nexclude-newer = 2024-01-01\n")
    envpack("lock", "pyproject.toml", config=config_file, cwd=tmp_path)
    lock = lockfile.read(tmp_path / "lockfiles/study.conda-lock.yml")
    assert {p.version for p in lock.packages if p.name == "six"} == {"1.16.0"}
    (tmp_path / "pyproject.toml").write_text(head)
    done = envpack("lock", "pyproject.toml", "--check", config=config_file, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stderr


def test_an_index_that_tells_no_dates(tmp_path: Path, config_file: Path) -> None:
    with serving(index.index()) as url:
        text = without_a_member(url)
        text = text.replace("[tool.uv]\n", "[tool.uv]\nexclude-newer = 2025-06-01\n").replace(
            "dateutil>=4", "dateutil"
        )
        (tmp_path / "pyproject.toml").write_text(text)
        done = envpack("lock", "pyproject.toml", config=config_file, cwd=tmp_path, check=False)
        failed(
            done, 4, "tabulate", "its index does not say when", "exclude-newer-package = { tabulate = false }"
        )
        free = "exclude-newer-package = { tabulate = false }\n"
        (tmp_path / "pyproject.toml").write_text(text.replace("[tool.uv]\n", f"[tool.uv]\n{free}"))
        envpack("lock", "pyproject.toml", config=config_file, cwd=tmp_path)
