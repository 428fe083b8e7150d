"""A base image in which apt works, the stand-in for ``debian:12``: what debootstrap makes, as root.

apt in it has the mirror, settings and certificates of this machine's apt, so that it gets packages behind
the same proxy or mirror. Those are read when the image is built, and are in the kept image alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.standins import base, store
from tests.standins.store import StandInError

SUITE = "bookworm"
ARCHITECTURE = "amd64"
SETTINGS = Path("/etc/apt/apt.conf.d"), "99*"
CERTIFICATES = Path("/usr/local/share/ca-certificates"), "*.crt"
# Left empty: of this machine, of this run, or what a container engine fills in.
EMPTY_FOLDERS = ("dev", "proc", "run", "sys", "tmp", "var/cache/apt", "var/lib/apt/lists", "var/log")
EMPTY_FILES = ("etc/hosts", "etc/machine-id", "etc/resolv.conf")
DROPPED = ("etc/hostname", "var/cache/debconf/config.dat-old", "var/cache/debconf/templates.dat-old",
           "var/cache/ldconfig/aux-cache", "var/lib/dpkg/status-old")  # fmt: skip


def image() -> Path:
    """The folder of the layout (OCI, one image for amd64), built on first use: one minute.

    Raises :class:`StandInError` for other users than root, without debootstrap, and without a Debian mirror.
    """
    copied = [path.read_bytes() for folder, names in (SETTINGS, CERTIFICATES) for path in _all(folder, names)]
    mirror = _mirror()
    key = store.key(SUITE, mirror, copied, files=("base.py", "debian_root.py"))
    return store.built("debian-root", key, lambda folder: _build(folder, mirror))


def _mirror() -> str:
    """The first Debian archive that apt here is set up with."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(CODENAME) $(SITE)", "Created-By: Packages"],
        capture_output=True, text=True, check=False,
    ) if shutil.which("apt-get") else None  # fmt: skip
    targets = [line.split() for line in (done.stdout if done else "").splitlines()]
    sites = [t[2] for t in targets if len(t) == 3 and t[0] == "Debian" and not t[1].endswith("-security")]
    if not sites:
        raise StandInError("apt here knows no Debian mirror: run `apt-get update` on Debian")
    return sites[0]


def _build(folder: Path, mirror: str) -> None:
    with tempfile.TemporaryDirectory(prefix="envpack-debian-") as temporary:
        root = Path(temporary) / "root"
        _debootstrap(root, mirror)
        tar = _tar(root)
    layer = {
        "mediaType": f"{base.OCI}.layer.v1.tar+gzip",
        **base.blob(folder, gzip.compress(tar, 3, mtime=0)),
    }
    config = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/bash"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"comment": "a stand-in made by debootstrap"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{base.OCI}.manifest.v1+json",
        "config": base.document(folder, config, "config"),
        "layers": [layer],
    }
    top = base.document(folder, manifest, "manifest")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _debootstrap(root: Path, mirror: str) -> None:
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if os.geteuid() != 0 or not program:
        raise StandInError("debian:12 needs debootstrap and root: run `nox -s engines` as root")
    # In a mount namespace: whatever it mounts below the folder is gone when it ends, however it ends.
    private = ["unshare", "--mount", "--propagation", "private"]
    _run([*private, program, "--variant=minbase", f"--arch={ARCHITECTURE}", "--include=ca-certificates",
          SUITE, str(root), mirror])  # fmt: skip
    for folder, names in (SETTINGS, CERTIFICATES):
        for path in _all(folder, names):
            shutil.copyfile(path, root / folder.relative_to("/") / path.name)
    _run(["chroot", str(root), "update-ca-certificates"])


def _run(command: list[str]) -> None:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise StandInError(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-1000:]}")


def _all(folder: Path, names: str) -> list[Path]:
    return sorted(folder.glob(names))


def _tar(root: Path) -> bytes:
    """The root file system without what :data:`EMPTY_FOLDERS` and the others name."""
    for name in EMPTY_FILES:
        (root / name).unlink(missing_ok=True)
        (root / name).touch()
        (root / name).chmod(0o644)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name, filter=_kept)
    return out.getvalue()


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    emptied = tuple(f"{name}/" for name in EMPTY_FOLDERS)
    if member.name in DROPPED or member.name.startswith(emptied):
        return None
    member.mtime = 0
    member.uname = member.gname = ""
    return member
