import re
from dataclasses import replace

import pytest

from envpack.errors import SourceError
from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, apptainer_def, singularity_d

NUMPY = LockedPackage(
    "numpy",
    "1.26.4",
    "conda",
    "linux-64",
    "https://user:secret@conda.example.org/t/secret/linux-64/numpy-1.26.4-py311_0.conda?key=secret",
    "c" * 64,
)
HOSTILE = "a\n%post\ntouch /pwned\nBootstrap: docker\nFrom: evil\n{{ x }}\n"


def sections(text: str) -> dict[str, str]:
    """Read a definition file as Apptainer does: a line whose first word begins with % starts a section."""
    found: dict[str, str] = {}
    name = "header"
    for line in text.split("\n"):
        words = line.split()
        if words and words[0].startswith("%"):
            name = words[0]
            assert name not in found, f"{name} twice"
            found[name] = ""
        else:
            found[name] = found.get(name, "") + line + "\n"
    return found


def test_it_has_the_sections_of_the_image(recipe: Recipe) -> None:
    recipe = replace(recipe, labels={"org.example": "a # b"})
    found = sections(apptainer_def.render(recipe, [NUMPY]))
    assert list(found) == [
        "header", "%files", "%labels", "%environment", "%runscript", "%startscript", "%test", "%help"
    ]  # fmt: skip
    assert found["header"].startswith("Bootstrap: docker\n")
    assert f"From: docker.io/library/ubuntu@sha256:{'b' * 64}\n" in found["header"]
    assert f"numpy-1.26.4-py311_0.conda sha256:{'c' * 64}" in found["header"]
    assert found["%labels"].strip() == "org.example a # b"
    assert found["%environment"].strip() == activation.environment(recipe).strip()
    assert found["%runscript"].strip() == singularity_d.runscript(recipe).strip()
    assert found["%test"].strip() == singularity_d.testscript(recipe).strip()
    assert found["%help"].strip() == singularity_d.help_text(recipe).strip()


def test_no_address_and_no_secret_is_written(recipe: Recipe) -> None:
    assert "secret" not in apptainer_def.render(recipe, [NUMPY])


def test_hostile_values_stay_values(recipe: Recipe) -> None:
    package = replace(NUMPY, url="https://conda.example.org/x\n%post\nBootstrap: y\n{{{z}}-1.conda")
    text = apptainer_def.render(replace(recipe, variables={"HOSTILE": HOSTILE}), [package])
    assert "%post" not in sections(text)
    assert len(re.findall(r"(?mi)^bootstrap:", text)) == 1
    assert "{{" not in text


def test_what_cannot_be_quoted_is_refused(recipe: Recipe) -> None:
    with pytest.raises(SourceError):
        apptainer_def.render(replace(recipe, labels={"org.example": HOSTILE}), [])
    with pytest.raises(SourceError):
        apptainer_def.render(replace(recipe, packages=(("%post", "1"),)), [])
