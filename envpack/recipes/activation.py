"""Activation: what ``conda activate`` would do to a shell, for each kind of image; where the environment is
a virtual one on the distribution's python, what ``activate`` of that would do.

- Apptainer and Singularity source a script for every program (:func:`environment`).
- Docker has variables for every program (:func:`variables`, and ``PATH``), and a script that starts the first
  one (:func:`entrypoint`): packages' activation scripts can only be run there. What they set is missing in
  programs of ``docker exec``, unless these are started through ``/usr/local/bin/entrypoint.sh`` too, or
  whoever makes the image finds out what a script sets and makes it a variable.
"""

from __future__ import annotations

from collections.abc import Sequence

from envpack.recipe import Recipe
from envpack.recipes import quoting, validation

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENTRYPOINT = "/usr/local/bin/entrypoint.sh"
RUNSCRIPT = "/usr/local/bin/runscript.sh"
# By their interpreter, so that they need not be executable where recipes are kept.
ENTRYPOINT_COMMAND = ("/bin/sh", ENTRYPOINT)
RUNSCRIPT_COMMAND = ("/bin/sh", RUNSCRIPT)
_BASH = """\
if [ -z "${BASH_VERSION-}" ] && [ -x /bin/bash ]; then
    exec /bin/bash "$0" "$@"
fi
"""
_ACTIVATE = """\
# A function, so that no script can change the arguments.
activate() {{
    for _envpack_script in {scripts}; do
        if [ -f "$_envpack_script" ]; then
            command . "$_envpack_script" || true
        fi
    done
    unset _envpack_script
}}
activate
"""

_SCRIPTS = """\
_envpack_flags="${{-:-}}"
set +eu
for _envpack_script in {prefix}/etc/conda/activate.d/*.sh; do
    if [ -f "$_envpack_script" ]; then
        command . "$_envpack_script" || true
    fi
done
case "$_envpack_flags" in *e*) set -e ;; esac
case "$_envpack_flags" in *u*) set -u ;; esac
unset _envpack_flags _envpack_script
"""


def command(recipe: Recipe) -> str:
    """What people would type to activate the environment."""
    return "conda activate" if recipe.system_python is None else f". {recipe.prefix}/bin/activate"


def _named(recipe: Recipe) -> dict[str, str]:
    """The variables that tell which environment is active."""
    if recipe.system_python is not None:
        return {"VIRTUAL_ENV": recipe.prefix}
    return {"CONDA_PREFIX": recipe.prefix, "CONDA_DEFAULT_ENV": recipe.name, "CONDA_SHLVL": "1"}


def variables(recipe: Recipe) -> dict[str, str]:
    """The variables of a Docker or OCI image, beside ``PATH``, in the order in which they are written.

    Values with line breaks are absent: no Dockerfile can hold them. :func:`entrypoint` sets these. What
    packages' scripts set comes last, as these are run last.
    """
    fixed = {**_named(recipe), "PYTHONNOUSERSITE": "1"}
    activated = {k: v for k, v in recipe.activated.items() if k != "PATH"}
    own = sorted(recipe.variables.items()) + sorted(activated.items())
    return fixed | {k: v for k, v in own if not _has_line_break(v)}


def start(recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entry point and command of a Docker or OCI image: its runscript with the arguments, or the program
    that these name and python where there are none.
    """
    if recipe.settings.runscript is not None:
        return (*ENTRYPOINT_COMMAND, *RUNSCRIPT_COMMAND), ()
    return ENTRYPOINT_COMMAND, (f"{recipe.prefix}/bin/python",)


def runscript(recipe: Recipe) -> str | None:
    """The file :data:`RUNSCRIPT`, where the project has one of its own; python is the environment's in it."""
    text = recipe.settings.runscript
    return None if text is None else f"#!/bin/sh\n{text.rstrip()}\n"


def post(recipe: Recipe) -> str:
    """The script with the project's own commands, which are run in the environment; the first that fails
    ends it. They stand in a file of their own, where nothing but a shell reads them.
    """
    commands = "".join(f"{command.rstrip()}\n" for command in recipe.settings.post)
    return f"""\
#!/bin/sh
# What is done last when the image is built, in the environment.
set -eu
{environment(recipe)}
{commands}"""


def entrypoint(recipe: Recipe, scripts: Sequence[str] | None = None) -> str:
    """The script that starts the first program of a Docker or OCI image, with its arguments as they are.

    What begins with an option or a ``.py`` file is for python, as in Apptainer's runscript; anything else
    names a program. ``scripts`` are the activation scripts of conda's packages that are run before it, one
    line of text each; ``None``: all that there are. They are run in bash where there is one: some are
    written for it. None of them can change the arguments, and one that fails does not keep the program from
    being started.
    Variables given to ``docker run`` win over those of the recipe. Raises what :func:`environment` raises.
    """
    validation.validate(recipe)
    prefix = quoting.sh(recipe.prefix)
    own = {k: v for k, v in sorted(recipe.variables.items()) if _has_line_break(v)}
    exports = "".join(
        f'if [ -z "${{{name}+set}}" ]; then\n{quoting.exports({name: value})}fi\n'
        for name, value in own.items()
    )
    if recipe.system_python is not None:
        scripts = ()
    listed = f"{prefix}/etc/conda/activate.d/*.sh" if scripts is None else " ".join(map(quoting.sh, scripts))
    activate = _ACTIVATE.format(scripts=listed) if listed else ""
    return f"""\
#!/bin/sh
# Starts a program in the environment {recipe.name}, as `{command(recipe)}` would have it.
{_BASH if activate else ""}{exports}{activate}\
case "${{1-}}" in
    -* | *.py) exec {prefix}/bin/python "$@" ;;
esac
exec "$@"
"""


def _has_line_break(value: str) -> bool:
    return "\n" in value or "\r" in value


def environment(recipe: Recipe) -> str:
    """The text of ``%environment``, which is also ``/.singularity.d/env/90-environment.sh`` without ``#!``.

    Sourced by Apptainer's own interpreter (mvdan.cc/sh), dash, bash and busybox ash, also under ``set -eu``
    and more than once. It sets, in the order in which conda does:

    - ``PATH`` with the environment's ``bin`` first, and once; ``CONDA_PREFIX``, ``CONDA_DEFAULT_ENV`` (the
      name), ``CONDA_SHLVL`` (1: one environment, whatever the host had activated); in a virtual environment
      ``VIRTUAL_ENV`` in their place.
    - ``PYTHONNOUSERSITE=1``: without it python imports from ``~/.local`` of a bound home.
    - ``PYTHONHOME`` and ``PYTHONPATH`` empty, which python treats as unset. Environment modules of clusters
      often set both, and Apptainer hands the host's variables on. Unsetting them would not help: Apptainer
      clears the host's variables before it sources this text and brings back afterwards those that it left
      undefined; one that it left empty is dropped. ``APPTAINERENV_PYTHONPATH`` (and ``--env``) is applied
      in between, so that a user who wants a path of their own gets it.
    - ``recipe.variables``. A value that is empty here is dropped by Apptainer when the host has one.
    - whatever ``PREFIX/etc/conda/activate.d/*.sh`` do, in the order of their names, where packages are
      conda's. Apptainer's interpreter and bash run bash-only ones too; in dash these fail with a message,
      and nothing else is lost.

    ``LD_LIBRARY_PATH`` is left alone: conda's libraries are found by their run path. Variables that
    packages ship as ``etc/conda/env_vars.d/*.json`` are not read here: no shell can read JSON.

    Raises :class:`SourceError` where the recipe cannot be written
    (:func:`envpack.recipes.validation.validate`).
    """
    validation.validate(recipe)
    prefix = quoting.sh(recipe.prefix)
    bin_folder = quoting.sh(f"{recipe.prefix}/bin")
    fixed = {**_named(recipe), "PYTHONNOUSERSITE": "1", "PYTHONHOME": "", "PYTHONPATH": ""}
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
{_SCRIPTS.format(prefix=prefix) if recipe.system_python is None else ""}\
unset _envpack_bin _envpack_path
"""
