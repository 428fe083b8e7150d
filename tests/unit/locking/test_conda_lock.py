"""conda-lock: its functions that are replaced, its hash, its file."""

from __future__ import annotations

import inspect
import json
import tempfile
from pathlib import Path

import pytest
from conda_lock import conda_lock as front
from conda_lock import conda_solver as back
from conda_lock.content_hash import compute_content_hashes
from conda_lock.src_parser import make_lock_spec
from conda_lock.virtual_package import default_virtual_package_repodata

from envpack import sources
from envpack.errors import SolveError
from envpack.ledger import Ledger
from envpack.locking import conda_lock
from envpack.locking.solver import CondaRecord
from envpack.spec import EnvSpec, PipOptions, Requirement


def record(name: str, *depends: str, md5: str | None = "0" * 32) -> CondaRecord:
    url = f"https://host/noarch/{name}-1-0.conda"
    return CondaRecord(name, "1", "0", url, md5, "1" * 64, 1, 1, depends)


def test_the_replaced_functions_are_where_they_are_looked_for() -> None:
    """conda-lock may rename them; then this fails, and not a lock silently made by another solver."""
    conda = inspect.signature(back.solve_specs_for_arch).parameters
    assert list(conda) == ["conda", "channels", "specs", "platform"]
    pip = inspect.signature(front.solve_pypi).parameters
    assert {"platform", "pip_specs", "conda_locked"} <= set(pip)
    assert "solve_specs_for_arch(" in inspect.getsource(back.solve_conda)
    assert "solve_pypi(" in inspect.getsource(front._solve_for_arch)


def test_the_functions_are_back_afterwards_even_on_errors() -> None:
    before = back.solve_specs_for_arch, front.solve_pypi
    spec = EnvSpec("x", ("c",), (Requirement("a"),))

    def fails(_: str) -> tuple[CondaRecord, ...]:
        assert back.solve_specs_for_arch is not before[0]
        raise SolveError("no")

    with pytest.raises(SolveError, match="no"):
        conda_lock.make_lock(spec, ["linux-64"], fails, lambda _: ())
    assert (back.solve_specs_for_arch, front.solve_pypi) == before


FILE = """\
name: x
channels: [conda-forge, nodefaults, https://host/c]
dependencies:
- python=3.11
- numpy >=1.26,<3
- scipy 1.11.*
- conda-forge::gdal=3.8=py311*
- h5py=3.9.0=nompi_py311h1
- numpy <2
- pip:
  - Rich>=13,<14
  - uvicorn[standard]~=0.20
  - pywin32; sys_platform == "win32"
"""


@pytest.mark.parametrize("text", [FILE, FILE.partition("- pip:")[0]], ids=["pip", "conda"])
def test_the_hash_is_the_one_conda_lock_checks(tmp_path: Path, text: str) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(text, "utf-8")
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"pip": {"conda_name": "pip", "pypi_name": "pip"}}), "utf-8")
    platforms = ["linux-64", "linux-aarch64"]
    theirs = make_lock_spec(src_files=[path], platform_overrides=platforms, mapping_url=str(mapping))
    spec = sources.read(None, directory=tmp_path, ledger=Ledger())
    assert conda_lock.content_hash(spec, platforms) == compute_content_hashes(
        theirs, default_virtual_package_repodata()
    )


def test_the_hash_follows_everything_that_is_asked() -> None:
    base = EnvSpec("x", ("c",), (Requirement("a"),), (Requirement("b"),))
    others = [
        EnvSpec("x", ("d",), base.conda, base.pip),
        EnvSpec("x", ("c",), (Requirement("a=1"),), base.pip),
        EnvSpec("x", ("c",), base.conda, (Requirement("b==1"),)),
        EnvSpec("x", ("c",), base.conda),
        EnvSpec("x", ("c",), base.conda, base.pip, PipOptions(pre=True)),
    ]
    hashes = {conda_lock.content_hash(spec, ["linux-64"])["linux-64"] for spec in [base, *others]}
    assert len(hashes) == 6


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    conda_lock.content_hash(EnvSpec("x", ("c",), (Requirement("a"),)), ["linux-64"])
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_md5_is_written_down() -> None:
    spec = EnvSpec("x", ("c",), (Requirement("a"),))
    lock = conda_lock.make_lock(spec, ["linux-64"], lambda _: (record("a", md5=None),), lambda _: ())
    text = conda_lock.render(lock, Path("/x/x.conda-lock.yml"), [], {}).decode()
    assert "md5: ''" in text
    assert f"sha256: '{'1' * 64}'" in text


def test_what_conda_lock_cannot_write_down_is_an_error() -> None:
    spec = EnvSpec("x", ("c",), (Requirement("a"),))
    with pytest.raises(SolveError, match="cannot write down"):
        conda_lock.make_lock(spec, ["linux-64"], lambda _: (record("a", "not-there"),), lambda _: ())


def test_what_was_left_out_is_in_the_hash_and_not_in_the_lock() -> None:
    spec = EnvSpec("x", ("c",), (Requirement("a"), Requirement("libcxx")), (Requirement("b"),))
    records = (record("a"), record("python"), record("pip"))
    lock = conda_lock.make_lock(spec, ["linux-64"], lambda _: records, lambda _: ())
    assert {p.name for p in lock.package} == {"a", "python", "pip"}
    assert lock.metadata.content_hash == conda_lock.content_hash(spec, ["linux-64"])


def test_requirements_that_conda_lock_cannot_read_are_named_together() -> None:
    spec = EnvSpec("x", ("c",), (Requirement("a ==1=2=3"),), (Requirement("a==$(touch /tmp/x)"),))
    with pytest.raises(SolveError) as caught:
        conda_lock.content_hash(spec, ["linux-64"])
    assert len(caught.value.problems) == 2
