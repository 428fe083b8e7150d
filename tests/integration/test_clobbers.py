"""Packages with the same file, or names that differ by case alone: what is in the image, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import envpack
from tests.standins.settings import config_toml

ENVIRONMENT = """\
name: clobbers
channels: [conda-forge]
dependencies: [clobber_a, clobber_b, case_a, case_b, links_demo, legacy_demo, v0_demo]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Path:
    folder = tmp_path_factory.mktemp("clobbers")
    (folder / "environment.yml").write_text(ENVIRONMENT)
    (folder / "config.toml").write_text(config_toml(folder / "cache", channel.url, registry.url))
    envpack("lock", cwd=folder, config=folder / "config.toml")
    return folder


def test_the_file_that_conda_keeps_is_in_the_image_and_the_other_is_said(project: Path) -> None:
    done = envpack("build", "--json", cwd=project, config=project / "config.toml")
    findings = [f for f in json.loads(done.stdout)["findings"] if f["subject"].startswith("/opt/env/share")]
    assert [(f["action"], f["subject"]) for f in findings] == [
        ("replaced", "/opt/env/share/clobber/data.txt")
    ]
    assert "clobber_a 1.0 and clobber_b 1.0 both have it" in findings[0]["reason"]
    image = project / "images" / "clobbers.sif"
    share = "opt/env/share/"
    with image.open("rb") as opened:
        found = {
            entry.path.removeprefix(share): entry.target or b"".join(entry.chunks)
            for entry in Squashfs(opened, sif.read(image).partition().offset).entries()
            if entry.path.startswith(share) and entry.kind is not Kind.DIRECTORY
        }
    assert found == {
        "a": b"a",
        "b": b"b",
        "clobber/data.txt": b"from b\n",
        "Case/README": b"upper\n",
        "Case/readme": b"mixed\n",
        "case/readme": b"lower\n",
        "links/file": b"x\n",
        "links/beside": "file",
        "links/up": "../links/file",
        "links/dangling": "nowhere",
        "links/folder": "../links",
        "links/n\N{LATIN SMALL LETTER AE}me with space": b"y\n",
        "legacy/data": b"kept\n",
        "v0/data": b"kept\n",
    }
