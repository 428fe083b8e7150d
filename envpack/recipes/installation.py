"""What a recipe's stages do, as shell commands that Dockerfile and definition file share.

Every command is POSIX sh and fits between two ``&&``; a long one is continued on a second line. Files that it
needs are in :data:`FOLDER`: not in ``/tmp``, which Apptainer covers with the host's while it builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envpack.lockfile import LockedPackage
from envpack.recipe import Installer, Recipe
from envpack.recipes import activation, package_files, quoting

FOLDER = "/opt/build"
CONDA = "/opt/conda"
EXPLICIT = f"{FOLDER}/explicit.txt"
INSTALLER = f"{FOLDER}/miniforge.sh"
APT_PACKAGES = "apt-packages.txt"
POST = "post.sh"
# Where what is copied into the image stands beside the recipe: below here, as it does in the image.
FILES = "files"


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, each of which must succeed, and sentences that tell the reader what they do and why."""

    why: str
    commands: tuple[str, ...]


def explicit_filename(recipe: Recipe) -> str:
    """The name of the explicit specification beside the recipe, as conda-lock names it."""
    return f"conda-{recipe.platform.subdir}.lock"


def copied(recipe: Recipe, packages: Sequence[LockedPackage]) -> dict[str, str]:
    """The files beside the recipe that the first stage needs, and where."""
    files = {explicit_filename(recipe): EXPLICIT}
    if any(p.manager == "pip" for p in packages):
        files |= {name: f"{FOLDER}/{name}" for name in (package_files.REQUIREMENTS, package_files.WHEELS)}
    return files


def apt(recipe: Recipe, *, as_root: bool) -> list[Step]:
    """Install the packages that :data:`APT_PACKAGES` lists, if ``recipe`` has some.

    ``as_root`` says that root is real: else apt must be kept from becoming another user.
    """
    if not recipe.settings.apt:
        return []
    program = "apt-get" if as_root else "apt-get -o APT::Sandbox::User=root"
    return [
        Step(
            "Packages of the distribution. Those without a version are whatever it has on the day.",
            (
                f"{program} update",
                f"DEBIAN_FRONTEND=noninteractive xargs {program} install -y --no-install-recommends \\\n"
                f"    < {FOLDER}/{APT_PACKAGES}",
                "rm -rf /var/lib/apt/lists/*",
            ),
        )
    ]


def post(recipe: Recipe) -> list[Step]:
    """Run :data:`POST`, if ``recipe`` has commands of the project."""
    if not recipe.settings.post:
        return []
    return [Step("The project's own commands, in the environment.", (f"/bin/sh {FOLDER}/{POST}",))]


def clean() -> Step:
    """Remove what only the other steps needed."""
    return Step("", (f"rm -r {FOLDER}",))


def into_image(recipe: Recipe, *, entrypoint: bool) -> dict[str, str]:
    """The files and folders beside the recipe that get into the image, and where."""
    found = {"entrypoint.sh": activation.ENTRYPOINT} if entrypoint else {}
    if recipe.settings.runscript is not None:
        found["runscript.sh"] = activation.RUNSCRIPT
    return found | {FILES + copied.destination: copied.destination for copied in recipe.settings.files}


def miniforge(installer: Installer) -> Step:
    """Check :data:`INSTALLER` and run it."""
    return Step(
        "The installer is run only if its bytes are the expected ones.",
        (
            f"printf '%s  %s\\n' {installer.sha256} {INSTALLER} > {INSTALLER}.sha256",
            f"sha256sum -c {INSTALLER}.sha256",
            f"bash {INSTALLER} -b -p {CONDA}",
        ),
    )


def conda(recipe: Recipe) -> Step:
    """Install what :data:`EXPLICIT` lists."""
    return Step(
        "The list holds a URL and a sha256 for every package, so nothing is solved here: conda downloads, "
        "checks and links.",
        (f"{CONDA}/bin/conda create --yes --quiet --prefix {quoting.sh(recipe.prefix)} --file {EXPLICIT}",),
    )


def pip(recipe: Recipe, packages: Sequence[LockedPackage]) -> Step:
    """Install what the requirements file lists, with the environment's pip if ``packages`` have one."""
    python = quoting.sh(f"{recipe.prefix}/bin/python")
    own = any(p.name == "pip" and p.manager == "conda" for p in packages)
    program = f"{python} -m pip" if own else f"{CONDA}/bin/python -m pip --python {python}"
    why = "pip's packages: these files, with these hashes, and nothing else."
    if not own:
        why += " The environment has no pip of its own: conda's is used from outside."
    return Step(
        why,
        (
            f"{program} install --disable-pip-version-check --no-cache-dir --no-compile --no-deps \\\n"
            f"    --require-hashes --requirement {FOLDER}/{package_files.REQUIREMENTS}",
        ),
    )


def bytecode(recipe: Recipe) -> Step:
    """Compile all of the environment's Python."""
    prefix = quoting.sh(recipe.prefix)
    return Step(
        "Python's bytecode, marked as valid whatever the date of its source: copying an image changes dates, "
        "and python would compile again at every start. Exit code 1 is usual: some packages ship files that "
        "are broken on purpose, to test with.",
        (
            f"{{ {prefix}/bin/python -I -S -m compileall -q -q -f -j 0 \\\n"
            f"    --invalidation-mode unchecked-hash {prefix}/lib/python3* || test $? -eq 1; }}",
        ),
    )


def has_python(packages: Sequence[LockedPackage]) -> bool:
    """Whether ``packages`` have an interpreter to compile with."""
    return any(p.name == "python" and p.manager == "conda" for p in packages)


def steps(recipe: Recipe, packages: Sequence[LockedPackage]) -> list[Step]:
    """From the installed conda to the whole environment."""
    found = [conda(recipe)]
    if any(p.manager == "pip" for p in packages):
        found.append(pip(recipe, packages))
    if has_python(packages):
        found.append(bytecode(recipe))
    return found
