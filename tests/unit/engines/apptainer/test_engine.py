"""What is refused before anything is done, and what a stand-in for the program is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envpack import platforms
from envpack.engines import Image
from envpack.engines.apptainer import ApptainerEngine
from envpack.engines.apptainer.facts import Facts
from envpack.errors import EngineError, OutputError
from envpack.image import Digest, Reference
from envpack.ledger import Ledger
from envpack.lockfile import BasePin, Lockfile
from envpack.progress import Quiet
from envpack.recipe import Recipe, Stages

HOST = next(p for p in platforms.PLATFORMS.values() if p.is_host)
OTHER = next(p for p in platforms.PLATFORMS.values() if not p.is_host)
# It says where its temporary files would be, and makes what it is asked for.
PROGRAM = """\
#!/bin/sh
case "$1" in
--version) echo apptainer version 1.4.5 ;;
build)
    echo "$PWD $*" > "$(dirname "$0")/asked"
    echo "$APPTAINER_TMPDIR" > "$(dirname "$0")/temporary"
    for word; do made=$last; last=$word; done
    case "$*" in *--sandbox*) /bin/mkdir "$made" ;; *) echo image > "$made" ;; esac ;;
esac
"""
USER = Facts(root=False, user="me", listed=True, newuidmap=True)


def recipe(registry: str = "registry.example.org") -> Recipe:
    image = Reference(registry, "ubuntu", "20.04", Digest("sha256:" + "b" * 64))
    hub = Reference("docker.io", "library/ubuntu", "24.04", Digest("sha256:" + "c" * 64))
    base = BasePin(image, Digest("sha256:" + "b" * 64), "2.31")
    return Recipe("env", HOST, base, "/opt/env", 0, stages=Stages(image, hub, None, "because"))


Build = Callable[..., Image]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    for name in ("bin", "recipes", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "recipes" / "Apptainer.def").write_text("Bootstrap: docker\n")
    (tmp_path / "bin" / "apptainer").write_text(PROGRAM)
    (tmp_path / "bin" / "apptainer").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("APPTAINER_TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)

    def build(
        wanted: Recipe, output: str = "images/env.sif", *, sandbox: bool = False, facts: Facts = USER
    ) -> Image:
        engine = ApptainerEngine(Path("recipes"), Quiet(), sandbox=sandbox, facts=facts)
        return engine.build(Lockfile((), (), {}, (), None), wanted, Path(output), Ledger())

    return build


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "bin" / "asked").read_text().split()


def test_what_the_program_is_asked(build: Build, tmp_path: Path) -> None:
    image = build(recipe())
    assert image.path == Path("images/env.sif")
    assert image.size == len("image\n")
    made = tmp_path / "images" / ".env.sif.partial.d" / "image"
    assert asked(tmp_path) == [str(tmp_path / "recipes"), "build", str(made), "Apptainer.def"]
    temporary = Path((tmp_path / "bin" / "temporary").read_text().strip())
    assert temporary.parent == tmp_path / "temporary"
    assert not temporary.exists()


def test_a_sandbox(build: Build, tmp_path: Path) -> None:
    image = build(recipe(), "env.sandbox", sandbox=True, facts=replace(USER, newuidmap=False))
    assert (image.path, image.size, image.sha256) == (Path("env.sandbox"), None, None)
    assert (tmp_path / "env.sandbox").is_dir()
    assert asked(tmp_path)[2:4] == ["--ignore-subuid", "--sandbox"]


@pytest.mark.parametrize(
    ("registry", "insecure"),
    [
        ("127.0.0.1:5000", True),
        ("127.1.2.3:5000", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("registry.example.org:5000", False),
        ("localhost.example.org", False),
    ],
)
def test_registries_of_this_machine(build: Build, tmp_path: Path, registry: str, insecure: bool) -> None:
    build(recipe(registry))
    assert ("--no-https" in asked(tmp_path)) is insecure


def nothing_was_done(folder: Path) -> bool:
    return not (folder / "bin" / "asked").exists() and not (folder / "images").exists()


def test_another_platform(build: Build, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"not for {OTHER.subdir}"):
        build(replace(recipe(), platform=OTHER))
    assert nothing_was_done(tmp_path)


def test_no_definition_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "recipes" / "Apptainer.def").unlink()
    with pytest.raises(EngineError, match=r"there is no recipes/Apptainer\.def"):
        build(recipe())
    assert nothing_was_done(tmp_path)


def test_no_way(build: Build, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot build an image here as you"):
        build(recipe(), facts=replace(USER, no_own_namespaces="user.max_user_namespaces is 0"))
    assert nothing_was_done(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_there_is_no_sandbox_to_replace(build: Build, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "env.sandbox"
    if kind == "link":
        path.symlink_to("nothing")
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
    with pytest.raises(EngineError, match="may hold somebody's work"):
        build(recipe(), "env.sandbox", sandbox=True)
    assert nothing_was_done(tmp_path)


def test_a_folder_is_no_file_to_replace(build: Build, tmp_path: Path) -> None:
    (tmp_path / "env.sif").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        build(recipe(), "env.sif")
    assert nothing_was_done(tmp_path)
