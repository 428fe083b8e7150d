"""``envpack build --format sqfs``: the environment of the SIF image as a file system of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from envpack.entry import Entry, Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import envpack, failed
from tests.standins.settings import config_toml

ENVIRONMENT = """\
name: alone
channels: [conda-forge]
dependencies: [python, six, links_demo, activate_demo, clobber_a, clobber_b, pip: [humanize]]
variables: {GREETING: "a 'b' $c"}
"""
SETTINGS = """\
runscript = 'exec python -m six "$@"'
[labels]
group = "x"
[files]
"outside.txt" = "/opt/data/outside.txt"
"""
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Path:
    folder = tmp_path_factory.mktemp("sqfs")
    (folder / "environment.yml").write_text(ENVIRONMENT)
    (folder / "config.toml").write_text(config_toml(folder / "cache", channel.url, registry.url))
    envpack("lock", cwd=folder, config=folder / "config.toml")
    # Locked: from here on there is no registry.
    (folder / "no-registry.toml").write_text(config_toml(folder / "cache", channel.url, NOWHERE))
    return folder


def build(project: Path, *options: str, config: str = "no-registry.toml") -> dict[str, Any]:
    done = envpack("build", "--json", *options, cwd=project, config=project / config)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def built(project: Path) -> dict[str, Any]:
    shutil.rmtree(project / "cache" / "blobs", ignore_errors=True)  # what `lock` looked at
    return build(project, "--format", "sqfs")


def listing(entries: Iterable[Entry], below: str = "") -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for entry in entries:
        target = entry.target
        if entry.kind is Kind.HARDLINK:
            target = target.removeprefix(below)
        content = hashlib.sha256(b"".join(entry.chunks)).hexdigest()
        about = (entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime, target, content, entry.xattrs)
        if entry.path.startswith(below):
            found[entry.path.removeprefix(below)] = about
    return found


def read(path: Path, offset: int = 0, below: str = "") -> dict[str, tuple[object, ...]]:
    with path.open("rb") as file:
        return listing(Squashfs(file, offset).entries(), below)


def test_it_is_the_environment_of_the_sif_image(project: Path, built: dict[str, Any]) -> None:
    image = project / built["image"]
    assert image == project / "images" / "alone.sqfs"
    assert hashlib.sha256(image.read_bytes()).hexdigest() == built["sha256"]
    alone = read(image)
    linked = {path.name: path.stat().st_ino for path in (project / "cache" / "segments").iterdir()}
    made = project / build(project, config="config.toml")["image"]
    within = read(made, sif.read(made).partition().offset, "opt/env/")
    assert len(alone) > 500
    assert alone.pop("activate.sh")[0] is Kind.FILE
    assert alone == within
    again = {path.name: path.stat().st_ino for path in (project / "cache" / "segments").iterdir()}
    assert len(again) == len(linked) + 1, "the base"
    assert {name: again[name] for name in linked} == linked, "nothing is linked twice"


def test_findings_are_those_of_a_sif_image(project: Path, built: dict[str, Any]) -> None:
    assert built["findings"] == build(project, config="config.toml")["findings"]
    assert any("/share/clobbered" in f["subject"] or "clobber" in f["reason"] for f in built["findings"])


def test_same_lock_same_bytes(project: Path, built: dict[str, Any], tmp_path: Path, channel: Served) -> None:
    (project / "other.toml").write_text(config_toml(tmp_path / "cache", channel.url, NOWHERE))
    other = build(project, "--format", "sqfs", "-o", str(tmp_path / "x.sqfs"), config="other.toml")
    assert other["sha256"] == built["sha256"]


def test_what_a_file_system_alone_cannot_have_is_said(project: Path, channel: Served, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("images", "cache", "recipes"))
    (folder / "envpack.toml").write_text(SETTINGS)
    (folder / "outside.txt").write_text("out")
    envpack("lock", "--keep", cwd=folder, config=folder / "config.toml")
    built = build(folder, "--format", "sqfs")
    said = {f["subject"]: f["reason"] for f in built["findings"]}
    assert "/opt/data/outside.txt is not below /opt/env" in said["outside.txt"]
    assert {"runscript", "label group"} <= said.keys()
    assert not any("outside" in path for path in read(folder / built["image"]))


def test_it_is_not_run_by_itself(project: Path, built: dict[str, Any]) -> None:
    done = envpack("run", built["image"], "-V", cwd=project, config=project / "config.toml", check=False)
    failed(done, 9, "holds an environment alone", "alone.sqfs:/opt/env:image-src=/")


def test_labels_are_refused(project: Path) -> None:
    done = envpack(
        "build", "--format", "sqfs", "--label", "a=b",
        cwd=project, config=project / "config.toml", check=False,
    )  # fmt: skip
    failed(done, 2, "no labels")


def test_how_to_use_it_is_said(project: Path, built: dict[str, Any]) -> None:
    assert built["format"] == "sqfs"
    done = envpack("build", "--format", "sqfs", cwd=project, config=project / "no-registry.toml")
    assert "-B images/alone.sqfs:/opt/env:image-src=/ BASE.sif" in done.stdout
