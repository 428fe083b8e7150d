"""Stand-ins for Miniforge: its installer, and the image ``condaforge/miniforge3``.

Both hold a folder with ``bin/conda``, ``bin/mamba`` and ``bin/python`` with pip, as the real ones do. The
programs are ``conda_program.py`` on py-rattler, with the CPython of the channel stand-in.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.standins import base, server, store
from tests.standins.channel import channel

PREFIX = "/opt/conda"
FILES = ("base.py", "conda_program.py", "debian.py", "miniforge.py")
LAUNCHER = """\
#!/bin/sh
folder="$(dirname "$0")"
exec "$folder/python" -I "$folder/../conda_program.py" "$@"
"""
# The interface of the real one: -b asks nothing, -p says where to.
HEADER = """\
#!/bin/sh
# A stand-in for the Miniforge installer.
set -eu
prefix=
while getopts bp: option; do
    case "$option" in
        b) ;;
        p) prefix="$OPTARG" ;;
        *) exit 2 ;;
    esac
done
[ -n "$prefix" ] && [ ! -e "$prefix" ]
mkdir -p "$prefix"
tail -n +{lines} "$0" | tar -xzf - -C "$prefix"
exit 0
"""


def installer() -> Path:
    """The installer, built on first use."""
    folder = store.built("miniforge-installer", _key(), _build_installer)
    return folder / "miniforge.sh"


def image(base_layout: Path) -> Path:
    """The layout of ``condaforge/miniforge3``: the image of ``base_layout`` for amd64 and one layer more."""
    key = store.key(_key(), base_layout.name)
    return store.built("miniforge-image", key, lambda folder: _build_image(folder, base_layout))


def _key() -> str:
    return store.key(channel("mini").name, metadata.version("py-rattler"), files=FILES)


def _build_installer(folder: Path) -> None:
    header = HEADER.format(lines=HEADER.count("\n") + 1)
    (folder / "miniforge.sh").write_bytes(header.encode() + gzip.compress(_tar("."), 3, mtime=0))


def _build_image(folder: Path, base_layout: Path) -> None:
    def read(descriptor: dict[str, Any]) -> Any:
        return json.loads((folder / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

    shutil.copytree(base_layout, folder, dirs_exist_ok=True)
    index = read(json.loads((folder / "index.json").read_text())["manifests"][0])
    manifest = read(index["manifests"][0])
    config = read(manifest["config"])
    tar = _tar(PREFIX[1:])
    layer = base.blob(folder, gzip.compress(tar, 3, mtime=0))
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
    config["config"]["Env"] = [f"PATH={PREFIX}/bin:/usr/local/bin:/usr/bin:/bin"]
    manifest["layers"].append({"mediaType": f"{base.OCI}.layer.v1.tar+gzip", **layer})
    manifest["config"] = base.document(folder, config, "config")
    top = base.document(folder, manifest, "manifest")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


def _tar(top: str) -> bytes:
    """The content of the folder, named below ``top``."""
    with tempfile.TemporaryDirectory(prefix="envpack-miniforge-") as temporary:
        target = Path(temporary) / "conda"
        with server.serving(channel("mini")) as url:
            asyncio.run(_install(url, target, Path(temporary) / "cache"))
        _add_rattler(next(target.glob("lib/python3*/site-packages")))
        shutil.copy(Path(__file__).with_name("conda_program.py"), target)
        for name in ("conda", "mamba"):
            (target / "bin" / name).write_text(LAUNCHER)
            (target / "bin" / name).chmod(0o755)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(target, top, filter=_anonymous)
        return out.getvalue()


async def _install(url: str, target: Path, cache: Path) -> None:
    import rattler

    platforms = [rattler.Platform("linux-64"), rattler.Platform("noarch")]
    virtual = [
        rattler.GenericVirtualPackage(
            rattler.PackageName("__glibc"), rattler.Version("2.31"), rattler.BuildString("0")
        )
    ]
    specs = [rattler.MatchSpec("python"), rattler.MatchSpec("pip")]
    records = await rattler.solve([url], specs, platforms=platforms, virtual_packages=virtual)
    await rattler.install(
        records, target, cache_dir=cache, show_progress=False, alternative_target_prefix=PREFIX
    )


def _add_rattler(site_packages: Path) -> None:
    """The py-rattler that runs here: for the same CPython, as the channel's is this machine's."""
    distribution = metadata.distribution("py-rattler")
    for file in distribution.files or ():
        if file.parts[0] in ("rattler", f"py_rattler-{distribution.version}.dist-info"):
            (site_packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(str(distribution.locate_file(file))), site_packages / file)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member
