"""The definition file: what the image is, in the words of Apptainer.

Reference: Apptainer's user guide, "Definition Files". Quoting: a line whose first word begins with ``%``
starts a section wherever it stands, one that begins with ``Bootstrap:`` a stage, and ``{{ name }}`` is
replaced everywhere; see :mod:`envpack.recipes.quoting` for how values avoid all three.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from envpack.image import Reference
from envpack.lockfile import LockedPackage
from envpack.recipe import Recipe
from envpack.recipes import activation, installation, labels, quoting, singularity_d
from envpack.recipes.installation import Step
from envpack.recipes.validation import validate

FILENAME = "Apptainer.def"
_WIDTH = 100
# A base image may come without anything to download with. Root of a build without root cannot become
# another user, as apt would like to.
_CURL = """\
if ! command -v curl > /dev/null; then
    if command -v apt-get > /dev/null; then
        apt-get -o APT::Sandbox::User=root update
        apt-get -o APT::Sandbox::User=root install -y --no-install-recommends ca-certificates curl
    else
        dnf install -y curl
    fi
fi"""

# Apptainer's own is 002, whatever the user's is: files would be writable for a group.
_UMASK = "    umask 022\n"


def render(recipe: Recipe, packages: Sequence[LockedPackage]) -> str:
    """The definition file of an image of ``recipe`` that holds ``packages``.

    It takes the other recipe files from the folder in which ``apptainer build`` is run. Raises
    :class:`SourceError` where the recipe cannot be written.
    """
    validate(recipe)
    stages = recipe.stages
    assert stages is not None
    copied = _lines(installation.copied(recipe, packages))
    labelled = "".join(f"    {key} {value}\n" for key, value in labels.in_stages(recipe).items())
    return f"""\
{_comment(f"The environment {recipe.name}: {len(packages)} packages for {recipe.platform.subdir}.")}\
#
#     apptainer build {recipe.name}.sif {FILENAME}         in this folder
#     apptainer run {recipe.name}.sif script.py
#
{_comment(f"{stages.reason}.")}
{_comment("Stage 1 installs the packages. Nothing of it but their folder gets into the image.")}\
{_from(stages.build)}Stage: build

%files
{copied}
%post
{_UMASK}{"".join(_commands(step) for step in _steps(recipe, packages))}
{_comment("Stage 2 is the image: the base, the environment, and how to use it.")}\
{_from(stages.runtime)}Stage: final

%files from build
    {recipe.prefix} {recipe.prefix}

{_added(recipe)}\
%labels
{labelled}
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


def _added(recipe: Recipe) -> str:
    """What the project adds to the second stage, if anything."""
    files = installation.into_image(recipe, entrypoint=False)
    steps = [*installation.apt(recipe, as_root=False), *installation.post(recipe)]
    if steps:
        needed = {
            installation.APT_PACKAGES: installation.apt_packages(recipe),
            installation.POST: recipe.settings.post,
        }
        files |= {name: f"{installation.FOLDER}/{name}" for name, there in needed.items() if there}
        steps.append(installation.clean())
    text = f"%files\n{_lines(files)}\n" if files else ""
    return text + (f"%post\n{_UMASK}{''.join(map(_commands, steps))}\n" if steps else "")


def _lines(files: Mapping[str, str]) -> str:
    return "".join(f"    {name} {path}\n" for name, path in files.items())


def _from(image: Reference) -> str:
    """The header of a stage. Apptainer takes a tag or a digest, not both: the tag is for the reader."""
    pinned = Reference(image.registry, image.repository, None, image.digest)
    tagged = Reference(image.registry, image.repository, image.tag)
    return f"# {tagged.familiar}\nBootstrap: docker\nFrom: {pinned}\n"


def _steps(recipe: Recipe, packages: Sequence[LockedPackage]) -> list[Step]:
    assert recipe.stages is not None
    installer = recipe.stages.installer
    if installer is None:
        return installation.steps(recipe, packages, as_root=False)
    download = Step(
        f"{installer.name}, which brings conda.",
        (
            _CURL,
            "curl --fail --location --silent --show-error --retry 5 \\\n"
            f"    --output {installation.INSTALLER} {installer.url}",
        ),
    )
    return [download, installation.miniforge(installer), *installation.steps(recipe, packages, as_root=False)]


def _commands(step: Step) -> str:
    """The commands, each on lines of its own: Apptainer ends ``%post`` at the first that fails."""
    return textwrap.indent(_comment(step.why) + "\n".join(step.commands) + "\n", "    ")


def _comment(text: str) -> str:
    lines = textwrap.wrap(quoting.comment(text), _WIDTH, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)
