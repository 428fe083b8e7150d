"""What there is on a machine to build with."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from envpack.engines.apptainer.facts import Program, find_program, gather, parse_version
from envpack.errors import EngineError

USER = pwd.getpwuid(os.getuid()).pw_name
UID = os.getuid()


@pytest.mark.parametrize(
    ("said", "name", "version"),
    [
        ("apptainer version 1.4.5", "apptainer", (1, 4, 5)),
        ("apptainer version 1.3.0-rc.2+1-g12ab", "apptainer", (1, 3, 0)),
        ("singularity-ce version 4.1.0-jammy", "singularity-ce", (4, 1, 0)),
        ("singularity version 3.8.7-1.el8", "singularity", (3, 8, 7)),
        ("SingularityPRO version 3.9-8.el7", "singularitypro", (3, 9)),
        ("2.6.1-dist", "singularity", (2, 6, 1)),
        ("WARNING: whatever\napptainer version 1.4.5", "apptainer", (1, 4, 5)),
    ],
)
def test_versions(said: str, name: str, version: tuple[int, ...]) -> None:
    path = Path("/usr/bin/x")
    assert parse_version(path, said) == Program(path, name, version)


def test_no_version() -> None:
    assert parse_version(Path("x"), "usage: x") is None


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_the_program(programs: Path) -> None:
    with pytest.raises(EngineError, match="no apptainer and no singularity"):
        find_program()
    script(programs / "singularity", "echo singularity-ce version 4.1.0")
    assert str(find_program()) == "singularity-ce 4.1.0"
    script(programs / "apptainer", "echo apptainer version 1.4.5")
    assert find_program().path == programs / "apptainer"
    script(programs / "apptainer", "echo apptainer: libseccomp.so.2 is missing >&2; exit 127")
    with pytest.raises(EngineError, match="does not work") as caught:
        find_program()
    assert "libseccomp" in (caught.value.why or "")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine on which all is well."""
    root = tmp_path / "machine"
    for name, text in {
        "etc/subuid": f"root:1:65536\n{USER}:100000:65536\n",
        "etc/subgid": f"{UID}:100000:65536\n",
        "proc/self/ns/user": "",
        "proc/sys/user/max_user_namespaces": "96364\n",
        "proc/sys/kernel/unprivileged_userns_clone": "1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_all_is_well(programs: Path, machine: Path) -> None:
    for name in ("newuidmap", "newgidmap", "fakeroot", "proot"):
        script(programs / name, "")
    script(programs / "apptainer", 'echo "$1"; echo APPTAINER_SUID_INSTALL=1')
    facts = gather(Program(programs / "apptainer", "apptainer", (1, 4, 5)), machine)
    assert (facts.root, facts.user) == (UID == 0, USER)
    assert facts.listed
    assert facts.setuid
    assert facts.newuidmap
    assert facts.fakeroot
    assert facts.proot
    assert facts.glibc is None or facts.glibc >= (2, 17)
    assert (facts.no_ranges, facts.no_namespaces, facts.no_own_namespaces) == (None, None, None)


def test_nothing_is_there(programs: Path, tmp_path: Path) -> None:
    script(programs / "apptainer", "echo APPTAINER_SUID_INSTALL=0")
    script(programs / "newuidmap", "")  # alone it is not enough
    facts = gather(Program(programs / "apptainer", "apptainer", (1, 4, 5)), tmp_path)
    assert not any((facts.listed, facts.setuid, facts.newuidmap, facts.fakeroot, facts.proot))
    assert facts.no_ranges == f"/etc/subuid has no line for {USER} and /etc/subgid has no line for {USER}"
    assert facts.no_own_namespaces == facts.no_namespaces == "the kernel has no user namespaces"


APPARMOR = "proc/sys/kernel/apparmor_restrict_unprivileged_userns"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/subuid": f"!{USER}:100000:65536\n"}, (False, f"/etc/subuid has no line for {USER}", None)),
        (
            {"etc/subuid": f"{USER}:1000:10\n"},
            (True, f"/etc/subuid has fewer than 65536 ids for {USER}", None),
        ),
        ({"etc/subuid": f"{USER}:1:10\n{USER}:9:70000\n"}, (True, None, None)),
        ({"etc/subuid": f"{USER}\n"}, (True, f"/etc/subuid has fewer than 65536 ids for {USER}", None)),
        ({"etc/subgid": "\n"}, (True, f"/etc/subgid has no line for {USER}", None)),
        ({"etc/subgid": "", "etc/subuid": "", "etc/nsswitch.conf": "subid: sss\n"}, (True, None, None)),
        (
            {"proc/sys/kernel/unprivileged_userns_clone": "0\n"},
            (True, None, "kernel.unprivileged_userns_clone is 0"),
        ),
        (
            {APPARMOR: "1\n", "etc/apparmor.d/runc": ""},
            (
                True,
                None,
                "kernel.apparmor_restrict_unprivileged_userns is 1 "
                "and /etc/apparmor.d has no profile of apptainer",
            ),
        ),
        ({APPARMOR: "1\n", "etc/apparmor.d/apptainer": ""}, (True, None, None)),
        ({APPARMOR: "0\n"}, (True, None, None)),
    ],
)
def test_what_is_amiss(
    programs: Path, machine: Path, files: dict[str, str], expected: tuple[bool, str | None, str | None]
) -> None:
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)
    facts = gather(Program(programs / "apptainer", "apptainer", (1, 4, 5)), machine)
    assert (facts.listed, facts.no_ranges, facts.no_own_namespaces) == expected
    assert facts.no_namespaces is None


def test_no_namespaces_for_anyone(programs: Path, machine: Path) -> None:
    (machine / "proc/sys/user/max_user_namespaces").write_text("0\n")
    facts = gather(Program(programs / "apptainer", "apptainer", (1, 4, 5)), machine)
    assert facts.no_namespaces == "user.max_user_namespaces is 0"
    assert replace(facts, no_namespaces=None).no_own_namespaces == "user.max_user_namespaces is 0"
