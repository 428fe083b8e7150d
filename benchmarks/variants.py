"""Images that mksquashfs makes of the unpacked tree, each with one thing done otherwise.

Trees are copied as hard links, so files in them are removed or replaced, never written to.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import first_opens, imports, pyc_headers
from benchmarks.measure import CommandFailed, call
from benchmarks.peers import mksquashfs
from envpack.formats.squashfs.options import DEFAULT

ENV = Path("opt/env")
# Names of folders of tests, in packages and in the standard library.
TESTS = ("tests",)
STANDARD_TESTS = ("test", "tests", "idle_test")
# Wheels have libraries of others in such folders, edited in a way that not every strip understands.
GRAFTED = ".libs"


@dataclass(frozen=True)
class Variant:
    """``change`` is done to a copy of the tree, ``options`` are more of mksquashfs's for the tree; ``needs``
    is a program.
    """

    key: str
    title: str
    change: Callable[[Path], None] | None = None
    options: Callable[[Path], Sequence[str | Path]] | None = None
    needs: str = "mksquashfs"


def build(variant: Variant, tree: Path, output: Path) -> int:
    """Make the image; gives how many files it has. Raises :class:`CommandFailed` and ``OSError``."""
    packed = tree
    try:
        if variant.change:
            packed = tree.with_name("variant")
            call("cp", "--archive", "--link", tree, packed)
            variant.change(packed)
        more = variant.options(packed) if variant.options else []
        output.unlink(missing_ok=True)
        call(*mksquashfs(packed, output, DEFAULT), *more)
        return count(packed)
    finally:
        if packed != tree:
            shutil.rmtree(packed, ignore_errors=True)


def count(tree: Path) -> int:
    """How many files a tree has, folders not included."""
    return sum(len(files) for _, _, files in os.walk(tree))


def with_headers(kind: str, tree: Path) -> None:
    """Bytecode of another kind: see :mod:`benchmarks.pyc_headers`."""
    said = _python(tree, pyc_headers.__file__, kind, f"/{ENV}")
    if int(said) == 0:
        raise CommandFailed("there is no bytecode in the tree")


def without_bytecode(tree: Path) -> None:
    for folder in list((tree / ENV).rglob("__pycache__")):
        shutil.rmtree(folder)


def without_tests(tree: Path) -> None:
    for library in (tree / ENV / "lib").glob("python3.*"):
        packages = library / "site-packages"
        for top, folders, _ in os.walk(library):
            names = TESTS if packages in (Path(top), *Path(top).parents) else STANDARD_TESTS
            for name in [name for name in folders if name in names]:
                folders.remove(name)
                _remove(Path(top, name))


def without_development(tree: Path) -> None:
    """Without what compilers, linkers and readers of manuals want."""
    for name in ("include", "man", "share/man", "share/doc"):
        _remove(tree / ENV / name)
    for path in list((tree / ENV).rglob("*.a")):
        path.unlink()


def without_symbols(tree: Path, *, but: str = "") -> None:
    """Strip libraries and programs; ``but`` is how folders end in which they stay as they are."""
    for path in list((tree / ENV).rglob("*")):
        if path.is_symlink() or not path.is_file() or (but and path.parent.name.endswith(but)):
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        new = path.with_name(f"{path.name}.new")
        try:
            call("strip", "--strip-unneeded", "--preserve-dates", "-o", new, path)
        except CommandFailed:  # of another machine, or no library: it stays as it is
            new.unlink(missing_ok=True)
            continue
        shutil.copymode(path, new)
        new.replace(path)


def without_all(tree: Path) -> None:
    without_tests(tree)
    without_development(tree)
    without_symbols(tree, but=GRAFTED)


def by_import(sign: int, tree: Path) -> list[str | Path]:
    """Options for the order of the import's first opens (``sign`` 1), or its reverse behind all else (-1)."""
    opened = json.loads(_python(tree, first_opens.__file__, imports.PROGRAM))
    list_ = tree.with_name("order")
    list_.write_text("".join(_priorities((tree / path.lstrip("/") for path in opened), sign)))
    return ["-sort", list_]


def _priorities(files: Iterable[Path], sign: int) -> Iterable[str]:
    # 0 is that of all other files, the highest comes first.
    for position, path in enumerate(path for path in files if path.is_file()):
        if len(str(path).split()) == 1:  # mksquashfs splits lines at spaces
            yield f"{path} {sign * (32767 - position)}\n"


def _python(tree: Path, program: str, *arguments: str) -> str:
    """Run one of our modules in the tree's python."""
    return imports.inside(tree, imports.PYTHON, "-B", "-c", Path(program).read_text(), *arguments)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


AS_IT_IS = Variant("tree", "as it is")
BYTECODE = [
    Variant("checked-hash", "checked-hash bytecode", partial(with_headers, "checked-hash")),
    Variant("timestamp", "bytecode with dates, which are right", partial(with_headers, "timestamp")),
    Variant("stale", "bytecode with dates, stale by clamped ones", partial(with_headers, "stale")),
    Variant("no-bytecode", "no bytecode", without_bytecode),
]
STRIPPING = [
    Variant("no-tests", "without folders of tests", without_tests),
    Variant("no-development", "without static libraries, headers, manuals", without_development),
    Variant("no-symbols", "libraries and programs stripped", without_symbols, needs="strip"),
    Variant(
        "fewer-symbols", f"stripped but for *{GRAFTED}", partial(without_symbols, but=GRAFTED), needs="strip"
    ),
    Variant("no-all", "all of these that work", without_all, needs="strip"),
]
ORDER = [
    Variant("imported-first", "in order of the import", options=partial(by_import, 1)),
    Variant("imported-last", "in reverse, the import's files last", options=partial(by_import, -1)),
]
FRAGMENTS = [
    Variant("no-fragments", "-no-fragments", options=lambda _: ["-no-fragments"]),
    Variant("tail-ends", "-always-use-fragments", options=lambda _: ["-always-use-fragments"]),
]
