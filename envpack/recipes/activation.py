"""Activation: what ``conda activate`` would do to a shell, as a script that any POSIX shell can source."""

from __future__ import annotations

from envpack.recipe import Recipe
from envpack.recipes import quoting, validation

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(recipe: Recipe) -> str:
    """The text of ``%environment``, which is also ``/.singularity.d/env/90-environment.sh`` without ``#!``.

    Sourced by Apptainer's own interpreter (mvdan.cc/sh), dash, bash and busybox ash, also under ``set -eu``
    and more than once. It sets, in the order in which conda does:

    - ``PATH`` with the environment's ``bin`` first, and once; ``CONDA_PREFIX``, ``CONDA_DEFAULT_ENV`` (the
      name), ``CONDA_SHLVL`` (1: one environment, whatever the host had activated).
    - ``PYTHONNOUSERSITE=1``: without it python imports from ``~/.local`` of a bound home.
    - ``PYTHONHOME`` and ``PYTHONPATH`` empty, which python treats as unset. Environment modules of clusters
      often set both, and Apptainer hands the host's variables on. Unsetting them would not help: Apptainer
      clears the host's variables before it sources this text and brings back afterwards those that it left
      undefined; one that it left empty is dropped. ``APPTAINERENV_PYTHONPATH`` (and ``--env``) is applied
      in between, so that a user who wants a path of their own gets it.
    - ``recipe.variables``. A value that is empty here is dropped by Apptainer when the host has one.
    - whatever ``PREFIX/etc/conda/activate.d/*.sh`` do, in the order of their names. Apptainer's interpreter
      and bash run bash-only ones too; in dash these fail with a message, and nothing else is lost.

    ``LD_LIBRARY_PATH`` is left alone: conda's libraries are found by their run path. Variables that
    packages ship as ``etc/conda/env_vars.d/*.json`` are not read here: no shell can read JSON.

    Raises :class:`SourceError` where the recipe cannot be written
    (:func:`envpack.recipes.validation.validate`).
    """
    validation.validate(recipe)
    prefix = quoting.sh(recipe.prefix)
    bin_folder = quoting.sh(f"{recipe.prefix}/bin")
    fixed = {
        "CONDA_PREFIX": recipe.prefix,
        "CONDA_DEFAULT_ENV": recipe.name,
        "CONDA_SHLVL": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHOME": "",
        "PYTHONPATH": "",
    }
    exports = quoting.exports(fixed | dict(sorted(recipe.variables.items())))
    return f"""\
_envpack_bin={bin_folder}
_envpack_path=":${{PATH:-{DEFAULT_PATH}}}:"
while true; do
    case "$_envpack_path" in
        *":$_envpack_bin:"*)
            _envpack_path="${{_envpack_path%%":$_envpack_bin:"*}}:${{_envpack_path#*":$_envpack_bin:"}}"
            ;;
        *) break ;;
    esac
done
_envpack_path="${{_envpack_path#:}}"
_envpack_path="${{_envpack_path%:}}"
export PATH="$_envpack_bin${{_envpack_path:+:$_envpack_path}}"
{exports}\
_envpack_flags="${{-:-}}"
set +eu
for _envpack_script in {prefix}/etc/conda/activate.d/*.sh; do
    if [ -f "$_envpack_script" ]; then
        # shellcheck disable=SC1090
        command . "$_envpack_script" || true
    fi
done
case "$_envpack_flags" in *e*) set -e ;; esac
case "$_envpack_flags" in *u*) set -u ;; esac
unset _envpack_bin _envpack_path _envpack_flags _envpack_script
"""
