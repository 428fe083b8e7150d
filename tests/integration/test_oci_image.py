"""``envpack build --format oci``: the same files as in the SIF image, on the base's own layers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from envpack import lockfile
from envpack.cache import Cache
from envpack.content import rootfs
from envpack.entry import Entry, Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import COMMAND, envpack
from tests.standins.settings import config_toml

ENVIRONMENT = """\
name: Small_Env
channels: [conda-forge]
dependencies: [python, six, links_demo, activate_demo, clobber_a, clobber_b, pip: [humanize]]
variables: {GREETING: "a 'b' $c"}
"""
YEAR_1980 = 315_532_800


@dataclass(frozen=True)
class Opened:
    """An archive's documents and the files of its layers."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    index: dict[str, Any]
    layers: tuple[Path, ...]


@dataclass(frozen=True)
class Project:
    folder: Path
    config: Path

    def build(
        self, *options: str, code: int = 0, variables: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        command = ("/usr/bin/env", *(f"{k}={v}" for k, v in (variables or {}).items()), *COMMAND)
        done = envpack(
            "build", "--json", *options, cwd=self.folder, config=self.config, check=False, command=command
        )
        assert done.returncode == code, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, channel: Served, registry: Served) -> Project:
    folder = tmp_path_factory.mktemp("oci")
    (folder / "environment.yml").write_text(ENVIRONMENT)
    config = folder / "config.toml"
    config.write_text(config_toml(folder / "cache", channel.url, registry.url))
    envpack("lock", cwd=folder, config=config)
    return Project(folder, config)


@pytest.fixture(scope="module")
def built(project: Project) -> dict[str, Any]:
    return project.build("--format", "oci")


@pytest.fixture(scope="module")
def opened(project: Project, built: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("opened")
    with tarfile.open(project.folder / built["image"]) as tar:
        tar.extractall(folder, filter="data")

    def document(descriptor: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(path(descriptor).read_bytes())
        return found

    def path(descriptor: dict[str, Any]) -> Path:
        return Path(folder, "blobs", *str(descriptor["digest"]).split(":"))

    index = json.loads((folder / "index.json").read_bytes())
    manifest = document(index["manifests"][0])
    layers = tuple(path(layer) for layer in manifest["layers"])
    return Opened(manifest, document(manifest["config"]), index, layers)


def listing(entries: Iterable[Entry], undated: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Everything about each path that does not depend on the format.

    ``undated`` is the date of what has none: the image's, but in layers, which must not change with it.
    """
    seen: dict[str, tuple[object, ...]] = {}
    for entry in entries:
        if entry.kind is Kind.HARDLINK:
            about = seen[entry.target]
        else:
            content = hashlib.sha256(b"".join(entry.chunks)).hexdigest()
            owner = (entry.uid, entry.gid, None if entry.mtime == undated else entry.mtime)
            about = (entry.kind, entry.mode, owner, entry.target, content, entry.xattrs)
        seen[entry.path] = about
        yield entry.path, about


def test_the_same_files_as_in_the_sif_image(project: Project, opened: Opened) -> None:
    lock = lockfile.read(project.folder / "lockfiles" / "Small_Env.conda-lock.yml")
    assert lock.pins is not None
    path = project.folder / project.build()["image"]
    with path.open("rb") as file:
        squashfs = Squashfs(file, sif.read(path).partition().offset)
        in_sif = dict(listing(squashfs.entries(), lock.pins.epoch))
    in_layers = dict(listing(rootfs.entries(opened.layers), YEAR_1980))
    assert len(in_layers) > 1000
    differing = {p for p in in_sif.keys() | in_layers.keys() if in_sif.get(p) != in_layers.get(p)}
    differing -= {p for p in differing if p.startswith(".singularity.d/")}
    of_the_runtime = {".singularity.d", ".exec", ".run", ".shell", ".test", "environment", "singularity"}
    # What Apptainer binds files to, and Docker makes by itself, where the base has none.
    mount_points = {"dev", "home", "proc", "root", "sys", "tmp", "var", "var/tmp"}
    assert differing <= of_the_runtime | mount_points | {
        "usr/local/bin/entrypoint.sh",
        "usr/local",
        "usr/local/bin",
    }
    assert in_layers["usr/local/bin/entrypoint.sh"][1] == 0o755
    records = {p for p in in_layers if p.startswith("opt/env/conda-meta/")}
    assert len(records) == 1 + sum(p.manager == "conda" for p in lock.packages)


def test_base_layers_are_those_of_the_registry(opened: Opened, registry: Served) -> None:
    index = json.loads((registry.path / "index.json").read_bytes())
    manifests = json.loads(_blob(registry.path, index["manifests"][0]))["manifests"]
    [amd64] = [m for m in manifests if m["platform"]["architecture"] == "amd64"]
    base = json.loads(_blob(registry.path, amd64))
    assert opened.manifest["layers"][: len(base["layers"])] == base["layers"]
    for path, layer in zip(opened.layers, base["layers"], strict=False):
        assert path.read_bytes() == _blob(registry.path, layer)
    config = json.loads(_blob(registry.path, base["config"]))
    ids = opened.config["rootfs"]["diff_ids"]
    assert ids[: len(config["rootfs"]["diff_ids"])] == config["rootfs"]["diff_ids"]


def _blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    path = Path(layout, "blobs", *str(descriptor["digest"]).split(":"))
    return path.read_bytes()


def test_what_it_says_of_itself(opened: Opened, built: dict[str, Any], project: Project) -> None:
    config = opened.config["config"]
    variables = dict(item.split("=", 1) for item in config["Env"])
    assert variables["PATH"].startswith("/opt/env/bin:/usr/local/sbin:")
    assert variables["CONDA_PREFIX"] == "/opt/env"
    assert variables["CONDA_DEFAULT_ENV"] == "Small_Env"
    assert variables["PYTHONNOUSERSITE"] == "1"
    assert variables["GREETING"] == "a 'b' $c"
    # What the packages' activation scripts set.
    assert variables["ACTIVATE_DEMO_HOME"] == "/opt/env/share/activate_demo"
    assert variables["SSL_CERT_FILE"] == "/opt/env/ssl/cacert.pem"
    assert config["Cmd"] == ["/opt/env/bin/python"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/ubuntu:20.04"
    assert opened.manifest["annotations"] == labels
    assert opened.config["created"] == labels["org.opencontainers.image.created"]
    titles = [item.get("created_by", "") for item in opened.config["history"]]
    assert titles[-1] == "envpack: entry point and history of the environment"
    assert titles[-2].startswith("envpack: humanize ")
    assert titles[1].startswith("envpack: python 3.")
    assert len(opened.config["rootfs"]["diff_ids"]) == len(titles) <= 1 + 16 + 8 + 4
    assert opened.index["manifests"][0]["digest"] == built["manifest"]
    assert built["tag"] == "docker.io/library/small_env:latest"
    assert built["image"] == str(Path("images", "Small_Env.oci.tar"))


def test_same_lock_same_bytes(project: Project, built: dict[str, Any], tmp_path: Path) -> None:
    surroundings = {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    surroundings["ENVPACK_CACHE"] = str(tmp_path / "another-cache")
    other = project.build("--format", "docker", "-o", str(tmp_path / "other.tar"), variables=surroundings)
    assert (other["sha256"], other["manifest"]) == (built["sha256"], built["manifest"])
    again = project.build("--format", "oci", "-o", str(tmp_path / "again.tar"))
    assert again["sha256"] == built["sha256"], "from cached layers"


def test_a_layer_that_is_cut_is_made_again(project: Project, built: dict[str, Any], opened: Opened) -> None:
    digest = opened.manifest["layers"][-1]["digest"].partition(":")[2]
    cached = project.folder / "cache" / "blobs" / "sha256" / digest
    cached.write_bytes(cached.read_bytes()[:-1])
    assert project.build("--format", "oci")["sha256"] == built["sha256"]


def test_one_changed_package_is_one_changed_layer(project: Project, opened: Opened, tmp_path: Path) -> None:
    """As after a new build of it: another archive, and a later date of the whole image."""
    folder = tmp_path / "project"
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("images", "cache"))
    path = folder / "lockfiles" / "Small_Env.conda-lock.yml"
    lock = lockfile.read(path)
    assert lock.pins is not None
    [old] = [package for package in lock.packages if package.name == "activate_demo"]
    cache = Cache(project.folder / "cache")
    new = tmp_path / old.filename
    with zipfile.ZipFile(cache.archive(old.sha256, old.filename)) as read, zipfile.ZipFile(new, "w") as write:
        for name in read.namelist():
            data = read.read(name)
            if name.startswith("info-"):
                data = zstandard.compress(
                    zstandard.decompress(data, 1 << 20).replace(b"custom", b"change"), 1
                )
            write.writestr(name, data)
    sha256 = hashlib.sha256(new.read_bytes()).hexdigest()
    shutil.move(new, cache.archive(sha256, old.filename))
    text = path.read_text().replace(old.sha256, sha256).replace(str(old.md5), "0" * 32)
    path.write_text(text.replace(str(lock.pins.epoch), str(lock.pins.epoch + 86400)))
    built = Project(folder, project.config).build("--format", "oci")
    with tarfile.open(folder / built["image"]) as tar:
        manifest = json.load(tar.extractfile(f"blobs/sha256/{built['manifest'][7:]}"))  # type: ignore[arg-type]  # a file
    known = {layer["digest"] for layer in opened.manifest["layers"]}
    changed = [layer for layer in manifest["layers"] if layer["digest"] not in known]
    assert len(manifest["layers"]) == len(opened.manifest["layers"])
    assert len(changed) == 2, "the package's, and the history of the environment"
    assert changed[-1] == manifest["layers"][-1]


def test_a_name_of_one_s_own(project: Project, tmp_path: Path) -> None:
    output = tmp_path / "x.tar"
    built = project.build("--format", "oci", "--tag", "registry.example.org/group/env:2.0", "-o", str(output))
    assert built["tag"] == "registry.example.org/group/env:2.0"
    with tarfile.open(output) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        assert json.load(member)[0]["RepoTags"] == ["registry.example.org/group/env:2.0"]


@pytest.mark.parametrize(
    "options",
    [
        ["--tag", "env:1"],
        ["--format", "oci", "--tag", "Upper:1"],
        ["--format", "oci", "--tag", f"env@sha256:{'0' * 64}"],
    ],
)
def test_names_that_cannot_be(project: Project, options: list[str]) -> None:
    assert project.build(*options, code=2)["error"]["kind"] == "UsageError"
