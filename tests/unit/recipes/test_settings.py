"""What ``envpack.toml`` adds to recipes: where it stands, what critics say of it, what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.image import Digest, parse_reference
from envpack.image_settings import CopiedPath, ImageSettings
from envpack.lockfile import BasePin, LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, dockerfile
from envpack.recipes.pins import Pins
from envpack.recipes.stages import stages
from envpack.recipes.validation import validate
from tests.unit.recipes.test_apptainer_def import sections
from tests.unit.recipes.test_lint import SCRIPTS, lint

DIGEST = Digest("sha256:" + "f" * 64)
# Nothing of it may be read by Docker or Apptainer: it stands in files of its own.
COMMANDS = ("echo \"it's\" '{{ x }}' \\\n    continued", "cat <<'END'\n%post\nRUN no\n# no\nEND")
SETTINGS = ImageSettings(
    apt=("libgl1", "git=1:2.39.2-1.1", "libc6:amd64"),
    files=(CopiedPath("data", "/opt/data", DIGEST), CopiedPath("a b.txt", "/etc/b", DIGEST)),
    post=COMMANDS,
    runscript="for x; do\n    printf '%s\\n' \"$x\"\ndone\n%post\n{{ x }}",
)


@pytest.fixture(params=["ubuntu:20.04", "condaforge/miniforge3:latest"])
def full(request: pytest.FixtureRequest, recipe: Recipe, pins: Pins) -> Recipe:
    base = BasePin(parse_reference(request.param), Digest("sha256:" + "b" * 64), "2.31")
    return replace(recipe, base=base, stages=stages(base, recipe.platform, pins), settings=SETTINGS)


def test_the_dockerfile(full: Recipe, packages: list[LockedPackage]) -> None:
    text = dockerfile.render(full, packages)
    _, final = text.split("# Stage 2", 1)
    order = [
        "COPY apt-packages.txt /opt/build/apt-packages.txt", "xargs apt-get install", "rm -r /opt/build",
        "COPY --from=build /opt/env /opt/env", "COPY entrypoint.sh", "COPY runscript.sh",
        "COPY files/etc/b /etc/b", "ENV PATH=", "COPY post.sh /opt/build/post.sh",
        "RUN /bin/sh /opt/build/post.sh", "rm -r /opt/build", "LABEL" if full.labels else "ENTRYPOINT",
    ]  # fmt: skip
    place = 0
    for part in order:
        place = final.index(part, place) + 1
    assert "COPY files/opt/data /opt/data\n" in final
    assert (
        'ENTRYPOINT ["/bin/sh", "/usr/local/bin/entrypoint.sh", "/bin/sh", "/usr/local/bin/runscript.sh"]'
        in final
    )
    assert "CMD []" in final
    for word in ("{{", "continued", "RUN no", "libgl1"):
        assert word not in text
    assert lint("hadolint", "--no-color", text=text) == ""


def test_the_definition_file(full: Recipe, packages: list[LockedPackage]) -> None:
    text = apptainer_def.render(full, packages)
    assert text.count("\n%post\n") == 2
    assert text.count("\n%files\n") == 2
    found = sections(text)
    assert found["2 %files"].split() == [
        "runscript.sh", "/usr/local/bin/runscript.sh", "files/opt/data", "/opt/data", "files/etc/b", "/etc/b",
        "apt-packages.txt", "/opt/build/apt-packages.txt", "post.sh", "/opt/build/post.sh",
    ]  # fmt: skip
    assert found["2 %runscript"].strip() == 'exec /bin/sh /usr/local/bin/runscript.sh "$@"'
    for word in ("{{", "continued", "RUN no", "libgl1"):
        assert word not in text
    for name in (*SCRIPTS, "2 %post"):
        assert lint("shellcheck", "--norc", "--shell=sh", text=found[name]) == "", name


def test_nothing_is_added_without_settings(recipe: Recipe, packages: list[LockedPackage]) -> None:
    for text in (dockerfile.render(recipe, packages), apptainer_def.render(recipe, packages)):
        for word in ("apt-packages", "post.sh", "runscript.sh", "files/", "rm -r /opt/build"):
            assert word not in text


def test_scripts(full: Recipe, tmp_path: Path) -> None:
    script = activation.post(full)
    assert all(command in script for command in COMMANDS)
    assert lint("shellcheck", "--norc", text=script) == ""
    here = replace(full, prefix=str(tmp_path))
    (tmp_path / "post.sh").write_text(activation.post(here) + 'echo "$CONDA_PREFIX ${PATH%%:*}"\n')
    done = subprocess.run(["sh", tmp_path / "post.sh"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "it's {{ x }} continued", "%post", "RUN no", "# no", f"{tmp_path} {tmp_path}/bin",
    ]  # fmt: skip
    failing = replace(here, settings=ImageSettings(post=("false", "echo no")))
    (tmp_path / "post.sh").write_text(activation.post(failing))
    done = subprocess.run(["sh", tmp_path / "post.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert activation.runscript(full) == f"#!/bin/sh\n{SETTINGS.runscript}\n"


BAD: Mapping[str, ImageSettings] = {
    "'a b'": ImageSettings(apt=("a b",)),
    "'-oDpkg::x'": ImageSettings(apt=("-oDpkg::x",)),
    "'git=$(id)'": ImageSettings(apt=("git=$(id)",)),
    "'x1\\ny1'": ImageSettings(apt=("x1\ny1",)),
    "'PATH'": ImageSettings(variables={"PATH": "/x"}),
    "'a b' cannot be the key": ImageSettings(labels={"a b": "x"}),
    "org.envpack.lock.sha256": ImageSettings(labels={"org.envpack.lock.sha256": "x"}),
    "org.opencontainers.image.base.digest": ImageSettings(
        labels={"org.opencontainers.image.base.digest": "x"}
    ),
    "/opt/env/lib/x": ImageSettings(files=(CopiedPath("x", "/opt/env/lib/x", DIGEST),)),
    "copied to /opt": ImageSettings(files=(CopiedPath("x", "/opt", DIGEST),)),
    "/usr/local/bin/entrypoint.sh": ImageSettings(
        files=(CopiedPath("x", "/usr/local/bin/entrypoint.sh", DIGEST),)
    ),
    "'a\\x00b'": ImageSettings(post=("a\0b",)),
    "'\\ud800'": ImageSettings(post=("\ud800",)),
    "the runscript is empty": ImageSettings(runscript=" \n"),
}


@pytest.mark.parametrize(("said", "settings"), BAD.items(), ids=BAD.keys())
def test_what_no_image_can_have(said: str, settings: ImageSettings, recipe: Recipe) -> None:
    with pytest.raises(SourceError) as caught:
        validate(replace(recipe, settings=settings))
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0].what
