"""The metadata folder ``/.singularity.d`` and the paths a container runtime expects in an image.

    /.singularity.d/env/10-docker2singularity.sh   variables of the base image
    /.singularity.d/env/90-environment.sh          activation: %environment
    /.singularity.d/env/99-base.sh                 after it the runtime applies APPTAINERENV_* and --env
    /.singularity.d/labels.json                    %labels
    /.singularity.d/runscript, startscript, test   %runscript, %startscript, %test
    /.singularity.d/runscript.help                 %help
    /.singularity.d/Singularity                    the definition file
    /.singularity.d/actions/{exec,run,shell,start,test}
                                                   for runtimes older than Apptainer's built-in action script
    /.singularity.d/libs                           the runtime binds GPU libraries here
    /singularity, /environment, /.run, /.exec, /.shell, /.test      links into it

Reference: Apptainer's user guide, "Environment and Metadata" and "Build a Container".
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from envpack.entry import Entry, directory, file, symlink
from envpack.recipe import Recipe
from envpack.recipes import activation, quoting, validation

_FOLDER = ".singularity.d"
_SHEBANG = "#!/bin/sh\n"
_ENVIRONMENT = f"/{_FOLDER}/env/90-environment.sh"
_BASE_ENVIRONMENT = f"/{_FOLDER}/env/10-docker2singularity.sh"

# The search path of GPU libraries that the runtime binds in. It also keeps a host's value out: the
# runtime hands on what is not set here.
_BASE = """\
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
"""
_SOURCE = """\
for script in /.singularity.d/env/*.sh; do
    if [ -f "$script" ]; then
        . "$script"
    fi
done
"""
_ACTIONS = {
    "exec": 'exec "$@"\n',
    "run": 'exec /.singularity.d/runscript "$@"\n',
    "shell": 'if [ -x /bin/bash ]; then\n    exec /bin/bash --norc "$@"\nfi\nexec /bin/sh "$@"\n',
    "start": 'exec /.singularity.d/startscript "$@"\n',
    "test": 'exec /.singularity.d/test "$@"\n',
}
_LINKS = {
    ".exec": "actions/exec",
    ".run": "actions/run",
    ".shell": "actions/shell",
    ".test": "actions/test",
    "environment": "env/90-environment.sh",
    "singularity": "runscript",
}
_TEST = """\
import importlib, sys
print("python", sys.version.split()[0])
failed = 0
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        failed += 1
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(name, getattr(module, "__version__", ""))
sys.exit(f"{failed} of {len(sys.argv) - 1} imports failed" if failed else 0)
"""


def runscript(recipe: Recipe) -> str:
    """The body of ``%runscript``: the environment's python, or the project's own script, with the arguments
    as they were given.

    By its absolute path, so that ``APPTAINERENV_PREPEND_PATH`` or an activation script that changes PATH
    does not put another python in its place.
    """
    if recipe.settings.runscript is not None:
        return f'exec {" ".join(activation.RUNSCRIPT_COMMAND)} "$@"\n'
    return f'exec {quoting.sh(recipe.prefix)}/bin/python "$@"\n'


def startscript() -> str:
    """The body of ``%startscript``: an instance runs what it is given, else nothing."""
    return 'exec "$@"\n'


def testscript(recipe: Recipe) -> str:
    """The body of ``%test``: import every module of ``recipe.imports``, print its version, fail if one fails.

    Python is isolated (``-I``), so that neither the current folder nor the user's variables take part.
    """
    names = "".join(f" {quoting.sh(name)}" for name in recipe.imports)
    return f"exec {quoting.sh(recipe.prefix)}/bin/python -I -c '{_TEST}'{names}\n"


def help_text(recipe: Recipe) -> str:
    """The text of ``%help``: what is in the image and how to use it."""
    width = max((len(name) for name, _ in recipe.packages), default=0)
    table = "".join(f"    {name:<{width}}  {version}\n" for name, version in recipe.packages)
    return f"""\
The environment {recipe.name} in {recipe.prefix}, on {recipe.base.reference}.

{table}
apptainer run IMAGE SCRIPT.py ...       python SCRIPT.py ... in the environment
apptainer exec IMAGE PROGRAM ...        any program of it
apptainer test IMAGE                    import what was asked for
"""


def entries(recipe: Recipe, deffile: str, base_variables: Mapping[str, str] | None = None) -> list[Entry]:
    """The content of ``/.singularity.d`` and the links to it, sorted by path.

    ``recipe.labels`` are written as they are (make them with :func:`envpack.recipes.labels.labels`);
    ``deffile`` is the definition file's text; ``base_variables`` are those of the base image's
    configuration. Raises what :func:`envpack.recipes.activation.environment` raises.
    """
    scripts = {
        "env/10-docker2singularity.sh": base_environment(base_variables or {}),
        "env/90-environment.sh": activation.environment(recipe),
        "env/99-base.sh": _BASE,
        "runscript": runscript(recipe),
        "startscript": startscript(),
        "test": testscript(recipe),
    } | {f"actions/{name}": _SOURCE + body for name, body in _ACTIONS.items()}
    texts = {
        "Singularity": deffile,
        "labels.json": json.dumps(dict(recipe.labels), indent=2, sort_keys=True) + "\n",
        "runscript.help": help_text(recipe),
    }
    found = [directory(_FOLDER)]
    found += [directory(f"{_FOLDER}/{name}") for name in ("actions", "env", "libs")]
    found += [file(f"{_FOLDER}/{name}", (_SHEBANG + body).encode(), 0o755) for name, body in scripts.items()]
    found += [file(f"{_FOLDER}/{name}", text.encode()) for name, text in texts.items()]
    found += [symlink(name, f"{_FOLDER}/{target}") for name, target in _LINKS.items()]
    return sorted(found, key=lambda entry: entry.path)


def base_environment(variables: Mapping[str, str]) -> str:
    """The script that sets the variables of a base image; names that no shell can set are left out."""
    return quoting.exports({k: v for k, v in sorted(variables.items()) if validation.SHELL_NAME.match(k)})


def mount_points() -> list[Entry]:
    """What a runtime without overlays must find in a read-only root, sorted by path.

    To be written *before* the base's own entries, which win where it has these paths.
    """
    modes = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
    folders = ("dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "var/tmp")
    found = [directory(path, modes.get(path, 0o755)) for path in folders]
    found += [file(path, b"") for path in ("etc/hosts", "etc/resolv.conf")]
    return sorted(found, key=lambda entry: entry.path)


def inspect_metadata(recipe: Recipe, deffile: str, base_variables: Mapping[str, str] | None = None) -> bytes:
    """The SIF data object ``inspect-metadata.json`` (GenericJSON), which ``apptainer inspect`` prints.

    Without it, ``inspect`` has to run the container to read the same texts from it.
    """
    attributes = {
        "deffile": deffile,
        "environment": {
            _BASE_ENVIRONMENT: _SHEBANG + base_environment(base_variables or {}),
            _ENVIRONMENT: _SHEBANG + activation.environment(recipe),
        },
        "helpfile": help_text(recipe),
        "labels": dict(recipe.labels),
        "runscript": _SHEBANG + runscript(recipe),
        "startscript": _SHEBANG + startscript(),
        "test": _SHEBANG + testscript(recipe),
    }
    document = {"data": {"attributes": attributes}, "type": "container"}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
