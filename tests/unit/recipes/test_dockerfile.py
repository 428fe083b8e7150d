from dataclasses import replace

import pytest

from envpack.errors import SourceError
from envpack.image import Digest, parse_reference
from envpack.lockfile import BasePin, LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import dockerfile
from envpack.recipes.pins import Pins
from envpack.recipes.stages import stages

BASE = f"docker.io/library/ubuntu:20.04@sha256:{'b' * 64}"


def instructions(text: str) -> list[str]:
    """The instructions as Docker reads them: comments away, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip()]


def test_it_installs_in_one_stage_and_keeps_the_environment(
    recipe: Recipe, packages: list[LockedPackage]
) -> None:
    found = instructions(dockerfile.render(replace(recipe, labels={"org.example": 'a "b"'}), packages))
    assert found == [
        f"FROM {BASE} AS build",
        "ADD https://example.org/1.2-3/Miniforge3-1.2-3-Linux-x86_64.sh /opt/build/miniforge.sh",
        f"RUN printf '%s %s\\n' {'e' * 64} /opt/build/miniforge.sh > /opt/build/miniforge.sh.sha256"
        " && sha256sum -c /opt/build/miniforge.sh.sha256 && bash /opt/build/miniforge.sh -b -p /opt/conda",
        "COPY conda-linux-64.lock /opt/build/explicit.txt",
        "COPY requirements.txt /opt/build/requirements.txt",
        "COPY wheels.html /opt/build/wheels.html",
        "RUN /opt/conda/bin/conda create --yes --quiet --prefix /opt/env --file /opt/build/explicit.txt"
        " && /opt/env/bin/python -m pip install --disable-pip-version-check --no-cache-dir --no-compile"
        " --no-deps --require-hashes --requirement /opt/build/requirements.txt"
        " && { /opt/env/bin/python -I -S -m compileall -q -q -f -j 0 --invalidation-mode unchecked-hash"
        " /opt/env/lib/python3* || test $? -eq 1; }",
        f"FROM {BASE}",
        "COPY --from=build /opt/env /opt/env",
        "COPY entrypoint.sh /usr/local/bin/entrypoint.sh",
        'ENV PATH=/opt/env/bin:$PATH CONDA_PREFIX="/opt/env" CONDA_DEFAULT_ENV="climate" CONDA_SHLVL="1"'
        ' PYTHONNOUSERSITE="1" OMP_NUM_THREADS="4"',
        'LABEL org.example="a \\"b\\""',
        'ENTRYPOINT ["/bin/sh", "/usr/local/bin/entrypoint.sh"]',
        'CMD ["/opt/env/bin/python"]',
    ]


def test_only_what_the_packages_need(recipe: Recipe, packages: list[LockedPackage]) -> None:
    only_conda = dockerfile.render(recipe, [p for p in packages if p.manager == "conda"])
    assert "pip install" not in only_conda
    assert "requirements.txt" not in only_conda
    no_python = dockerfile.render(recipe, [p for p in packages if p.name == "six"])
    assert "compileall" not in no_python
    no_pip = dockerfile.render(recipe, [p for p in packages if p.name != "pip"])
    assert "/opt/conda/bin/python -m pip --python /opt/env/bin/python install" in no_pip


def test_miniforge3_brings_conda_and_is_not_in_the_image(
    recipe: Recipe, packages: list[LockedPackage], pins: Pins
) -> None:
    base = BasePin(parse_reference("condaforge/miniforge3"), Digest("sha256:" + "c" * 64), "2.39")
    labels = {
        "org.opencontainers.image.base.name": str(base.reference),
        "org.opencontainers.image.base.digest": str(base.digest),
    }
    recipe = replace(recipe, base=base, labels=labels, stages=stages(base, recipe.platform, pins))
    found = instructions(dockerfile.render(recipe, packages))
    assert [line for line in found if line.startswith(("FROM", "ADD", "LABEL"))] == [
        f"FROM docker.io/condaforge/miniforge3:latest@sha256:{'c' * 64} AS build",
        f"FROM docker.io/library/ubuntu:24.04@sha256:{'d' * 64}",
        f'LABEL org.opencontainers.image.base.digest="sha256:{"d" * 64}"'
        ' org.opencontainers.image.base.name="docker.io/library/ubuntu:24.04"',
    ]


def test_values_with_line_breaks_are_left_to_the_entrypoint(recipe: Recipe) -> None:
    text = dockerfile.render(replace(recipe, variables={"A": "x\nRUN id", "B": "y\r", "C": "fine"}), [])
    assert "RUN id" not in text
    assert 'C="fine"' in text


def test_no_line_of_a_value_is_an_instruction(recipe: Recipe) -> None:
    text = dockerfile.render(replace(recipe, variables={"A": 'x" \\ $(id) `id` # RUN'}), [])
    starts = [line.split()[0] for line in instructions(text)]
    assert starts == ["FROM", "ADD", "RUN", "COPY", "RUN", "FROM", "COPY", "COPY", "ENV", "ENTRYPOINT", "CMD"]


def test_what_cannot_be_written_is_refused(recipe: Recipe) -> None:
    with pytest.raises(SourceError):
        dockerfile.render(replace(recipe, labels={"org.example": "a\nRUN id"}), [])
