"""Base layers as podman unpacks them against the image that is made of them, both read by the kernel.

The image has the same content, modes, owners, dates, links, devices and attributes. Needs root.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from envpack.content import rootfs
from envpack.entry import Entry
from tests.unit.content.archives import folder, hard_link, member, symlink, tar
from tests.unit.formats.squashfs.readers import mounted, run, walked
from tests.unit.formats.squashfs.trees import image

pytestmark = pytest.mark.engines

Members = list[tuple[tarfile.TarInfo, bytes]]
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@contextmanager
def unpacked(layers: Sequence[bytes], work: Path) -> Iterator[Path]:
    """The layers as podman lays them over each other."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
    ).encode()
    names = [f"{number}.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["test/layers:1"], "Layers": names}]
    members = [member("manifest.json", json.dumps(manifest).encode()), member("config.json", configuration)]
    members += [member(name, layer) for name, layer in zip(names, layers, strict=True)]
    archive = work / "archive.tar"
    archive.write_bytes(tar(members))
    # Not below ``work``: podman takes no long paths for what runs.
    with tempfile.TemporaryDirectory(prefix="envpack-podman-", dir="/tmp") as running:
        podman = ["podman", "--root", f"{running}/storage", "--runroot", f"{running}/run",
                  "--storage-driver", "vfs"]  # fmt: skip
        run(*podman, "load", "-q", "-i", archive)
        try:
            yield Path(run(*podman, "image", "mount", "test/layers:1").strip())
        finally:
            run(*podman, "image", "umount", "-a", "-f")
            run(*podman, "image", "rm", "-f", "-a")


def differences(layers: Sequence[bytes], work: Path) -> dict[str, tuple[Entry | None, Entry | None]]:
    """Paths that are not the same in podman's folder (first) and in our image."""
    paths = []
    for number, layer in enumerate(layers):
        paths.append(work / f"layer{number}")
        paths[-1].write_bytes(layer)
    path = work / "image"
    path.write_bytes(image(rootfs.entries(paths))[0])
    with unpacked(layers, work) as theirs, mounted(path) as ours:
        one, other = walked(theirs), walked(ours)
    return {
        name: (one.get(name), other.get(name))
        for name in {**one, **other}
        if one.get(name) != other.get(name)
    }


def tagged(name: str, data: bytes, mode: int, **xattrs: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info, data = member(name, data, mode=mode)
    info.pax_headers = {
        f"SCHILY.xattr.{key.replace('_', '.')}": value.decode("utf-8", "surrogateescape")
        for key, value in xattrs.items()
    }
    return info, data


def lower() -> Members:
    return [
        folder("./"),
        folder("usr/"),
        folder("usr/bin"),
        symlink("bin", "usr/bin"),
        member("usr/bin/sudo", b"s", mode=0o4755),
        member("usr/bin/wall", b"w", mode=0o2755, gid=5),
        tagged("usr/bin/ping", b"p" * 9000, 0o755, security_capability=CAPABILITY, user_note=b"n"),
        folder("tmp", 0o1777),
        folder("dev"),
        member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("dev/loop0", type=tarfile.BLKTYPE, devmajor=7, devminor=0, mode=0o660, gid=6),
        member("dev/initctl", type=tarfile.FIFOTYPE, mode=0o600),
        folder("opt"),
        folder("opt/opaque"),
        member("opt/opaque/gone", b"1"),
        folder("opt/opaque/below"),
        member("opt/opaque/below/gone", b"1"),
        folder("opt/removed"),
        member("opt/removed/file", b"1"),
        folder("opt/again"),
        member("opt/again/old", b"1"),
        member("opt/file", b"a file, then a folder"),
        folder("opt/folder"),
        member("opt/folder/below", b"a folder, then a file"),
        symlink("opt/link", "folder"),
        member("opt/one", b"linked", uid=7),
        hard_link("opt/two", "opt/one"),
        hard_link("usr/three", "opt/one"),
        symlink("opt/soft", "nowhere"),
        hard_link("dev/null too", "dev/null"),
        member("opt/caf\udce9", b"not unicode"),
        *(folder("opt" + "/long" * depth) for depth in range(1, 41)),
        member("opt" + "/long" * 40 + "/" + "n" * 200, b"long"),
        member("opt/Case", b"1"),
        member("opt/case", b"2"),
        folder("..."),
        member(".../file", b"dots"),
    ]


def upper() -> Members:
    return [
        folder("opt"),
        folder("opt/opaque", 0o700),
        member("opt/opaque/.wh..wh..opq"),
        member("opt/opaque/new", b"2"),
        member("opt/.wh.removed"),
        member("opt/.wh.again"),
        folder("opt/again"),
        member("opt/again/new", b"2"),
        folder("opt/file"),
        member("opt/file/below", b"2"),
        member("opt/folder", b"2"),
        folder("opt/link"),
        member("opt/link/file", b"in place of a link"),
        member("opt/one", b"replaced, the other names are not"),
        member("opt/.wh.caf\udce9"),
        hard_link("opt/four", "usr/three"),
        member("bin/new", b"through a link"),
        folder("usr/bin"),
        member("usr/bin/.wh.sudo"),
        folder("dev"),
        member("dev/.wh.null"),
        member("/absolute", b"docker takes it for relative"),
        folder("opt/twice"),
        member("opt//twice/./odd", b"and cleans this"),
    ]


def test_everything_that_layers_can_say(tmp_path: Path) -> None:
    assert differences([tar(lower()), tar(upper())], tmp_path) == {}


@pytest.mark.parametrize(
    "options",
    [f"--format=posix --sparse-version={v}" for v in ("0.0", "0.1", "1.0")],  # podman takes no others
)
def test_files_with_holes(tmp_path: Path, options: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as out:
        for at in range(0, 40 << 20, 1 << 20):
            out.seek(at)
            out.write(b"%d" % at)
        out.truncate(50 << 20)
    command = ["tar", "--sparse", *options.split(), "-C", str(source), "-cf", "-", "sparse"]
    layer = subprocess.run(command, check=True, capture_output=True).stdout
    assert differences([layer], tmp_path) == {}


class Stack:
    """Layers at random over few names, so that they meet; each says what a build would have written.

    ``tree`` is what is there: ``None`` for a file, else a dictionary.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tree: dict[str, object] = {}
        self._members: Members = []
        self._files: list[str] = []

    def layer(self) -> bytes:
        self._members, self._files = [], []
        self._change("", self._tree, 0)
        return tar(self._members)

    def paths(self) -> set[str]:
        """All that is there."""
        return self.folders() | set(self._below("", self._tree, folders=False))

    def folders(self) -> set[str]:
        return set(self._below("", self._tree, folders=True))

    def _below(self, start: str, tree: dict[str, object], *, folders: bool) -> Iterator[str]:
        for name, found in tree.items():
            if isinstance(found, dict) == folders:
                yield start + name
            if isinstance(found, dict):
                yield from self._below(f"{start}{name}/", found, folders=folders)

    def _change(self, path: str, tree: dict[str, object], depth: int) -> None:
        chance = self._chance
        if path:
            self._members.append(self._dressed(folder(path, chance.choice([0o755, 0o700, 0o1777]))))
        if tree and chance.random() < 0.15 and path:
            self._members.append(member(f"{path}/.wh..wh..opq"))
            tree.clear()
        for name in chance.sample(NAMES, chance.randrange(1, len(NAMES))):
            below = f"{path}/{name}" if path else name
            action = chance.random()
            present = tree.get(name)
            if name in tree and action < 0.25:
                self._members.append(member(f"{path}/.wh.{name}" if path else f".wh.{name}"))
                del tree[name]
            elif action < 0.6 and depth < 3:
                inner = present if isinstance(present, dict) else {}
                tree[name] = inner
                self._change(below, inner, depth + 1)
            else:
                tree[name] = None
                self._members.append(self._leaf(below))

    def _leaf(self, path: str) -> tuple[tarfile.TarInfo, bytes]:
        chance = self._chance
        kind = chance.randrange(8)
        if kind == 0:
            return symlink(path, chance.choice(NAMES))
        if kind == 1:
            return self._dressed(member(path, type=tarfile.CHRTYPE, devmajor=300, devminor=70000))
        if kind == 2 and self._files:
            return self._dressed(hard_link(path, chance.choice(self._files)))
        info, data = member(path, chance.randbytes(chance.choice([0, 1, 5000])), mode=chance.choice(MODES))
        self._files.append(path)
        return self._dressed((info, data))

    def _dressed(self, made: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, bytes]:
        info, data = made
        info.uid, info.gid = self._chance.choice([0, 1000, 70_000]), self._chance.choice([0, 4])
        info.mtime = self._chance.randrange(2**31)
        if self._chance.random() < 0.3 and info.type in (tarfile.REGTYPE, tarfile.LNKTYPE):
            info.pax_headers = {"SCHILY.xattr.user.tag": str(self._chance.random())}
        return info, data


NAMES = ["a", "b", "c d", "\N{EURO SIGN}", "e" * 100]
MODES = [0o644, 0o4755, 0o2711, 0o600, 0o444]


@pytest.mark.parametrize("seed", range(12))
def test_layers_at_random(tmp_path: Path, seed: int) -> None:
    stack = Stack(random.Random(seed))
    layers = [stack.layer() for _ in range(4)]
    assert differences(layers, tmp_path) == {}
