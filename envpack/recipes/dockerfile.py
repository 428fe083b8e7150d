"""The Dockerfile: what the image is, in the words of Docker.

Reference: Docker's "Dockerfile reference". Only what the classic builder of Docker 20.10 knows, which
BuildKit knows too: no here-documents, no mounts, no ``--chmod``.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, installation, labels, quoting
from envpack.recipes.validation import validate

_WIDTH = 100
_STARTS = "Packages' own activation scripts, if there are any, then the program."
_STARTS_WITHOUT_SCRIPTS = "A program, or python for what begins with an option or is a script."


def render(recipe: Recipe, packages: Sequence[LockedPackage]) -> str:
    """The Dockerfile of an image of ``recipe`` that holds ``packages``.

    It takes the other recipe files from its own folder. Raises :class:`SourceError` where the recipe cannot
    be written.
    """
    validate(recipe)
    stages = recipe.stages
    assert stages is not None
    prefix = quoting.sh(recipe.prefix)
    lines = [
        *_comment(f"The environment {recipe.name}: {len(packages)} packages for {recipe.platform.subdir}."),
        "#",
        f"#     docker build -t {recipe.name.lower()} .",
        f"#     docker run --rm -it {recipe.name.lower()}",
        "#",
        *_comment(f"{stages.reason}."),
        "",
        *_comment("Stage 1 installs the packages. Nothing of it but their folder gets into the image."),
        f"FROM {stages.build} AS build",
        "",
    ]
    if stages.installer:
        lines += [
            *_comment(f"{stages.installer.name}, which brings conda."),
            f"ADD {stages.installer.url} {installation.INSTALLER}",
            *_run([installation.miniforge(stages.installer)]),
            "",
        ]
    lines += [f"COPY {name} {path}" for name, path in installation.copied(recipe, packages).items()]
    lines += [
        *_run(installation.steps(recipe, packages, as_root=True)),
        "",
        *_comment("Stage 2 is the image: the base, the environment, and how to use it."),
        f"FROM {stages.runtime}",
        *_with_file(installation.APT_PACKAGES, installation.apt(recipe, as_root=True)),
        f"COPY --from=build {prefix} {prefix}",
        *(f"COPY {name} {path}" for name, path in installation.into_image(recipe, entrypoint=True).items()),
        "",
        *_comment(
            f"What `{activation.command(recipe)}` would set. Docker gives this to every program in the "
            "container, those of `docker exec` too."
        ),
        f"ENV PATH={recipe.prefix}/bin:$PATH{_pairs(activation.variables(recipe))}",
        "",
    ]
    lines += _with_file(installation.POST, installation.post(recipe))
    if recipe.labels:
        lines += [f"LABEL{_pairs(labels.in_stages(recipe))}", ""]
    entrypoint, command = activation.start(recipe)
    lines += [
        *_comment(_STARTS if recipe.system_python is None else _STARTS_WITHOUT_SCRIPTS),
        f"ENTRYPOINT {json.dumps(entrypoint)}",
        f"CMD {json.dumps(command)}",
    ]
    return "\n".join(lines) + "\n"


def _with_file(name: str, steps: Sequence[installation.Step]) -> list[str]:
    """Steps of the second stage that read the file ``name``, which does not stay."""
    if not steps:
        return []
    run = _run([*steps, installation.clean()])
    return [f"COPY {name} {installation.FOLDER}/{name}", *run, ""]


def _run(steps: Sequence[installation.Step]) -> list[str]:
    """One ``RUN`` of all commands, with comments between them."""
    commands = [(step.why if i == 0 else "", c) for step in steps for i, c in enumerate(step.commands)]
    lines = []
    for number, (why, command) in enumerate(commands):
        lines += [f"{'    ' if number else ''}{line}" for line in _comment(why)]
        end = "" if number == len(commands) - 1 else " \\"
        lines.append(f"{' && ' if number else 'RUN '}{command}{end}")
    return lines


def _pairs(values: dict[str, str]) -> str:
    return "".join(f" \\\n    {key}={quoting.dockerfile(value)}" for key, value in values.items())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(quoting.comment(text), _WIDTH, break_on_hyphens=False)]
