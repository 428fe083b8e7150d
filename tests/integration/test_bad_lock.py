"""Locks edited by hand: refused with the line, or with what the bytes should have been."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Served
from tests.integration.commands import Done, envpack, error, failed, nothing_written
from tests.integration.conftest import Prepared, Project


@pytest.fixture
def project(plain: Prepared, tmp_path: Path) -> Project:
    return plain.copied(tmp_path)


def build(project: Project, *arguments: str) -> Done:
    """Build, which must leave no image, no recipe and the lock as it is."""
    with nothing_written(project.folder):
        return envpack("build", *arguments, config=project.config, cwd=project.folder, check=False)


def edit(project: Project, pattern: str, replacement: str) -> int:
    """Replace the first match in the lock; gives the line where it was."""
    text = project.lock.read_text()
    match = re.search(pattern, text)
    assert match, pattern
    project.lock.write_text(text[: match.start()] + replacement + text[match.end() :])
    return text.count("\n", 0, match.start()) + 1


def test_no_lock(project: Project) -> None:
    project.lock.unlink()
    failed(build(project), 10, "there is no lock in lockfiles", "envpack lock")
    failed(build(project, "plain"), 10, "there is no lock lockfiles/plain.conda-lock.yml", "envpack lock")


def test_another_name(project: Project) -> None:
    failed(build(project, "plane"), 10, "there is no lock lockfiles/plane.conda-lock.yml", "plain")


def test_several_locks(project: Project) -> None:
    project.lock.with_name("other.conda-lock.yml").write_bytes(project.lock.read_bytes())
    failed(build(project), 10, "holds 2 locks", "other", "plain", "envpack build NAME")


def test_a_lock_of_conda_lock_itself(project: Project) -> None:
    text = project.lock.read_text()
    start, end = text.index("  custom_metadata:"), text.index("package:\n")
    project.lock.write_text(text[:start] + text[end:])
    failed(build(project), 10, "does not say what to build it on", "envpack lock")


def test_a_platform_that_it_does_not_have(project: Project) -> None:
    failed(build(project, "--platform", "linux-aarch64"), 2, "linux-aarch64", "made for linux-64")
    failed(build(project, "--platform", "osx-arm64"), 2, "osx-arm64")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", ""),
        (b"a: [1, 2\n", ":2:1"),
        (b"version: 1\n  metadata: 2\n", ":2:11"),
        (b"version: 1\n\xff\n", ":2"),
        (b"[" * 2_000, ""),
        (b"version: 1\n" * 500_000, ""),
        (b"version: 1\n", ":1:1"),
        (b"version: 4\nmetadata: {}\npackage: []\n", ":1:10"),
    ],
    ids=["empty", "flow", "indentation", "not text", "deep", "huge", "cut", "version"],
)
def test_not_a_lock(project: Project, content: bytes, place: str) -> None:
    project.lock.write_bytes(content)
    failed(build(project), 10, f"lockfiles/plain.conda-lock.yml{place}", "envpack lock")


def test_a_bomb_of_aliases(project: Project) -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    text = project.lock.read_text()
    project.lock.write_text("\n".join(bomb) + "\n" + text.replace("name: clobber_a", "name: *a11"))
    failed(build(project), 10, "name is not a text")


KEYS = ["version", "metadata", "channels", "envpack.prefix", "envpack.linux-64.base.digest", "url", "sha256"]


@pytest.mark.parametrize("key", KEYS)
def test_missing_keys(project: Project, key: str) -> None:
    edit(project, rf"\b{re.escape(key)}:", "another:")
    failed(build(project), 10, "lockfiles/plain.conda-lock.yml:", key, "envpack lock")


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        ("name: clobber_a", "name: ../../clobber_a", "../../clobber_a"),
        ("name: clobber_a", r'name: "a\nb"', "cannot be the name"),
        ("clobber_a-1.0-0.conda", "..%2f..%2fx.conda", "the URL of clobber_a"),
        ("https://.*clobber_a-1.0-0.conda", "file:///etc/passwd", "the URL of clobber_a"),
        ("sha256: [0-9a-f]+\n", "sha256: ../../../x\n", "the sha256 of clobber_a"),
        ("  platform: linux-64", "  platform: linux-65", "linux-65"),
        ("name: clobber_b", "name: clobber_a", "twice"),
        ("envpack.prefix: .*", "envpack.prefix: /../x", "'/../x'"),
        ("envpack.prefix: .*", "envpack.prefix: /opt/$(id)", "/opt/$(id)"),
        ("envpack.name: .*", "envpack.name: ../../x", "'../../x'"),
        ("envpack.epoch: .*", "envpack.epoch: '99999999999'", "envpack.epoch"),
        ("base.glibc: .*", "base.glibc: new", "base.glibc"),
        ("envpack.name:", "envpack.variable.A;id: x\n    envpack.name:", "A;id"),
    ],
)
def test_hostile_values(project: Project, pattern: str, replacement: str, words: str) -> None:
    edit(project, pattern, replacement)
    failed(build(project), 10, "lockfiles/plain.conda-lock.yml:", words, "envpack lock")


def test_all_that_is_wrong_at_once(project: Project) -> None:
    first = edit(project, "name: clobber_a", "name: ../a")
    second = edit(project, "clobber_b-1.0-0.tar.bz2", "")
    problems = error(build(project, "--json"), 10, "LockError")["problems"]
    assert isinstance(problems, list)
    assert [p["line"] for p in problems] == [first, second]


def test_a_platform_that_images_cannot_be_built_for(project: Project) -> None:
    project.lock.write_text(project.lock.read_text().replace("linux-64", "osx-64"))
    failed(build(project), 10, "osx-64", "envpack lock")


def test_a_hash_of_something_else(project: Project) -> None:
    edit(project, "sha256: [0-9a-f]{64}\n", f"sha256: {'0' * 64}\n")
    message = failed(build(project), 6, "clobber_a-1.0-0.conda does not have the recorded content")
    assert f"expected sha256 {'0' * 64}" in message
    assert not list((project.cache / "archives").glob(f"{'0' * 64}-*")), "nothing wrong is kept"


def test_hashes_swapped(project: Project) -> None:
    text = project.lock.read_text()
    one, two, _ = re.findall("sha256: ([0-9a-f]{64})\n", text)
    project.lock.write_text(text.replace(one, "x").replace(two, one).replace("x" + "\n", two + "\n"))
    problems = error(build(project, "--json"), 6, "IntegrityError")["problems"]
    assert isinstance(problems, list)
    assert len(problems) == 2


def test_the_url_of_another_file(project: Project) -> None:
    edit(project, "clobber_a-1.0-0.conda", "case_a-1.0-0.conda")
    failed(build(project), 6, "case_a-1.0-0.conda does not have the recorded content")


def test_a_url_that_is_gone(project: Project) -> None:
    edit(project, "clobber_a-1.0-0.conda", "clobber_a-1.1-0.conda")
    failed(build(project), 5, "clobber_a-1.1-0.conda does not exist", "envpack lock")


def test_another_package_under_its_name(plain: Prepared, tmp_path: Path) -> None:
    """URL and hash both of another package, which is cached: the archive says who it is."""
    project = plain.copied(tmp_path, built=True)
    found = re.findall("url: (.*)\n  hash:\n.*\n    sha256: (.*)\n", project.lock.read_text())
    url, sha256 = found[2]
    assert "legacy_demo" in url
    edit(project, "https://.*clobber_a-1.0-0.conda", url)
    edit(project, "sha256: [0-9a-f]{64}\n", f"sha256: {sha256}\n")
    failed(build(project), 6, "legacy_demo 1.0, not clobber_a 1.0")


def test_a_base_image_that_is_gone(project: Project) -> None:
    edit(project, "base.digest: sha256:.*", f"base.digest: sha256:{'0' * 64}")
    failed(build(project), 7, "there is no image ubuntu:20.04@sha256:000", "envpack lock")


def test_a_base_image_of_another_platform(project: Project, registry: Served) -> None:
    (top,) = json.loads((registry.path / "index.json").read_text())["manifests"]
    index = json.loads((registry.path / "blobs" / top["digest"].replace(":", "/")).read_text())
    (arm,) = (m for m in index["manifests"] if m["platform"]["architecture"] == "arm64")
    edit(project, "base.digest: sha256:.*", f"base.digest: {arm['digest']}")
    failed(build(project), 7, "linux-64", "linux/arm64")
    edit(project, "base.digest: sha256:.*", f"base.digest: {top['digest']}")
    failed(build(project), 7, "envpack lock")
