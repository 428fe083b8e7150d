"""Bytecode that scripts leave behind, or make stale: python would trust it, or compile at each import."""

from __future__ import annotations

from envpack.engines.native.link_scripts import without_stale_bytecode
from envpack.entry import Entry, Kind, file, whiteout

CACHE = "opt/env/lib/p/__pycache__"
PRESENT = [f"{CACHE}/{name}.cpython-311{level}.pyc" for name in ("a", "b") for level in (".opt-1", "")]
BY_DATE, BY_HASH = bytes(4), b"\1\0\0\0"


def pyc(name: str, flags: bytes) -> Entry:
    return file(f"{CACHE}/{name}.cpython-311.pyc", b"\xa7\r\r\n" + flags + bytes(8) + b"code")


def kept(*entries: Entry) -> list[Entry]:
    return list(without_stale_bytecode(entries, lambda: PRESENT))


def test_bytecode_of_a_changed_or_removed_source_goes() -> None:
    changed, removed = file("opt/env/lib/p/a.py", b"x = 1\n"), whiteout("opt/env/lib/p/b.py")
    assert kept(changed) == [whiteout(path) for path in PRESENT[:2]] + [changed]
    assert kept(removed) == [whiteout(path) for path in PRESENT[2:]] + [removed]


def test_bytecode_by_date_is_left_out_and_what_links_to_it() -> None:
    by_date = pyc("c", BY_DATE)
    link = Entry(f"{CACHE}/d.cpython-311.pyc", Kind.HARDLINK, 0o644, target=by_date.path)
    assert kept(by_date, link) == []


def test_bytecode_by_hash_and_of_no_python_stays() -> None:
    by_hash, gone = pyc("a", BY_HASH), whiteout(PRESENT[3])
    other = file("opt/env/share/x.pyc", bytes(16))
    source = file("opt/env/lib/p/a.py", b"")
    assert kept(by_hash, gone, other) == [by_hash, gone, other]
    # The new one comes after what ends the old one.
    assert kept(source, by_hash) == [*(whiteout(path) for path in PRESENT[:2]), source, by_hash]
