"""envpack's rows: each format cold (archives downloaded, no more), all cached, one package changed."""

from __future__ import annotations

import json
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from benchmarks.contest import Absent, Contestant
from benchmarks.measure import Command
from benchmarks.scene import CHANGED, ENVPACK, Scene
from envpack.pipeline.target import Format

FORMATS = {"sif": ".sif", "sqfs": ".sqfs", "oci": ".oci.tar"}


def contestants(scene: Scene) -> Iterator[Contestant | Absent]:
    yield _lock(scene)
    for format, suffix in FORMATS.items():
        if format not in get_args(Format):
            yield Absent(f"envpack build --format {format}", "this envpack does not make it")
            continue
        yield from _states(scene, format, suffix)
    yield from _states(scene, "sif", ".sif", "--compression", "gzip")
    if shutil.which("skopeo"):
        yield _push(scene)
    else:
        yield Absent("push of the OCI image after a change", "there is no skopeo")


def _states(scene: Scene, format: str, suffix: str, *more: str) -> Iterator[Contestant]:
    key = "-".join([format, *more[1:]])
    what = f"envpack, {' '.join([format, *more[1:]])}"
    options = ("--format", format, *more)

    def state(name: str, title: str, prepare: Callable[[int, str, Path], str]) -> Contestant:
        """``prepare`` is given the round, the cache and the output, and says which project to build."""
        cache, output = f"{key}-{name}", scene.made / f"{key}-{name}{suffix}"

        def start(number: int) -> Command:
            if not scene.cache(cache).exists():
                scene.with_archives(cache, "data")
            project = prepare(number, cache, output)
            output.unlink(missing_ok=True)
            return scene.build(project, cache, output, *options)

        kept = (scene.cache(cache), scene.folder / "projects", scene.made)
        return Contestant(f"{key}-{name}", f"{what}: {title}", start, lambda: output.stat().st_size, kept)

    def cold(number: int, cache: str, output: Path) -> str:  # noqa: ARG001 one of three
        scene.without_segments(cache)
        return "data"

    def cached(number: int, cache: str, output: Path) -> str:
        if number == 0:
            scene.run(scene.build("data", cache, output, *options))
        return "data"

    def changed(number: int, cache: str, output: Path) -> str:
        cached(number, cache, output)
        return f"changed-{number}"

    yield state("cold", "cold", cold)
    if "gzip" not in more:
        yield state("cached", "all cached", cached)
        yield state("changed", f"{CHANGED} changed", changed)


def _lock(scene: Scene) -> Contestant:
    project = scene.projects["data"]

    def start(number: int) -> Command:
        copy = project.with_name(f"lock-{number}")
        copy.mkdir()
        shutil.copy(project / "environment.yml", copy)
        return Command([ENVPACK, "lock", "--quiet"], copy, scene.env)

    return Contestant("lock", "envpack lock", start, note="with the channel's index cached")


def _push(scene: Scene) -> Contestant:
    """What a registry that has the image gets of the one with another package."""
    taken: list[int] = []
    archives = [scene.made / f"push-{name}.oci.tar" for name in ("before", "after")]
    address = scene.registry.partition("//")[2]

    def start(number: int) -> Command:
        if not scene.cache("push").exists():
            scene.with_archives("push", "data")
            scene.run(scene.build("data", "push", archives[0], "--format", "oci"))
        scene.run(scene.build(f"changed-{number}", "push", archives[1], "--format", "oci"))
        repository = f"pushed-{number}"
        scene.run(_copy(archives[0], f"{address}/{repository}:before"))
        taken[:] = [missing(archives[1], f"{scene.registry}/v2/{repository}")]
        return _copy(archives[1], f"{address}/{repository}:after")

    note = "size: what the registry did not have"
    return Contestant("push", "envpack, oci: push after a change", start, lambda: taken[0], note=note)


def _copy(archive: Path, destination: str) -> Command:
    return Command(
        ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false",
         f"oci-archive:{archive}", f"docker://{destination}"]
    )  # fmt: skip


def missing(archive: Path, repository: str) -> int:
    """The bytes of those blobs of an OCI archive that a registry does not have."""
    total = 0
    with tarfile.open(archive) as tar:

        def document(path: str) -> dict[str, Any]:
            file = tar.extractfile(path)
            assert file is not None
            found: dict[str, Any] = json.load(file)
            return found

        (top,) = document("index.json")["manifests"]
        manifest = document(f"blobs/{top['digest'].replace(':', '/')}")
    for blob in {blob["digest"]: blob for blob in (manifest["config"], *manifest["layers"])}.values():
        try:
            request = urllib.request.Request(f"{repository}/blobs/{blob['digest']}", method="HEAD")
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError:
            total += blob["size"]
    return total + len(json.dumps(manifest))


def inodes(scene: Scene, cache: str) -> dict[str, int]:
    """How many files and folders a cache has, by the folder at its top."""
    return {path.name: 1 + sum(1 for _ in path.rglob("*")) for path in sorted(scene.cache(cache).iterdir())}
