import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from envpack.entry import Entry, Kind, directory, file, symlink
from envpack.errors import IntegrityError, OutputError
from envpack.namespace.unpacked import write_entries
from envpack.progress import Quiet
from envpack.run.image_file import ImageFile
from envpack.run.unpacked import unpack
from tests.unit.run import small_image


def unpacked(entries: list[Entry], folder: Path) -> int:
    return sum(write_entries(entries, folder))


def test_an_image_comes_back_as_it_went_in(squashfs: Path, tmp_path: Path) -> None:
    unpack(ImageFile(squashfs, 0), tmp_path / "out", Quiet())
    for entry in small_image.entries():
        path = tmp_path / "out" / entry.path
        if entry.kind is Kind.FILE:
            assert path.read_bytes() == b"".join(entry.chunks)
            assert path.stat().st_mode & 0o777 == entry.mode
        elif entry.kind is Kind.SYMLINK:
            assert str(path.readlink()) == entry.target
        else:
            assert path.is_dir()


def test_links_modes_and_special_files(tmp_path: Path) -> None:
    entries = [
        directory("d", 0o500),
        file("d/f", b"data", 0o4755),
        Entry("d/g", Kind.HARDLINK, 0o755, target="d/f"),
        Entry("d/pipe", Kind.FIFO, 0o644),
        Entry("d/null", Kind.CHARACTER_DEVICE, 0o666, device=(1, 3)),
    ]
    assert unpacked(entries, tmp_path / "out") == 4
    assert sorted(path.name for path in (tmp_path / "out/d").iterdir()) == ["f", "g"]
    assert (tmp_path / "out/d/f").samefile(tmp_path / "out/d/g")
    assert (tmp_path / "out/d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out/d/f").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    "attack",
    [
        lambda outside: [file("../escaped", b"x")],
        lambda outside: [file("/escaped", b"x")],
        lambda outside: [symlink("d", str(outside)), file("d/escaped", b"x")],
        lambda outside: [symlink("d", str(outside)), directory("d"), file("d/escaped", b"x")],
        lambda outside: [symlink("escaped", str(outside / "escaped")), file("escaped", b"x")],
        lambda outside: [file("a/b", b"x")],
        lambda outside: [file("a", b"x"), file("a", b"y")],
        lambda outside: [Entry("a", Kind.HARDLINK, 0o644, target="../outside/there")],
        lambda outside: [Entry("a", Kind.HARDLINK, 0o644, target=str(outside / "there"))],
        lambda outside: [symlink("d", str(outside)), Entry("a", Kind.HARDLINK, 0o644, target="d/there")],
    ],
)
def test_nothing_is_written_or_taken_from_outside(
    tmp_path: Path, attack: Callable[[Path], list[Entry]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_text("the host's")
    with pytest.raises(IntegrityError):
        unpacked(attack(outside), tmp_path / "out")
    assert [path.name for path in outside.iterdir()] == ["there"]
    assert (outside / "there").stat().st_nlink == 1


def test_a_disk_that_is_too_small(squashfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000))
    with pytest.raises(OutputError, match="too small") as caught:
        unpack(ImageFile(squashfs, 0), tmp_path / "out", Quiet())
    assert "TMPDIR" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot unpack"):
        unpacked([file("a", b"x")], tmp_path / "missing" / "out")


def test_a_damaged_image(squashfs: Path, tmp_path: Path) -> None:
    data = bytearray(squashfs.read_bytes())
    data[5000:6000] = bytes(1000)
    (tmp_path / "bad.sqfs").write_bytes(data)
    with pytest.raises(IntegrityError):
        unpack(ImageFile(tmp_path / "bad.sqfs", 0), tmp_path / "out", Quiet())


def test_unsafe_paths_do_not_depend_on_kind(tmp_path: Path) -> None:
    for entry in (directory("x"), symlink("x", "y"), Entry("x", Kind.HARDLINK, 0o644, target="y")):
        with pytest.raises(IntegrityError):
            unpacked([replace(entry, path="../x")], tmp_path / "out")
        (tmp_path / "out").rmdir()
