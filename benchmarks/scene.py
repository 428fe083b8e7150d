"""What all contestants start from, made once: servers, locks, caches, folders.

FOLDER/channel               the channel stand-in, and packages made for this run
FOLDER/projects/NAME/        environment.yml, its lock, images
FOLDER/caches/NAME/          caches of envpack
FOLDER/tree/                 the image of the data stack, unpacked: what others pack
FOLDER/root/                 the base image, unpacked, into which others install
FOLDER/made/                 what others make
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from benchmarks.measure import Command, call
from envpack import lockfile
from envpack.cache import Cache
from envpack.lockfile import LockedPackage
from envpack.run.image_file import open_image
from tests.demo import ENVIRONMENT
from tests.standins import base, registry, server
from tests.standins.channel import channel
from tests.standins.settings import config_toml, hub_images, without_proxy

SUBDIR = "linux-64"
CHANGED = "pandas"
BASE = ("library/ubuntu", "20.04")
ENVPACK = Path(sys.executable).parent / "envpack"


@dataclass(frozen=True)
class Scene:
    """See the module; ``registry`` is the stand-in's URL, ``env`` the variables by which envpack uses it."""

    folder: Path
    channel: Path
    registry: str
    env: Mapping[str, str]
    projects: dict[str, Path] = field(default_factory=dict)

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def base(self) -> str:
        """The base image, as engines are told it."""
        return f"{self.registry.partition('//')[2]}/{BASE[0]}:{BASE[1]}"

    def lock(self, name: str, environment: str) -> Path:
        """A project of that name with ``environment.yml`` and its lock; gives the folder."""
        project = self.folder / "projects" / name
        project.mkdir(parents=True)
        (project / "environment.yml").write_text(environment)
        call(ENVPACK, "lock", "--quiet", cwd=project, env=self.env)
        self.projects[name] = project
        return project

    def packages(self, name: str) -> list[LockedPackage]:
        """What a project has locked."""
        (path,) = (self.projects[name] / "lockfiles").iterdir()
        return list(lockfile.read(path).for_platform(SUBDIR))

    def cache(self, name: str) -> Path:
        return self.folder / "caches" / name

    def build(self, name: str, cache: str, output: Path, *options: str) -> Command:
        """The command that builds a project with a cache."""
        arguments: list[str | Path] = [ENVPACK, "build", "--quiet", "--output", output, *options]
        env = {**self.env, "ENVPACK_CACHE": str(self.cache(cache))}
        return Command(arguments, self.projects[name], env)

    def run(self, command: Command) -> None:
        """Run a command that is not measured."""
        call(*command.arguments, cwd=command.cwd, env=command.env)

    def without_segments(self, name: str) -> None:
        """Leave in a cache what was downloaded alone."""
        for path in self.cache(name).iterdir():
            if path.is_dir() and path.name not in ("archives", "blobs"):
                shutil.rmtree(path)

    def with_archives(self, name: str, project: str) -> None:
        """A cache to which all that a project needs was downloaded; the base image is that of ``base``."""
        cache = Cache(self.cache(name))
        shutil.copytree(self.cache("base") / "blobs", cache.root / "blobs", copy_function=os.link)
        for package in self.packages(project):
            path = cache.archive(package.sha256, package.filename)
            path.parent.mkdir(parents=True, exist_ok=True)
            known = Cache(self.cache("base")).archive(package.sha256, package.filename)
            local = self.channel / package.url.split("/")[-2] / package.filename
            os.link(known if known.exists() else local, path)


@contextmanager
def prepared(variants: int, more: Sequence[tuple[Path, list[dict[str, Any]]]]) -> Iterator[Scene]:
    """The scene, gone at the end. The data stack is locked as ``data``, with other builds of one package as
    ``changed-0``, …. ``more`` are folders with packages and their records, which the channel has too.
    """
    # In /tmp, which the unprivileged user of `hpc` sees too.
    folder = Path(tempfile.mkdtemp(prefix="envpack-benchmarks-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        for name in ("made", "caches"):
            (folder / name).mkdir()
        (folder / "made").chmod(0o777)
        builds = _channel(folder / "channel", variants, more)
        with server.serving(folder / "channel") as channel_url, registry.serving() as registry_url:
            layout = base.image()
            for repository, tag in hub_images():
                registry.push(registry_url, repository, tag, layout)
            settings = folder / "config.toml"
            settings.write_text(config_toml(folder / "cache", channel_url, registry_url))
            env = {**without_proxy(os.environ), "ENVPACK_CONFIG": str(settings)}
            scene = Scene(folder, folder / "channel", registry_url, env)
            text = ENVIRONMENT.read_text()
            scene.lock("data", text)
            for number, build in enumerate(builds):
                exact = f"  - {CHANGED}=*={build}\n"
                scene.lock(f"changed-{number}", text.replace(f"  - {CHANGED}\n", exact))
            _unpack(scene)
            yield scene
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(scene: Scene) -> None:
    """The image, as ``tree``, and what of it is the base's, as ``root``."""
    image = scene.made / "first.sif"
    scene.run(scene.build("data", "base", image))
    offset = str(open_image(image).offset)
    call("unsquashfs", "-no-progress", "-offset", offset, "-dest", scene.tree, image)
    shutil.copytree(
        scene.tree, scene.folder / "root", symlinks=True,
        ignore=lambda top, _: ["env"] if Path(top) == scene.tree / "opt" else [],
    )  # fmt: skip


def _channel(
    folder: Path, variants: int, more: Sequence[tuple[Path, list[dict[str, Any]]]]
) -> tuple[str, ...]:
    """The channel stand-in with ``more`` and, of one package, other builds, whose names it gives."""
    import zstandard

    shutil.copytree(channel("data"), folder, copy_function=_link)
    subdir = folder / SUBDIR
    repodata = json.loads((subdir / "repodata.json").read_text())
    known: dict[str, dict[str, Any]] = repodata["packages.conda"]
    for packages, records in more:
        for record in records:
            known[record["fn"]] = record
            _link(packages / SUBDIR / record["fn"], subdir / record["fn"])
    last = max((r for r in known.values() if r["name"] == CHANGED), key=lambda r: r["timestamp"])
    archive = next(fn for fn, record in known.items() if record is last)
    builds = []
    for number in range(variants):
        builds.append(f"changed_{number}")
        record = {**last, "build": builds[-1], "build_number": last["build_number"]}
        made = subdir / f"{CHANGED}-{last['version']}-{builds[-1]}.conda"
        data = _rebuilt(subdir / archive, made.stem, record)
        made.write_bytes(data)
        sums = {"md5": md5(data).hexdigest(), "sha256": sha256(data).hexdigest(), "size": len(data)}
        known[made.name] = {**record, **sums}
    # Older than what it is made from, or everybody else would get it.
    for build in builds:
        known[f"{CHANGED}-{last['version']}-{build}.conda"]["timestamp"] -= 1000
    text = json.dumps(repodata).encode()
    for name, data in (("repodata.json", text), ("repodata.json.zst", zstandard.compress(text))):
        (subdir / name).unlink()
        (subdir / name).write_bytes(data)
    return tuple(builds)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _rebuilt(archive: Path, stem: str, record: Mapping[str, Any]) -> bytes:
    """A ``.conda`` archive with the same files under another build."""
    import zstandard

    out = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name.startswith("info-"):
                edit = _index_with(record)
                data = zstandard.compress(_edited(zstandard.decompress(data), "info/index.json", edit))
            part = name.partition("-")[0]
            new.writestr(f"{part}-{stem}.tar.zst" if "-" in name else name, data)
    return out.getvalue()


def _index_with(record: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        index = json.loads(data)
        return json.dumps(
            {**index, "build": record["build"], "build_number": record["build_number"]}
        ).encode()

    return edit


def _edited(archive: bytes, path: str, edit: Callable[[bytes], bytes]) -> bytes:
    """A tar with one file changed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            data = old.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]  # regular
            if member.name == path:
                data = edit(data)
                member.size = len(data)
            new.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return out.getvalue()
