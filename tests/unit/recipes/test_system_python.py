"""Recipes on the python of a base image's distribution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envpack.errors import LockError
from envpack.image_settings import ImageSettings
from envpack.lockfile import LockedPackage, Lockfile
from envpack.pipeline.recipe import write_files
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, dockerfile, installation
from tests.unit.recipes.test_apptainer_def import sections
from tests.unit.recipes.test_dockerfile import instructions

BASE = f"docker.io/library/ubuntu:20.04@sha256:{'b' * 64}"
APT = (
    "apt-get{0} update && DEBIAN_FRONTEND=noninteractive xargs apt-get{0} install -y --no-install-recommends"
    " < /opt/build/{1} && rm -rf /var/lib/apt/lists/*"
)


def test_the_dockerfile(on_system_python: Recipe, wheels: list[LockedPackage]) -> None:
    assert instructions(dockerfile.render(on_system_python, wheels)) == [
        f"FROM {BASE} AS build",
        "COPY python-packages.txt /opt/build/python-packages.txt",
        "COPY requirements.txt /opt/build/requirements.txt",
        "COPY wheels.html /opt/build/wheels.html",
        f"RUN {APT.format('', 'python-packages.txt')}"
        " && python3 -c 'import sys; sys.version_info[:2] == (3, 8) or"
        ' sys.exit("the packages are for python 3.8, which this base does not have")\''
        " && python3 -m venv --without-pip /opt/env"
        " && python3 -c 'import sys, urllib.request as r; r.urlretrieve(*sys.argv[1:])'"
        " https://files.example.org/pip-25.1-py3-none-any.whl /opt/build/pip.whl"
        f" && printf '%s %s\\n' {'5' * 64} /opt/build/pip.whl > /opt/build/pip.whl.sha256"
        " && sha256sum -c /opt/build/pip.whl.sha256"
        " && /opt/env/bin/python /opt/build/pip.whl/pip install --disable-pip-version-check --no-cache-dir"
        " --no-compile --no-deps --require-hashes --requirement /opt/build/requirements.txt"
        " --ignore-installed"
        " && { /opt/env/bin/python -I -S -m compileall -q -q -f -j 0 --invalidation-mode unchecked-hash"
        " /opt/env/lib/python3* || test $? -eq 1; }",
        f"FROM {BASE}",
        "COPY apt-packages.txt /opt/build/apt-packages.txt",
        f"RUN {APT.format('', 'apt-packages.txt')} && rm -r /opt/build",
        "COPY --from=build /opt/env /opt/env",
        "COPY entrypoint.sh /usr/local/bin/entrypoint.sh",
        'ENV PATH=/opt/env/bin:$PATH VIRTUAL_ENV="/opt/env" PYTHONNOUSERSITE="1" OMP_NUM_THREADS="4"',
        'ENTRYPOINT ["/bin/sh", "/usr/local/bin/entrypoint.sh"]',
        'CMD ["/opt/env/bin/python"]',
    ]


def test_the_definition_file(on_system_python: Recipe, wheels: list[LockedPackage]) -> None:
    found = sections(apptainer_def.render(on_system_python, wheels))
    for stage in "12":
        assert f"From: docker.io/library/ubuntu@sha256:{'b' * 64}\n" in found[f"{stage} header"]
    sandbox = " -o APT::Sandbox::User=root"
    for section, filename in (("1 %post", "python-packages.txt"), ("2 %post", "apt-packages.txt")):
        for command in APT.format(sandbox, filename).split(" && "):
            assert command in " ".join(found[section].replace("\\\n", " ").split())
    assert "apt-packages.txt /opt/build/apt-packages.txt" in found["2 %files"]
    for step in installation.steps(on_system_python, wheels, as_root=False):
        for command in step.commands:
            assert " ".join(command.split()) in " ".join(found["1 %post"].split())


def test_nothing_speaks_of_conda(on_system_python: Recipe, wheels: list[LockedPackage]) -> None:
    assert on_system_python.stages is not None
    reason = on_system_python.stages.reason
    quiet = replace(on_system_python, stages=replace(on_system_python.stages, reason=""))
    assert "without any conda" in reason
    assert "conda" not in dockerfile.render(quiet, wheels).lower()
    assert "conda" not in apptainer_def.render(quiet, wheels).lower()
    assert "conda" not in activation.entrypoint(quiet).lower()


@pytest.mark.parametrize(
    ("version", "distutils"), [("3.8", True), ("3.9", True), ("3.11", True), ("3.12", False), ("3.13", False)]
)
def test_distutils_is_a_package_of_its_own_until_3_11(
    version: str, distutils: bool, on_system_python: Recipe
) -> None:
    packages = installation.python_packages(replace(on_system_python, system_python=version))
    assert ("python3-distutils" in packages) == distutils
    assert {"python3", "ca-certificates"} <= set(packages)


def test_the_written_files(
    tmp_path: Path, on_system_python: Recipe, recipe: Recipe, wheels: list[LockedPackage]
) -> None:
    lock = Lockfile(("linux-64",), (), {}, tuple(wheels), None)
    wanting = replace(on_system_python, settings=ImageSettings(apt=("libgl1",)))
    write_files(tmp_path, wanting, lock, tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {
        "Apptainer.def", "Dockerfile", "apt-packages.txt", "entrypoint.sh", "python-packages.txt",
        "requirements.txt", "wheels.html",
    }  # fmt: skip
    python = "ca-certificates\npython3\npython3-distutils\n"
    assert written["python-packages.txt"] == python
    assert written["apt-packages.txt"] == f"{python}libgl1\n"
    assert f"pip==25.1 --hash=sha256:{'5' * 64}" in written["requirements.txt"]


def test_the_addresses_of_pip_are_those_that_recipes_can_have(
    on_system_python: Recipe, wheels: list[LockedPackage]
) -> None:
    secret = replace(wheels[0], url="https://me:hunter2@example.org/pip-25.1-py3-none-any.whl")
    text = dockerfile.render(on_system_python, [secret, wheels[1]])
    assert "https://example.org/pip-25.1-py3-none-any.whl" in text
    assert "hunter2" not in text
    with pytest.raises(LockError, match="addresses that no recipe can have"):
        dockerfile.render(on_system_python, [replace(wheels[0], url="https://host/$(id)"), wheels[1]])
    with pytest.raises(LockError, match="the lock has no pip"):
        dockerfile.render(on_system_python, wheels[1:])
