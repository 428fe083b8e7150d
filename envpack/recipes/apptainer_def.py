"""The definition file: what the image is, in the words of Apptainer.

Reference: Apptainer's user guide, "Definition Files". Quoting: a line whose first word begins with ``%``
starts a section wherever it stands, one that begins with ``Bootstrap:`` a stage, and ``{{ name }}`` is
replaced everywhere; see :mod:`envpack.recipes.quoting` for how values avoid all three.
"""

from __future__ import annotations

from collections.abc import Sequence

from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, quoting, singularity_d
from envpack.recipes.validation import validate


def render(recipe: Recipe, packages: Sequence[LockedPackage]) -> str:
    """The definition file of an image of ``recipe`` that holds ``packages``, as text.

    It names the packages by file name and hash and takes the installed environment from a folder ``env``
    beside it; with that folder ``apptainer build`` makes the same image as the native engine. Raises
    :class:`SourceError` where the recipe cannot be written.
    """
    validate(recipe)
    archives = "".join(f"#   {quoting.comment(p.filename)} sha256:{p.sha256}\n" for p in packages)
    labels = "".join(f"    {key} {value}\n" for key, value in sorted(recipe.labels.items()))
    return f"""\
Bootstrap: docker
# {recipe.base.reference.familiar}
From: {recipe.base.pinned}

# The environment {recipe.name}: {len(packages)} packages for {recipe.platform.subdir}, in {recipe.prefix}.
# envpack's native engine wrote the image from their archives without running this file. To have
# apptainer make it, install the lock into {recipe.prefix} and copy that folder to `env` beside this file.
{archives}
%files
    env {recipe.prefix}

%labels
{labels}
%environment
{activation.environment(recipe)}
%runscript
{singularity_d.runscript(recipe)}
%startscript
{singularity_d.startscript()}
%test
{singularity_d.testscript(recipe)}
%help
{singularity_d.help_text(recipe)}"""
