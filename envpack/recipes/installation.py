"""What a recipe's stages do, as shell commands that Dockerfile and definition file share.

Every command is POSIX sh and fits between two ``&&``; a long one is continued on a second line. Files that it
needs are in :data:`FOLDER`: not in ``/tmp``, which Apptainer covers with the host's while it builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envpack.errors import LockError
from envpack.lockfile import LockedPackage
from envpack.platforms import PLATFORMS, Platform
from envpack.recipe import Installer, Recipe
from envpack.recipes import activation, package_files, quoting

FOLDER = "/opt/build"
CONDA = "/opt/conda"
EXPLICIT = f"{FOLDER}/explicit.txt"
INSTALLER = f"{FOLDER}/miniforge.sh"
PIP = f"{FOLDER}/pip.whl"
APT_PACKAGES = "apt-packages.txt"
PYTHON_PACKAGES = "python-packages.txt"
POST = "post.sh"
RUNSCRIPT = "runscript.sh"
# Where what is copied into the image stands beside the recipe: below here, as it does in the image.
FILES = "files"
_PIP_INSTALL = (
    "install --disable-pip-version-check --no-cache-dir --no-compile --no-deps \\\n"
    f"    --require-hashes --requirement {FOLDER}/{package_files.REQUIREMENTS}"
)


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, each of which must succeed, and sentences that tell the reader what they do and why."""

    why: str
    commands: tuple[str, ...]


def explicit_filename(platform: Platform) -> str:
    """The name of the explicit specification beside the recipe, as conda-lock names it."""
    return f"conda-{platform.subdir}.lock"


def filenames() -> frozenset[str]:
    """The names of all files that some recipes need beside themselves, and others do not."""
    lists = {explicit_filename(platform) for platform in PLATFORMS.values()}
    pip = {package_files.REQUIREMENTS, package_files.WHEELS}
    return frozenset(lists | pip | {APT_PACKAGES, PYTHON_PACKAGES, POST, RUNSCRIPT})


def copied(recipe: Recipe, packages: Sequence[LockedPackage]) -> dict[str, str]:
    """The files and folders beside the recipe that the first stage needs, and where."""
    if recipe.system_python is not None:
        files = {PYTHON_PACKAGES: f"{FOLDER}/{PYTHON_PACKAGES}"}
    else:
        files = {explicit_filename(recipe.platform): EXPLICIT}
    if any(p.manager == "pip" for p in packages):
        files |= {name: f"{FOLDER}/{name}" for name in (package_files.REQUIREMENTS, package_files.WHEELS)}
    if any(p.path is not None for p in packages):
        files[package_files.CARRIED] = f"{FOLDER}/{package_files.CARRIED}"
    return files


def python_packages(recipe: Recipe) -> tuple[str, ...]:
    """The distribution's packages that its python needs, where that is the environment's.

    Debian and Ubuntu have ``distutils``, which is part of python until 3.11, in a package of its own.
    """
    if recipe.system_python is None:
        return ()
    has_distutils = int(recipe.system_python.partition(".")[2]) < 12
    return ("ca-certificates", "python3", *(["python3-distutils"] if has_distutils else []))


def apt_packages(recipe: Recipe) -> tuple[str, ...]:
    """The distribution's packages in the image: those that its python needs, and the project's."""
    return (*python_packages(recipe), *recipe.settings.apt)


def apt(recipe: Recipe, *, as_root: bool) -> list[Step]:
    """Install the packages that :data:`APT_PACKAGES` lists, if ``recipe`` has some.

    ``as_root`` says that root is real: else apt must be kept from becoming another user.
    """
    return [_apt(APT_PACKAGES, as_root=as_root)] if apt_packages(recipe) else []


def _apt(filename: str, *, as_root: bool) -> Step:
    program = "apt-get" if as_root else "apt-get -o APT::Sandbox::User=root"
    return Step(
        "Packages of the distribution. Those without a version are whatever it has on the day.",
        (
            f"{program} update",
            f"DEBIAN_FRONTEND=noninteractive xargs {program} install -y --no-install-recommends \\\n"
            f"    < {FOLDER}/{filename}",
            "rm -rf /var/lib/apt/lists/*",
        ),
    )


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
        found[RUNSCRIPT] = activation.RUNSCRIPT
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
    return Step(why, (f"{program} {_PIP_INSTALL}",))


def on_system_python(recipe: Recipe, packages: Sequence[LockedPackage], *, as_root: bool) -> list[Step]:
    """From the bare distribution to an environment that its python runs."""
    pip = next((p for p in packages if p.name == "pip"), None)
    if pip is None:
        raise LockError("the lock has no pip to install its packages with", hint="Run `envpack lock` anew.")
    prefix = quoting.sh(recipe.prefix)
    version = tuple(int(part) for part in (recipe.system_python or "").split("."))
    wrong = f"the packages are for python {recipe.system_python}, which this base does not have"
    return [
        _apt(PYTHON_PACKAGES, as_root=as_root),
        Step(
            "An empty environment.",
            (
                f"python3 -c 'import sys; sys.version_info[:2] == {version} or sys.exit(\"{wrong}\")'",
                f"python3 -m venv --without-pip {prefix}",
            ),
        ),
        Step(
            "pip, which is run only if its bytes are the expected ones. The distribution's may be too old "
            "for the packages.",
            (
                "python3 -c 'import sys, urllib.request as r; r.urlretrieve(*sys.argv[1:])' \\\n"
                f"    {quoting.sh(package_files.address(pip))} {PIP}",
                f"printf '%s  %s\\n' {pip.sha256} {PIP} > {PIP}.sha256",
                f"sha256sum -c {PIP}.sha256",
            ),
        ),
        Step(
            "All packages, pip among them: these files, with these hashes, and nothing else.",
            (f"{prefix}/bin/python {PIP}/pip {_PIP_INSTALL} --ignore-installed",),
        ),
        bytecode(recipe),
    ]


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


def steps(recipe: Recipe, packages: Sequence[LockedPackage], *, as_root: bool) -> list[Step]:
    """From the installed conda, or from the bare distribution, to the whole environment; see :func:`apt`."""
    if recipe.system_python is not None:
        return on_system_python(recipe, packages, as_root=as_root)
    found = [conda(recipe)]
    if any(p.manager == "pip" for p in packages):
        found.append(pip(recipe, packages))
    if has_python(packages):
        found.append(bytecode(recipe))
    return found
