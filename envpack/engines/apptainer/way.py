"""How an image can be built here without root, if at all.

By the documentation of Apptainer (user guide, "Fakeroot feature", from 1.1 on) and of SingularityCE (admin
guide, "User Namespaces & Fakeroot"; user guide, "Unprivileged proot Builds"):

    Apptainer >= 1.1    user in /etc/subuid     ids of /etc/subuid and /etc/subgid in a user namespace; needs
                                                newuidmap, unless Apptainer is installed setuid
                        else                    root of a user namespace of one id, and the fakeroot command
                                                for %post if there is one
                        no user namespaces      the fakeroot command alone, if Apptainer is installed setuid
    Singularity >= 3.3  --fakeroot              ids of /etc/subuid and /etc/subgid; needs user namespaces and
    Apptainer 1.0                               newuidmap, unless installed setuid
    SingularityCE       proot on PATH           an emulated root
    >= 3.11

Seen with Apptainer 1.4.5: it goes by /etc/subuid alone and then fails where newuidmap or a range in
/etc/subgid is missing, unless it is told to ignore the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from envpack.engines.apptainer.facts import Facts, Program
from envpack.errors import EngineError, Problem

_IGNORE = "--ignore-subuid"


@dataclass(frozen=True, slots=True)
class Way:
    """How to build: options for the program, and a few words."""

    options: tuple[str, ...]
    words: str


def choose(program: Program, facts: Facts, glibc: tuple[int, ...] | None = None) -> Way:
    """The first way that ``facts`` allow; ``glibc`` is the base image's.

    Raises :class:`EngineError` with every reason where there is none.
    """
    if not program.is_apptainer and program.version < (3, 2):
        raise _refusal(program, [Problem("it is too old: building in stages came with Singularity 3.2")])
    if facts.root:
        return Way((), "as root")
    if program.is_apptainer and program.version >= (1, 1):
        return _apptainer(program, facts, glibc)
    return _singularity(program, facts)


def _apptainer(program: Program, facts: Facts, glibc: tuple[int, ...] | None) -> Way:
    ignore = (_IGNORE,) if facts.listed else ()
    if facts.no_own_namespaces:
        if facts.setuid and facts.fakeroot:
            return Way(ignore, "as an ordinary user: with the fakeroot command, without user namespaces")
        raise _refusal(program, _no_namespaces(facts))
    if not facts.no_ranges and (facts.newuidmap or facts.setuid):
        return Way((), "as an ordinary user: with the ids of /etc/subuid, in a user namespace")
    words = "as an ordinary user: with one id, in a user namespace"
    if facts.listed:
        words += f" ({facts.no_ranges or 'there is no newuidmap, which the ids of /etc/subuid need'})"
    if not facts.fakeroot:
        return Way(ignore, f"{words}; without the fakeroot command, so system packages may fail to install")
    if glibc and facts.glibc and facts.glibc > glibc:
        # The host's fakeroot is loaded into the image's programs, and would end each of them.
        return Way(
            (*ignore, "--ignore-fakeroot-command"), f"{words}; the image's glibc is too old for fakeroot"
        )
    return Way(ignore, f"{words}, with the fakeroot command")


def _no_namespaces(facts: Facts) -> list[Problem]:
    needed = Problem(
        "an ordinary user cannot make a user namespace",
        why=facts.no_own_namespaces,
        hint="The administrators can allow it.",
    )
    if facts.setuid:
        return [needed, Problem("there is no fakeroot command on PATH", hint="Install fakeroot.")]
    return [needed, Problem("it is not installed setuid, which would do without")]


def _singularity(program: Program, facts: Facts) -> Way:
    emulates = program.name.startswith("singularity-") and program.version >= (3, 11)
    fakeroot = not program.is_apptainer and program.version < (3, 3)
    against = [Problem("it is too old for --fakeroot, which came with Singularity 3.3")] if fakeroot else []
    if facts.no_ranges:
        against.append(
            Problem(
                facts.no_ranges,
                hint=f"As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {facts.user}",
            )
        )
    no_namespaces = facts.no_namespaces if facts.setuid else facts.no_own_namespaces
    if no_namespaces:
        against.append(
            Problem(
                "no user namespace can be made", why=no_namespaces, hint="The administrators can allow it."
            )
        )
    if not facts.newuidmap and not facts.setuid:
        against.append(
            Problem("there are no newuidmap and newgidmap on PATH", hint="Install uidmap (or shadow-utils).")
        )
    if not against:
        return Way(("--fakeroot",), "as an ordinary user: --fakeroot, with the ids of /etc/subuid")
    if emulates and facts.proot and (facts.setuid or not facts.no_own_namespaces):
        return Way((), "as an ordinary user: with proot, which emulates root")
    if emulates and not facts.proot:
        against.append(Problem("there is no proot on PATH, which would do too", hint="Install proot."))
    elif not emulates:
        against.append(
            Problem("it cannot build with proot", hint="Use Apptainer 1.1 or SingularityCE 3.11, or newer.")
        )
    raise _refusal(program, against)


def _refusal(program: Program, problems: list[Problem]) -> EngineError:
    return EngineError(
        f"{program} cannot build an image here as you",
        problems=problems,
        hint="The native engine needs none of this: leave --engine away. Or build where you may, in a copy "
        "of the recipe's folder.",
    )
