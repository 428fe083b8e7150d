"""What a recipe may say: everything that ends up in a script, a definition file or a Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from envpack.entry import is_safe_path
from envpack.errors import Problem, SourceError
from envpack.image_settings import ImageSettings
from envpack.recipe import Recipe

SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Names, versions and paths that need no quoting anywhere and cannot begin a section of a definition file.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!~-]*\Z")
_PREFIX = re.compile(r"/[A-Za-z0-9_.+@/-]+\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?\Z")

# Debian Policy Manual, 5.6.1 (names), 3.1 of deb-version(7) (versions); an architecture may follow the name.
_APT = re.compile(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?(?:=[0-9][A-Za-z0-9.+:~-]*)?\Z")
_OUR_LABELS = ("org.envpack.", "org.opencontainers.image.base.", "org.opencontainers.image.created")
_OUR_SCRIPTS = ("/usr/local/bin/entrypoint.sh", "/usr/local/bin/runscript.sh")

# Activation sets these from the recipe.
_OURS = frozenset(
    {"PATH", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL", "PYTHONNOUSERSITE", "PYTHONHOME"}
    | {"VIRTUAL_ENV"}
)
# Some shell refuses to assign these, or the container runtime takes them from the host.
_SHELL_OR_RUNTIME = frozenset(
    {"_", "BASHOPTS", "BASHPID", "BASH_ENV", "BASH_VERSINFO", "ENV", "EUID", "GID", "HOME", "IFS", "OLDPWD"}
    | {"OPTIND", "PPID", "PWD", "SHELLOPTS", "SHLVL", "UID"}
)
_RUNTIME_PREFIXES = ("APPTAINER", "SINGULARITY", "_envpack_")
_LOADER_PREFIX = "LD_"


def validate(recipe: Recipe) -> None:
    """Raise :class:`SourceError` with every part of ``recipe`` that cannot be written into an image."""
    problems = [
        *_plain_problems(recipe),
        *variable_problems(recipe.variables),
        *label_problems(recipe.labels),
        *settings_problems(recipe.settings, recipe.prefix),
    ]
    if problems:
        raise SourceError(
            "the environment says something that cannot be written into an image",
            problems=problems,
            hint="Change the environment file and run `envpack lock` again.",
        )


def variable_problems(variables: Mapping[str, str]) -> Iterator[Problem]:
    """Every one of ``variables`` that an image cannot set, and why."""
    for name, value in sorted(variables.items()):
        if not SHELL_NAME.match(name):
            why = "a name consists of letters, digits and _ and does not start with a digit"
        elif name in _OURS:
            why = "activation sets it from the environment itself"
        elif name in _SHELL_OR_RUNTIME or name.startswith(_RUNTIME_PREFIXES):
            why = "it belongs to the shell or to the container runtime"
        elif name.startswith(_LOADER_PREFIX):
            why = "it would change the programs of the base image too; set it where the image is run"
        elif "\0" in value or not _is_unicode(value):
            why = "its value is not text"
        else:
            continue
        yield Problem(f"the variable {name!r} cannot be set", why=why)


def label_problems(labels: Mapping[str, str]) -> Iterator[Problem]:
    """Every label that some image format cannot hold, and why.

    A definition file holds a label on one line and has no quoting for it.
    """
    for key, value in sorted(labels.items()):
        if not _LABEL_KEY.match(key):
            yield Problem(
                f"{key!r} cannot be the key of a label", why="a key consists of letters, digits and . _ / -"
            )
        elif not value.isprintable():
            yield Problem(f"the label {key!r} cannot be written", why="its value is not one line of text")
        elif "{{" in value:
            yield Problem(
                f"the label {key!r} cannot be written", why="Apptainer would take {{ for a template variable"
            )


def settings_problems(settings: ImageSettings, prefix: str) -> Iterator[Problem]:
    """Everything of ``settings`` that an image with the environment in ``prefix`` cannot have, and why."""
    for package in settings.apt:
        if not _APT.match(package):
            yield Problem(
                f"{package!r} cannot be installed with apt", why="a package is written NAME or NAME=VERSION"
            )
    yield from variable_problems(settings.variables)
    yield from label_problems(settings.labels)
    for key in sorted(settings.labels):
        if key.startswith(_OUR_LABELS):
            yield Problem(f"the label {key!r} cannot be set", why="it says what the image was made from")
    for copied in settings.files:
        folder = f"{copied.destination}/"
        if folder.startswith(f"{prefix}/") or prefix.startswith(folder):
            yield Problem(
                f"{copied.source} cannot be copied to {copied.destination}",
                why=f"{prefix} holds what is locked and nothing else",
            )
        elif copied.destination.startswith(_OUR_SCRIPTS):
            yield Problem(f"{copied.destination} is a script of the image's own")
    for text in (*settings.post, *filter(None, [settings.runscript])):
        if "\0" in text or "\r" in text or not _is_unicode(text):
            yield Problem(f"{text[:40]!r} is no text of a shell script")
    if settings.runscript is not None and not settings.runscript.strip():
        yield Problem("the runscript is empty")


def _plain_problems(recipe: Recipe) -> Iterator[Problem]:
    if not _PLAIN.match(recipe.name):
        yield Problem(f"{recipe.name!r} cannot be the name of an environment")
    if not _PREFIX.match(recipe.prefix) or not is_safe_path(recipe.prefix[1:]):
        yield Problem(
            f"{recipe.prefix!r} cannot be the environment's path",
            why="it is absolute and consists of letters, digits and . _ + @ / -",
        )
    for module in recipe.imports:
        if not all(part.isidentifier() for part in module.split(".")):
            yield Problem(f"{module!r} is not the name of a python module")
    for name, version in recipe.packages:
        if not _PLAIN.match(name) or not _PLAIN.match(version):
            yield Problem(f"{name!r} {version!r} is not the name and version of a package")


def _is_unicode(value: str) -> bool:
    """Whether ``value`` can be written as UTF-8 (it holds no lone surrogates)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
