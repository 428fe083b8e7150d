from __future__ import annotations

import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from tests.unit.content.archives import conda, info, listed, member, symlink

VERSION = "{}.{}.{}".format(*sys.version_info)
SHORT = "{}.{}".format(*sys.version_info)


@pytest.fixture(scope="session")
def python_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter that runs the tests as a conda package, as far as compiling needs one."""
    base = Path(sys.base_prefix)
    stdlib = Path(sysconfig.get_path("stdlib"))
    program = (base / "bin" / f"python{SHORT}").resolve()
    members = [
        member(f"bin/python{SHORT}", program.read_bytes(), mode=0o755),
        symlink("bin/python", f"python{SHORT}"),
    ]
    members += [
        member(f"lib/python{SHORT}/{path.relative_to(stdlib)}", path.read_bytes())
        for pattern in ("*.py", "encodings/*.py", "lib-dynload/unicodedata*", "lib-dynload/_*codec*")
        for path in sorted(stdlib.glob(pattern))
    ]
    members += _libpython()
    described = info(listed(members), index={"name": "python", "version": VERSION})
    return conda(tmp_path_factory.mktemp("python") / f"python-{VERSION}-0.conda", members, described)


def _libpython() -> list[tuple[tarfile.TarInfo, bytes]]:
    """The shared library of pythons that have one."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    path = Path(str(sysconfig.get_config_var("LIBDIR"))) / name
    return [member(f"lib/{name}", path.read_bytes(), mode=0o755)] if ".so" in name else []
