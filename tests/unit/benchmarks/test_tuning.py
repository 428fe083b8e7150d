"""Trees that differ in one thing, in order of an import; squashfuse programs; the report of a tuning run."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import first_opens, pyc_headers, squashfuse, tuning, tuning_report, variants
from benchmarks.contest import Absent, Row
from benchmarks.imports import ImportRow
from benchmarks.measure import Cost
from benchmarks.tuning_report import Image, Tuning
from benchmarks.variants import Variant
from envpack.formats.squashfs.options import DEFAULT
from tests.absent import absent


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A folder with a module, ``answer.py``, and its bytecode, linked to another tree as well."""
    source = tmp_path / "modules" / "answer.py"
    source.parent.mkdir()
    source.write_text("print('compiled')\n")
    pyc = py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert pyc
    os.link(pyc, tmp_path / "linked.pyc")
    return source


def imported(module: Path) -> str:
    """What python says of where it has the module's code from: that bytecode matches, or that it compiles."""
    command = [sys.executable, "-S", "-B", "-v", "-c", "import answer"]
    env = {"PYTHONPATH": str(module.parent)}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stderr
    return "\n".join(line for line in said.splitlines() if str(module) in line)


@pytest.mark.parametrize(("kind", "taken"), [("timestamp", True), ("checked-hash", True), ("stale", False)])
def test_bytecode_of_every_kind(kind: str, taken: bool, module: Path, tmp_path: Path) -> None:
    before = (tmp_path / "linked.pyc").read_bytes()
    assert pyc_headers.main(kind, str(module.parent)) == 1
    said = imported(module)
    assert ("code object from" in said, "matches" in said) == (not taken, taken)
    assert (tmp_path / "linked.pyc").read_bytes() == before


@pytest.mark.parametrize("kind", ["timestamp", "checked-hash"])
def test_bytecode_that_python_checks_is_not_taken_for_another_source(kind: str, module: Path) -> None:
    pyc_headers.main(kind, str(module.parent))
    module.write_text("print('this is longer')\n")
    assert "code object from" in imported(module)


def test_bytecode_of_another_python_or_without_a_source_stays(module: Path) -> None:
    folder = module.parent / "__pycache__"
    (pyc,) = folder.iterdir()
    shutil.copy(pyc, folder / pyc.name.replace("answer", "gone"))
    pyc.write_bytes(b"none" + pyc.read_bytes()[4:])
    assert pyc_headers.main("stale", str(module.parent)) == 0


def test_files_are_in_the_order_of_their_first_use(tmp_path: Path) -> None:
    for name in ("zebra", "apple"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / name)!r}).close()")
        (tmp_path / name).touch()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import zebra, _ctypes, apple, zebra"
    command = [sys.executable, "-B", first_opens.__file__, program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    opened = [Path(path) for path in json.loads(found.stdout)]
    own = [path.name for path in opened if path.parent == tmp_path]
    assert own == ["zebra.py", "zebra", "apple.py", "apple"]
    names = [path.name for path in opened]
    extension = next(n for n, name in enumerate(names) if name.startswith("_ctypes."))
    assert names.index("zebra") < extension < names.index("apple")
    assert any(name.startswith("libc.so") for name in names[:20])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What stripping looks for, and what it must leave."""
    library = "opt/env/lib/python3.11"
    files = [
        f"{library}/test/a", f"{library}/unittest/test/a", f"{library}/idlelib/idle_test/a",
        f"{library}/site-packages/one/tests/a", f"{library}/site-packages/one/part/tests/a",
        "opt/env/include/a.h", "opt/env/share/man/a.1", "opt/env/share/doc/a", "opt/env/lib/a.a",
        f"{library}/site-packages/one/test/kept", f"{library}/site-packages/one/testing/kept",
        f"{library}/site-packages/one/include/kept", "opt/env/share/data/kept", "usr/include/kept",
        f"{library}/__pycache__/a.pyc", "usr/lib/__pycache__/kept.pyc",
    ]  # fmt: skip
    for name in files:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text")
    return tmp_path / "tree"


def left(tree: Path) -> list[str]:
    return sorted({path.stem for path in tree.rglob("*") if path.is_file()})


def test_stripping_takes_what_it_says_and_no_more(tree: Path) -> None:
    files = variants.count(tree)
    variants.without_tests(tree)
    assert variants.count(tree) == files - 5
    variants.without_development(tree)
    assert variants.count(tree) == files - 9
    variants.without_bytecode(tree)
    assert left(tree) == ["kept"]


def test_symbols_are_stripped_from_a_copy(tree: Path) -> None:
    if not shutil.which("strip"):
        absent("there is no strip")
    library = tree / "opt/env/lib/libwith.so"
    shutil.copy(sys.executable, library)
    library.chmod(0o755)
    linked = tree.with_name("linked.so")
    os.link(library, linked)
    grafted = tree / "opt/env/lib/one.libs/libwith.so"
    grafted.parent.mkdir()
    os.link(library, grafted)
    broken = tree / "opt/env/lib/libbroken.so"
    broken.write_bytes(b"\x7fELF and no more")
    before, state = linked.read_bytes(), linked.stat()
    variants.without_symbols(tree, but=variants.GRAFTED)
    assert linked.read_bytes() == before
    assert library.stat().st_ino != state.st_ino
    assert (library.stat().st_mode, int(library.stat().st_mtime)) == (state.st_mode, int(state.st_mtime))
    assert library.read_bytes()[:4] == b"\x7fELF"
    assert grafted.stat().st_ino == state.st_ino
    assert broken.read_bytes() == b"\x7fELF and no more"
    assert not list(tree.rglob("*.new"))


@pytest.mark.engines
def test_a_variant_is_built_of_a_copy_which_is_gone(tree: Path, tmp_path: Path) -> None:
    output, files = tmp_path / "a.image", variants.count(tree)
    assert variants.build(Variant("a", "a", variants.without_tests), tree, output) == files - 5
    assert variants.count(tree) == files
    listed = subprocess.run(["unsquashfs", "-l", output], capture_output=True, text=True, check=True).stdout
    assert "opt/env/include/a.h" in listed
    assert "/tests" not in listed
    assert not (tmp_path / "variant").exists()


@pytest.mark.engines
@pytest.mark.parametrize(("sign", "order"), [(1, "bca"), (-1, "acb")])
def test_files_are_written_in_the_order_of_the_import(sign: int, order: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abc":
        (tree / name).write_bytes(name.encode() * 100)
    listed = tmp_path / "order"
    listed.write_text("".join(variants._priorities([tree / "b", tree / "gone", tree / "c"], sign)))
    options = Variant("a", "a", options=lambda _: ["-sort", listed, "-noD", "-noF", "-noI"])
    variants.build(options, tree, tmp_path / "a.image")
    data = (tmp_path / "a.image").read_bytes()
    assert "".join(sorted("abc", key=lambda name: data.index(name.encode() * 100))) == order


def program(folder: Path, version: str) -> str:
    """A stand-in for squashfuse that says its version, as the real one with another exit code than 0."""
    path = folder / f"squashfuse-{version}"
    path.write_text(f"#!/bin/sh\necho 'FUSE options:'; echo 'squashfuse {version} (c) 2012' >&2; exit 254\n")
    path.chmod(0o755)
    return str(path)


def test_squashfuse_that_is_named_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = program(tmp_path, "0.1.104")
    Path(system).rename(tmp_path / "squashfuse_ll")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("ENVPACK_TEST_APPTAINER", "none")
    monkeypatch.delenv(squashfuse.VARIABLE, raising=False)
    assert [(p.version, p.origin) for p in squashfuse.programs()] == [("0.1.104", "the system's")]
    named = f"{program(tmp_path, '0.5.2')} --option 'a b'; {program(tmp_path, '0.1.104')}"
    monkeypatch.setenv(squashfuse.VARIABLE, named)
    first, second = squashfuse.programs()
    assert first.command == (str(tmp_path / "squashfuse-0.5.2"), "--option", "a b")
    assert second.command == (str(tmp_path / "squashfuse-0.1.104"),)
    monkeypatch.setenv(squashfuse.VARIABLE, "true")
    with pytest.raises(ValueError, match=squashfuse.VARIABLE):
        squashfuse.programs()


def test_apptainers_own_squashfuse_goes_before_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    libexec = tmp_path / "libexec" / "apptainer" / "bin"
    libexec.mkdir(parents=True)
    Path(program(libexec, "0.5.2")).rename(libexec / "squashfuse_ll")
    apptainer = tmp_path / "apptainer"
    apptainer.write_text(f"#!/bin/sh\necho BINDIR=/usr/bin\necho LIBEXECDIR={tmp_path}/libexec\n")
    apptainer.chmod(0o755)
    monkeypatch.setenv("ENVPACK_TEST_APPTAINER", str(apptainer))
    monkeypatch.delenv(squashfuse.VARIABLE, raising=False)
    assert squashfuse.programs()[0].command == (str(libexec / "squashfuse_ll"),)
    # Paths of a wrapper are those of another system.
    monkeypatch.setenv("ENVPACK_TEST_APPTAINER", f"{apptainer} --")
    assert str(libexec / "squashfuse_ll") not in {p.command[0] for p in squashfuse.programs()}


def test_report_has_every_image_through_every_way() -> None:
    cost = Row("zstd-3-256", "zstd 3", costs=[Cost(4.0, 6.0, 100 << 20, 3)], sizes=[170_000_000])
    rows = {
        "folder": ImportRow("folder", "folder", [0.6], [0.4]),
        **{f"{key}/{way}": ImportRow(key, key, [cold * factor], [0.5])
           for key, cold in (("zstd-3-256", 0.9), ("tree", 1.2), ("stale", 3.6))
           for way, factor in (("squashfuse 0.5.2", 1.0), ("kernel", 0.5))},
    }  # fmt: skip
    images = [Image("tree", "the tree", 100_000_000, 1000), Image("stale", "stale", 90_000_000, 1000)]
    said = "it failed: Traceback\nImportError: ELF\nand more\nImportError: because of that\n"
    found = Tuning(
        date="2026-01-01", seconds=60, rounds=1, machine={"kernel": "Linux"},
        ways=["squashfuse 0.5.2", "kernel"],
        grid=[Image("zstd-3-256", "zstd 3", 170_000_000, default=True, cost=cost, block=256)],
        tables={
            "bytecode": images,
            "stripping": [images[0], Image("gone", "gone", 1, 1), Image("bad", "bad", 2, 1)],
        },
        imports=rows, absent=[
            Absent("strip", "there is no strip"),
            *(Absent("from bad", said, f"bad/{way}") for way in ("squashfuse 0.5.2", "kernel")),
        ],
    )  # fmt: skip
    text = "\n".join(tuning_report.report(found))
    assert "| **zstd 3** | 256 | 4.0 | 6.0 | 100 | 170.0 | 0.90 | 1.50 | 0.50 | 0.45 | 0.75 | 0.50 |" in text
    assert "| the tree | 100.0 | 1,000 | 1.20 | 2.00 | 0.50 | 0.60 | 1.00 | 0.50 |" in text
    assert "| gone | 0.0 | 1 | – | – | – | – | – | – |" in text  # noqa: RUF001 as printed
    assert "- stale: 0.900 ×, 3.00 ×" in text  # noqa: RUF001 as printed
    assert "| bad | 0.0 | 1 | fails | fails | fails | fails | fails | fails |" in text
    assert "- bad: 0.000 ×, the import fails: ImportError: ELF" in text  # noqa: RUF001 as printed
    assert "- strip: there is no strip" in text
    assert "from bad" not in text
    assert not found.failures
    assert replace(found, absent=[Absent("tree", "it failed: x", "tree/kernel")]).failures


def test_every_variant_is_in_one_table_with_a_title_of_its_own() -> None:
    every = [variant for _, table in tuning.TABLES.values() for variant in table]
    assert len({variant.key for variant in every}) == len({variant.title for variant in every}) == len(every)
    assert set(tuning.QUICK_VARIANTS) <= {variants.AS_IT_IS.key, *(variant.key for variant in every)}
    assert tuning_report.ABOUT.keys() == tuning_report.HEADINGS.keys() == tuning.TABLES.keys()
    assert DEFAULT in tuning.GRID
