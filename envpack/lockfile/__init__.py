"""The lock as envpack reads it: conda-lock's v1 file, validated at the edge, plus envpack's own metadata.

conda-lock's format (https://conda.github.io/conda-lock/) has one place for others: the string-to-string
map ``metadata.custom_metadata``. What a build needs beyond the packages is kept there, under ``envpack.``
keys, so that the file stays one that conda-lock, micromamba and pixi read:

    envpack.format                      "1"
    envpack.name                        environment name
    envpack.prefix                      where the environment lives in the image
    envpack.epoch                       newest package timestamp, seconds since 1970
    envpack.SUBDIR.base.reference       docker.io/library/ubuntu:20.04
    envpack.SUBDIR.base.digest          sha256:… of the manifest of that platform
    envpack.SUBDIR.base.glibc           2.31
    envpack.SUBDIR.requested            conda:numpy conda:scipy pip:rich     (sorted, space separated)
    envpack.SUBDIR.wheel.NAME           JSON: {path, sha256, version, requires_python, asked, source}
    envpack.variable.NAME               value set on activation
    envpack.system_python               3.8, where the packages are for the base's own python
    envpack.tools.NAME                  versions bytes depend on: envpack, segments, zlib, zstandard, zstd
    envpack.findings                    JSON: [{action, subject, reason, file, line, remedy}, …]
    envpack.image.apt                   libgl1 libx11-6=2:1.6.9      what envpack.toml says, from here on
    envpack.image.file.DESTINATION      sha256:… SOURCE
    envpack.image.label.KEY             value
    envpack.image.variable.NAME         value set on activation
    envpack.image.post                  JSON: ["command", …]
    envpack.image.runscript             text of a shell script

Writing is the task of :mod:`envpack.locking.conda_lock`, which has conda-lock itself do it.
"""

from envpack.lockfile.model import (
    FORMAT,
    BasePin,
    BuildPins,
    CarriedWheel,
    LockedPackage,
    Lockfile,
    Manager,
    PlatformPin,
    valid_prefix,
)
from envpack.lockfile.reader import read

__all__ = [
    "FORMAT",
    "BasePin",
    "BuildPins",
    "CarriedWheel",
    "LockedPackage",
    "Lockfile",
    "Manager",
    "PlatformPin",
    "read",
    "valid_prefix",
]
