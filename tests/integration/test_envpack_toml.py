"""``envpack.toml`` through the command line: recorded in the lock, put into images, and never unnoticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.integration.commands import envpack, failed, nothing_written
from tests.integration.conftest import Prepared

SETTINGS = """\
runscript = 'printf "%s|" own "$GREETING" "$@"'

[environment]
GREETING = "it's $(id) {{ x }}"

[labels]
"org.opencontainers.image.source" = "https://example.org/x"

[files]
"data" = "/opt/data"
"run.sh" = "/usr/local/bin/greet"
"""


@pytest.fixture
def project(plain: Prepared, tmp_path: Path) -> Path:
    """A locked project with settings that no lock knows yet."""
    made = plain.copied(tmp_path, built=True)
    (made.folder / "data").mkdir()
    (made.folder / "data" / "numbers").write_text("1 2 3\n")
    (made.folder / "run.sh").write_text("#!/bin/sh\necho hello\n")
    (made.folder / "run.sh").chmod(0o755)
    (made.folder / "envpack.toml").write_text(SETTINGS)
    return made.folder


@pytest.fixture
def config(project: Path) -> Path:
    return project.parent / "config.toml"


def content(image: Path) -> dict[str, tuple[int, bytes]]:
    with image.open("rb") as file:
        return {
            entry.path: (entry.mode, b"".join(entry.chunks))
            for entry in Squashfs(file, sif.read(image).partition().offset).entries()
            if entry.kind is Kind.FILE
        }


def test_a_lock_that_does_not_know_them_is_not_built(project: Path, config: Path) -> None:
    for command in ("build", "recipe"):
        with nothing_written(project):
            done = envpack(command, config=config, cwd=project, check=False)
        message = failed(done, 10, "envpack.toml has changed since the lock was written", "lock --keep")
        for name in ("environment", "labels", "files", "runscript"):
            assert f"envpack.toml: {name} is not what the lock records" in message
        assert "apt" not in message
    failed(
        envpack("lock", "--check", config=config, cwd=project, check=False), 1, "files is not what the lock"
    )


def test_kept_packages(project: Path, config: Path) -> None:
    """No network is asked: the channel is not even there."""
    path = project / "lockfiles" / "plain.conda-lock.yml"
    before = lockfile.read(path)
    config.write_text(f'cache = "{project.parent}/cache"\n')
    done = envpack("lock", "--keep", config=config, cwd=project)
    assert "ubuntu:20.04: kept as it was locked" in done.stdout
    after = lockfile.read(path)
    assert after.packages == before.packages
    assert after.content_hash == before.content_hash
    assert before.pins is not None
    assert after.pins is not None
    assert after.pins.platforms == before.pins.platforms
    assert after.pins.settings.labels == {"org.opencontainers.image.source": "https://example.org/x"}
    text = path.read_text()
    assert "up to date" in envpack("lock", "--keep", config=config, cwd=project).stdout
    assert path.read_text() == text
    envpack("lock", "--check", config=config, cwd=project)
    # What needs a solve is not kept.
    source = project / "environment.yml"
    source.write_text(source.read_text().replace("clobber_a", "timeline"))
    done = envpack("lock", "--keep", config=config, cwd=project, check=False)
    failed(done, 1, "requirements or channels have changed")
    assert path.read_text() == text


def test_in_the_image(project: Path, config: Path) -> None:
    envpack("lock", "--keep", config=config, cwd=project)
    label = "org.opencontainers.image.revision=abc=d"
    done = envpack("build", "--label", label, "--json", config=config, cwd=project)
    image = project / json.loads(done.stdout)["image"]
    found = content(image)
    assert found["opt/data/numbers"] == (0o644, b"1 2 3\n")
    assert found["usr/local/bin/greet"] == (0o755, b"#!/bin/sh\necho hello\n")
    labels = json.loads(found[".singularity.d/labels.json"][1])
    assert labels["org.opencontainers.image.source"] == "https://example.org/x"
    assert labels["org.opencontainers.image.revision"] == "abc=d"
    recipe = project / "recipes" / "plain"
    assert (recipe / "files" / "opt" / "data" / "numbers").read_text() == "1 2 3\n"
    assert (recipe / "runscript.sh").read_bytes() == found["usr/local/bin/runscript.sh"][1]
    # The runscript in the environment, as a runtime starts it.
    (project / "environment.sh").write_bytes(found[".singularity.d/env/90-environment.sh"][1])
    typed = f'. ./environment.sh; sh {recipe}/runscript.sh "a b" "*" ""'
    ran = subprocess.run(["sh", "-c", typed], cwd=project, capture_output=True, text=True, check=True)
    assert ran.stdout == "own|it's $(id) {{ x }}|a b|*||"
    # The same again; and nothing of it depends on dates.
    (project / "data" / "numbers").touch()
    again = envpack("build", "--label", label, "-o", "again.sif", "--json", config=config, cwd=project)
    assert json.loads(again.stdout)["sha256"] == json.loads(done.stdout)["sha256"]


def test_in_the_archive(project: Path, config: Path) -> None:
    envpack("lock", "--keep", config=config, cwd=project)
    envpack("build", "--format", "oci", config=config, cwd=project)
    with tarfile.open(project / "images" / "plain.oci.tar") as archive:

        def read(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()

        docker = json.loads(read("manifest.json"))[0]
        settings = json.loads(read(docker["Config"]))["config"]
        names = set()
        for layer in docker["Layers"]:
            file = archive.extractfile(layer)
            with tarfile.open(fileobj=file) as tar:
                names |= set(tar.getnames())
    assert settings["Entrypoint"] == [
        "/bin/sh", "/usr/local/bin/entrypoint.sh", "/bin/sh", "/usr/local/bin/runscript.sh",
    ]  # fmt: skip
    assert "Cmd" not in settings
    assert "GREETING=it's $(id) {{ x }}" in settings["Env"]
    assert {"opt/data/numbers", "usr/local/bin/greet", "usr/local/bin/runscript.sh"} <= names


def test_files_that_changed(project: Path, config: Path) -> None:
    envpack("lock", "--keep", config=config, cwd=project)
    (project / "data" / "numbers").write_text("4\n")
    done = envpack("build", config=config, cwd=project, check=False)
    failed(done, 10, "files is not what the lock records")
    # Without an envpack.toml the lock alone counts, and its files are looked at all the same.
    (project / "envpack.toml").unlink()
    done = envpack("build", config=config, cwd=project, check=False)
    failed(done, 10, "data was changed since it was locked")
    shutil.rmtree(project / "data")
    failed(envpack("build", config=config, cwd=project, check=False), 10, "there is no data")
    (project / "data").mkdir()
    (project / "data" / "numbers").write_text("1 2 3\n")
    envpack("build", config=config, cwd=project)


def test_what_the_native_engine_cannot_do(project: Path, config: Path) -> None:
    (project / "envpack.toml").write_text('apt = ["libgl1"]\npost = ["touch /x"]\n')
    envpack("lock", "--keep", config=config, cwd=project)
    done = envpack("build", config=config, cwd=project, check=False)
    failed(done, 9, "apt packages: libgl1", "post commands: 1", "--engine docker or --engine apptainer")
    assert not (project / "images").exists()
    recipe = envpack("recipe", config=config, cwd=project)
    assert "post.sh" in recipe.stdout
    recipes = project / "recipes" / "plain"
    assert (recipes / "apt-packages.txt").read_text() == "libgl1\n"
    assert (recipes / "post.sh").exists()
    # What a later recipe does not need is gone.
    (recipes / "notes.txt").write_text("the user's own")
    (project / "envpack.toml").write_text("")
    envpack("lock", "--keep", config=config, cwd=project)
    envpack("recipe", config=config, cwd=project)
    assert {p.name for p in recipes.iterdir()} == {
        "Apptainer.def", "Dockerfile", "conda-linux-64.lock", "entrypoint.sh", "notes.txt",
    }  # fmt: skip


def test_mistakes(project: Path, config: Path) -> None:
    (project / "envpack.toml").write_text('apt = ["a b"]\n[environment]\nPATH = "/x"\n')
    done = envpack("lock", "--keep", config=config, cwd=project, check=False)
    failed(done, 3, "envpack.toml", "'a b' cannot be installed with apt", "'PATH' cannot be set")
    done = envpack("build", "--label", "x", config=config, cwd=project, check=False)
    failed(done, 2, "--label 'x' has no value")


def test_link_scripts_are_refused_or_skipped(tmp_path: Path, config_file: Path) -> None:
    (tmp_path / "environment.yml").write_text(
        "name: x\nchannels: [conda-forge]\ndependencies: [postlink_demo, postlink_fail]\n"
    )
    envpack("lock", config=config_file, cwd=tmp_path)
    done = envpack("build", config=config_file, cwd=tmp_path, check=False)
    failed(
        done, 9, "postlink_demo 1.0: opt/env/bin/.postlink_demo-post-link.sh", "postlink_fail 1.0",
        "--engine docker", "--skip-link-scripts",
    )  # fmt: skip
    assert not (tmp_path / "images").exists()
    done = envpack("build", "--skip-link-scripts", config=config_file, cwd=tmp_path)
    assert done.stderr.count("was not run, as asked for") == 2
    assert (tmp_path / "images" / "x.sif").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "apptainer", "--format", "oci"], "the engine apptainer makes no oci"),
        (["--engine", "docker", "--sandbox"], "the engine docker makes no sandbox"),
        (["--format", "sif", "--sandbox"], "a sandbox is a folder"),
        (["--push"], "the engine native does not push"),
        (["--engine", "docker", "--level", "3"], "--compression and --level are not for the engine docker"),
        (["--tag", "x:1"], "has no tag"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], said: str, project: Path, config: Path) -> None:
    envpack("lock", "--keep", config=config, cwd=project)
    failed(envpack("build", *arguments, config=config, cwd=project, check=False), 2, said)
