import re
from dataclasses import replace

import pytest

from envpack.errors import SourceError
from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, dockerfile, installation, singularity_d

HOSTILE = "a\n%post\ntouch /pwned\nBootstrap: docker\nFrom: evil\n{{ x }}\n"


def sections(text: str) -> dict[str, str]:
    """Read a definition file as Apptainer does: a line whose first word begins with % starts a section.

    The keys are "STAGE SECTION"; a new header begins a new stage.
    """
    found: dict[str, str] = {}
    stage, name = 0, "header"
    for line in text.split("\n"):
        words = line.split()
        if words and words[0] == "Bootstrap:":
            stage, name = stage + 1, "header"
        if words and words[0].startswith("%"):
            name = line.strip()
            assert f"{stage} {name}" not in found, f"{name} twice"
        key = f"{stage} {name}"
        found[key] = found.get(key, "") + ("" if line.strip() == name else line + "\n")
    return found


def test_it_has_the_sections_of_the_image(recipe: Recipe, packages: list[LockedPackage]) -> None:
    recipe = replace(recipe, labels={"org.example": "a # b"})
    found = sections(apptainer_def.render(recipe, packages))
    assert list(found) == [
        "0 header", "1 header", "1 %files", "1 %post", "2 header", "2 %files from build", "2 %labels",
        "2 %environment", "2 %runscript", "2 %startscript", "2 %test", "2 %help",
    ]  # fmt: skip
    for stage in "12":
        assert f"From: docker.io/library/ubuntu@sha256:{'b' * 64}\n" in found[f"{stage} header"]
    assert found["1 %files"].split() == [
        "conda-linux-64.lock", "/opt/build/explicit.txt",
        "requirements.txt", "/opt/build/requirements.txt",
        "wheels.html", "/opt/build/wheels.html",
    ]  # fmt: skip
    assert found["2 %files from build"].split() == ["/opt/env", "/opt/env"]
    assert found["2 %labels"].strip() == "org.example a # b"
    assert found["2 %environment"].strip() == activation.environment(recipe).strip()
    assert found["2 %runscript"].strip() == singularity_d.runscript(recipe).strip()
    assert found["2 %test"].strip() == singularity_d.testscript(recipe).strip()
    assert found["2 %help"].strip() == singularity_d.help_text(recipe).strip()


def test_both_recipes_run_the_same_commands(recipe: Recipe, packages: list[LockedPackage]) -> None:
    post = " ".join(sections(apptainer_def.render(recipe, packages))["1 %post"].split())
    docker = " ".join(dockerfile.render(recipe, packages).split())
    assert recipe.stages is not None
    assert recipe.stages.installer is not None
    steps = installation.steps(recipe, packages, as_root=True)
    for step in (installation.miniforge(recipe.stages.installer), *steps):
        for command in step.commands:
            assert " ".join(command.split()) in post
            assert " ".join(command.split()) in docker


def test_hostile_values_stay_values(recipe: Recipe) -> None:
    text = apptainer_def.render(replace(recipe, variables={"HOSTILE": HOSTILE}), [])
    assert "pwned" not in sections(text)["1 %post"]
    assert len(re.findall(r"(?mi)^bootstrap:", text)) == 2
    assert "{{" not in text


def test_what_cannot_be_quoted_is_refused(recipe: Recipe) -> None:
    with pytest.raises(SourceError):
        apptainer_def.render(replace(recipe, labels={"org.example": HOSTILE}), [])
    with pytest.raises(SourceError):
        apptainer_def.render(replace(recipe, packages=(("%post", "1"),)), [])
