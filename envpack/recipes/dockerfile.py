"""The Dockerfile: what the image is, in the words of Docker.

Reference: Docker's "Dockerfile reference" (``FROM``, ``COPY``, ``ENV``, ``LABEL``, exec form of ``CMD``).
"""

from __future__ import annotations

import json

from envpack.errors import Problem, SourceError
from envpack.recipe import Recipe
from envpack.recipes import quoting
from envpack.recipes.validation import validate


def render(recipe: Recipe) -> str:
    """A Dockerfile for an image of ``recipe``, which takes the installed environment from a folder ``env``.

    ``ENV`` cannot run the scripts of ``etc/conda/activate.d``, nor hold a line break: :class:`SourceError`
    names every variable that has one, or whatever else cannot be written.
    """
    validate(recipe)
    problems = [
        Problem(f"the variable {name!r} cannot be written into a Dockerfile", why="its value has line breaks")
        for name, value in sorted(recipe.variables.items())
        if "\n" in value or "\r" in value
    ]
    if problems:
        raise SourceError("the environment cannot be written as a Dockerfile", problems=problems)
    variables = {
        "CONDA_PREFIX": recipe.prefix,
        "CONDA_DEFAULT_ENV": recipe.name,
        "CONDA_SHLVL": "1",
        "PYTHONNOUSERSITE": "1",
    } | dict(sorted(recipe.variables.items()))
    assignments = "".join(f" \\\n    {k}={quoting.dockerfile(v)}" for k, v in variables.items())
    labels = "".join(f" \\\n    {k}={quoting.dockerfile(v)}" for k, v in sorted(recipe.labels.items()))
    lines = [
        f"FROM {recipe.base.pinned}",
        f"COPY env {recipe.prefix}",
        f"ENV PATH={recipe.prefix}/bin:$PATH{assignments}",
        *([f"LABEL{labels}"] if labels else []),
        f"CMD {json.dumps([recipe.prefix + '/bin/python'])}",
    ]
    return "\n".join(lines) + "\n"
