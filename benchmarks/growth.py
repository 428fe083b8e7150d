"""Environments of generated packages, each twice as large as the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import generated
from benchmarks.contest import Contestant, Row
from benchmarks.measure import Command, call
from benchmarks.scene import Scene


@dataclass(frozen=True)
class Growth:
    """How large: packages in the largest environment, files in each."""

    most: int
    files: int

    @property
    def points(self) -> Sequence[int]:
        """How many packages the environments have; the last is four times the second."""
        return [self.most // 8, self.most // 4, self.most // 2, self.most]


WHOLE = Growth(500, 400)
QUICK = Growth(40, 100)


@dataclass(frozen=True)
class Point:
    """One environment: generated packages, what the image has, and what it took."""

    packages: int
    files: int
    content: int
    cold: Row
    cached: Row

    @property
    def memory(self) -> int:
        return max(self.cold.memory, self.cached.memory)


def contestants(scene: Scene, growth: Growth, contents: dict[int, tuple[int, int]]) -> Iterator[Contestant]:
    """``contents`` is told the files and bytes in the image of each number of packages."""
    for number in growth.points:
        yield from _states(scene, number, contents)


def _states(scene: Scene, number: int, contents: dict[int, tuple[int, int]]) -> Iterator[Contestant]:
    name = f"growth-{number}"
    output = scene.made / f"{name}.sif"

    def size() -> int:
        return output.stat().st_size

    def cold(_: int) -> Command:
        if name not in scene.projects:
            scene.lock(name, _environment(name, number))
            scene.with_archives(name, name)
        scene.without_segments(name)
        return scene.build(name, name, output)

    def cached(_: int) -> Command:
        build = scene.build(name, name, output, "--json")
        made = json.loads(call(*build.arguments, cwd=build.cwd, env=build.env))
        contents[number] = made["files"], made["content"]
        return scene.build(name, name, output)

    kept: tuple[Path, ...] = (scene.cache(name), scene.folder / "projects", scene.made)
    yield Contestant(f"{name}-cold", f"{number} generated packages: cold", cold, size, kept)
    yield Contestant(f"{name}-cached", f"{number} generated packages: all cached", cached, size, kept)


def _environment(name: str, number: int) -> str:
    lines = [f"  - {generated.name(n)}" for n in range(number)]
    return "\n".join([f"name: {name}", "channels: [conda-forge]", "dependencies:", "  - python", *lines, ""])


def points(rows: dict[str, Row], contents: dict[int, tuple[int, int]]) -> list[Point]:
    """The points that were measured; takes their rows out of ``rows``."""
    found = []
    for number, (files, content) in sorted(contents.items()):
        states = [rows.pop(f"growth-{number}-{state}", None) for state in ("cold", "cached")]
        cold, cached = states
        if cold and cached:
            found.append(Point(number, files, content, cold, cached))
    return found
