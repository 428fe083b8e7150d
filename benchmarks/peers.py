"""What others take to pack the same content, and the floors below which nobody gets."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.contest import Absent, Contestant
from benchmarks.measure import Command, call
from benchmarks.scene import CHANGED, Scene
from envpack.formats.squashfs.options import DEFAULT, Options
from tests.engines import docker as engine

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
GZIP_9 = Options("gzip", 9, 128 << 10)
# What takes more than a minute is not repeated.
SLOW = 1


def contestants(scene: Scene, docker: engine.Docker | Absent) -> Iterator[Contestant | Absent]:
    yield from _copies(scene)
    yield from _squashfs(scene)
    records = _records(scene)
    yield from _rattler(scene, records)
    yield _conda_pack(scene, records)
    yield from _apptainer(scene)
    yield from _docker(scene, docker)


def mksquashfs(source: Path, output: Path, options: Options) -> list[str | Path]:
    return [
        "mksquashfs", source, output, "-noappend", "-no-progress", "-all-root", "-b", str(options.block_size),
        "-comp", options.compression, "-Xcompression-level", str(options.level),
    ]  # fmt: skip


def _contestant(
    key: str,
    title: str,
    output: Path,
    command: Callable[[], Command],
    *,
    rounds: int | None = None,
    note: str = "",
    kept: tuple[Path, ...] = (),
) -> Contestant:
    """One that makes the file ``output`` anew each time."""

    def start(_: int) -> Command:
        output.unlink(missing_ok=True)
        return command()

    return Contestant(
        key, title, start, lambda: output.stat().st_size, kept or (output.parent,), rounds, note
    )  # fmt: skip


def _copies(scene: Scene) -> Iterator[Contestant]:
    source, output = scene.made / "first.sif", scene.made / "copy.sif"
    yield _contestant("cp", "cp of the image", output, lambda: Command(["cp", source, output]))
    synced = 'cp "$1" "$2" && sync "$2"'
    yield _contestant(
        "cp-sync", "cp of the image, and sync of it", output,
        lambda: Command(["sh", "-c", synced, "sh", source, output]),
        note="envpack's images are on the disk when it ends, too",
    )  # fmt: skip


def _squashfs(scene: Scene) -> Iterator[Contestant]:
    for key, options, rounds in (("mksquashfs", DEFAULT, None), ("mksquashfs-gzip", GZIP_9, SLOW)):
        output = scene.made / f"{key}.sqfs"
        command = Command(mksquashfs(scene.tree, output, options))
        title = (
            f"mksquashfs alone, {options.compression} {options.level}, {options.block_size >> 10} KiB blocks"
        )
        yield _contestant(
            key, title, output, lambda command=command: command, rounds=rounds,  # type: ignore[misc]  # bound
            note="of a tree that is unpacked already",
        )  # fmt: skip


def _rattler(scene: Scene, records: Path) -> Iterator[Contestant]:
    """An environment installed into the unpacked base, and packed."""
    root, cache = scene.folder / "root", scene.folder / "rattler"
    prefix = root / "opt" / "env"
    install = [sys.executable, HERE / "rattler_install.py", "install", records, prefix, cache, "/opt/env"]
    # As recipes do it.
    compiled = (
        f"{prefix}/bin/python -I -S -m compileall -q -q -f -j 0 --invalidation-mode unchecked-hash "
        f"-s {prefix} -p /opt/env {prefix}/lib/python3*; "
    )
    for key, title, between in (
        ("rattler", "py-rattler install, mksquashfs", ""),
        ("rattler-bytecode", "py-rattler install, bytecode, mksquashfs", compiled),
    ):
        output = scene.made / f"{key}.sqfs"
        pack = " ".join(map(str, mksquashfs(root, output, DEFAULT)))
        script = f"{' '.join(map(str, install))} && {{ {between}{pack}; }}"

        def start(script: str = script) -> Command:
            shutil.rmtree(prefix, ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)
            return Command(["sh", "-c", script])

        yield _contestant(
            key, title, output, start, kept=(scene.made, root, cache),
            note="archives downloaded, base unpacked, pip section left out, compressed as ours",
        )  # fmt: skip
    yield _own_cost(scene)


def _own_cost(scene: Scene) -> Contestant:
    """What one package costs by itself."""
    package = next(p for p in scene.packages("data") if p.name == CHANGED)
    archive = scene.channel / package.url.split("/")[-2] / package.filename
    folder, output = scene.folder / "one", scene.made / "one.sqfs"
    extract = f"{sys.executable} {HERE / 'rattler_install.py'} extract {archive} {folder}"
    pack = " ".join(map(str, mksquashfs(folder, output, DEFAULT)))

    def start() -> Command:
        shutil.rmtree(folder, ignore_errors=True)
        return Command(["sh", "-c", f"{extract} && {pack}"])

    return _contestant(
        "own", f"{CHANGED} alone: py-rattler extract, mksquashfs", output, start, kept=(scene.made, folder)
    )  # fmt: skip


def _records(scene: Scene) -> Path:
    """A file that says what to install: see :mod:`benchmarks.rattler_install`."""
    folder = scene.folder / "records"
    folder.mkdir()
    found = []
    for package in scene.packages("data"):
        if package.manager != "conda":
            continue
        archive = scene.channel / package.url.split("/")[-2] / package.filename
        index = folder / f"{package.filename}.json"
        index.write_bytes(_index(archive))
        found.append([str(index), package.filename, archive.as_uri()])
    (folder / "records.json").write_text(json.dumps(found))
    return folder / "records.json"


def _index(archive: Path) -> bytes:
    import io
    import tarfile

    import zstandard

    if archive.suffix != ".conda":
        with tarfile.open(archive) as tar:
            return tar.extractfile("info/index.json").read()  # type: ignore[union-attr]  # a regular file
    with zipfile.ZipFile(archive) as whole:
        (name,) = (name for name in whole.namelist() if name.startswith("info-"))
        info = zstandard.decompress(whole.read(name))
    with tarfile.open(fileobj=io.BytesIO(info)) as tar:
        return tar.extractfile("info/index.json").read()  # type: ignore[union-attr]  # a regular file


def _conda_pack(scene: Scene, records: Path) -> Contestant | Absent:
    program = BIN / "conda-pack"
    if not program.exists():
        return Absent("conda-pack", "it is not installed")
    prefix, output = scene.folder / "prefix", scene.made / "conda-pack.tar.gz"

    def start() -> Command:
        if not prefix.exists():
            cache = scene.folder / "prefix-cache"
            call(sys.executable, HERE / "rattler_install.py", "install", records, prefix, cache, prefix)
        return Command([program, "--prefix", prefix, "--output", output, "--quiet"])

    return _contestant(
        "conda-pack", "conda-pack, tar.gz", output, start,
        rounds=2, note="the environment alone, installed already",
    )  # fmt: skip


def _apptainer(scene: Scene) -> Iterator[Contestant | Absent]:
    program = machine.apptainer()
    if program is None:
        yield Absent(
            "apptainer build", "there is no Apptainer: see ENVPACK_TEST_APPTAINER in CONTRIBUTING.md"
        )
        return
    folder = scene.folder / "apptainer"
    folder.mkdir()
    folder.chmod(0o777)
    definition = f"Bootstrap: docker\nFrom: {scene.base}\n"
    plain, whole = scene.folder / "Base.def", scene.folder / "Apptainer.def"
    plain.write_text(definition)
    whole.write_text(f"{definition}\n%files\n    {scene.tree}/opt/env /opt/env\n")
    zstd = f"-comp zstd -Xcompression-level {DEFAULT.level}"
    build = [*program, "build", "--no-https", "--force"]
    warm: list[bool] = []
    for key, title, options, rounds in (
        ("apptainer", "apptainer build, its default (gzip 9)", [], SLOW),
        ("apptainer-zstd", f"apptainer build, zstd {DEFAULT.level}", ["--mksquashfs-args", zstd], 2),
    ):
        output = folder / f"{key}.sif"

        def start(command: list[str | Path] = [*build, *options, output, whole]) -> Command:  # noqa: B006 bound
            if not warm:
                call(*build, "--sandbox", folder / "warm", plain)
                warm.append(True)
            return Command(command)

        yield _contestant(
            key, title, output, start, rounds=rounds,
            note="from a definition file that copies the installed environment; base downloaded",
        )  # fmt: skip


def _docker(scene: Scene, docker: engine.Docker | Absent) -> Iterator[Contestant | Absent]:
    if isinstance(docker, Absent):
        yield docker
        return
    program = shutil.which("docker", path=engine.PATH)
    assert program
    context = scene.tree / "opt"
    dockerfile = scene.folder / "Dockerfile"
    dockerfile.write_text(f"FROM {scene.base}\nCOPY env /opt/env\n")
    pulled = docker("pull", scene.base, check=False)
    if pulled.returncode != 0:
        yield Absent("docker build", f"it failed: {pulled.stderr}")
        return
    socket = Path(docker.host.removeprefix("unix://"))
    pid = int(socket.with_name("pid").read_text()) if os.geteuid() == 0 else None
    beside = "" if pid else "what the daemon used is not in it"

    def command(*arguments: str | Path, buildkit: bool = False) -> Command:
        env = {**os.environ, "DOCKER_HOST": docker.host, "DOCKER_BUILDKIT": str(int(buildkit))}
        return Command([program, *arguments], env=env, beside=pid)

    for key, title, buildkit in (
        ("docker-classic", "docker build, classic", False),
        ("docker-buildkit", "docker build, BuildKit", True),
    ):

        def build(_: int, buildkit: bool = buildkit, key: str = key) -> Command:
            docker("rmi", "--force", key, check=False)
            docker("builder", "prune", "--all", "--force", check=False)
            arguments = ("build", "--no-cache", "--quiet", "--tag", key, "--file", dockerfile, context)
            return command(*arguments, buildkit=buildkit)

        note = f"copies the installed environment; {beside}".rstrip("; ")
        yield Contestant(key, title, build, None, (), SLOW, note)
    archive = scene.made / "docker.tar"

    def save() -> Command:
        docker("build", "--tag", "saved", "--file", dockerfile, context, buildkit=True)
        return command("save", "--output", archive, "saved")

    yield _contestant("docker-save", "docker save", archive, save, rounds=SLOW, note=beside)
    name = f"{scene.registry.partition('//')[2]}/docker:latest"
    sizes: list[int] = []

    def push(_: int) -> Command:
        docker("build", "--tag", name, "--file", dockerfile, context, buildkit=True)
        return command("push", "--quiet", name)

    def size() -> int:
        import urllib.request

        kind = "application/vnd.docker.distribution.manifest.v2+json"
        request = urllib.request.Request(
            f"{scene.registry}/v2/docker/manifests/latest", headers={"Accept": kind}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            sizes.append(sum(layer["size"] for layer in json.load(answer)["layers"][1:]))
        return sizes[-1]

    note = "size: the layer of the environment, whatever has changed in it"
    yield Contestant("docker-push", "docker push after a change", push, size, (), SLOW, note)
