import tarfile
from pathlib import Path

import pytest

from envpack.errors import EngineError, IntegrityError
from envpack.run.image_file import open_image
from tests.unit.run import small_image


def test_where_the_file_system_begins(image: Path, squashfs: Path) -> None:
    assert open_image(squashfs).offset == 0
    opened = open_image(image)
    assert image.read_bytes()[opened.offset :] == squashfs.read_bytes()


def test_links_are_followed(image: Path, tmp_path: Path) -> None:
    (tmp_path / "link.sif").symlink_to(image)
    assert open_image(tmp_path / "link.sif").path == image


def test_an_image_for_another_architecture(squashfs: Path, tmp_path: Path) -> None:
    foreign = small_image.as_sif(squashfs, tmp_path / "x.sif", small_image.OTHER.sif_architecture)
    with pytest.raises(EngineError, match=small_image.OTHER.subdir):
        open_image(foreign)
    unknown = small_image.as_sif(squashfs, tmp_path / "y.sif", "12")
    with pytest.raises(EngineError, match="number 12"):
        open_image(unknown)


@pytest.mark.parametrize("content", [b"", b"hsq", b"#!/bin/sh\necho no image\n" * 10])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.sif").write_bytes(content)
    with pytest.raises(EngineError, match="is not an image"):
        open_image(tmp_path / "x.sif")


def test_an_archive_for_docker(tmp_path: Path) -> None:
    """How it is run is said."""
    with tarfile.open(tmp_path / "x.oci.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("oci-layout"))
    with pytest.raises(EngineError, match="not an image that runs here") as raised:
        open_image(tmp_path / "x.oci.tar")
    assert "docker load -i" in (raised.value.hint or "")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no image"):
        open_image(tmp_path / "none.sif")
    with pytest.raises(EngineError, match="cannot read"):
        open_image(tmp_path)


def test_an_image_cut_short(image: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.sif").write_bytes(image.read_bytes()[:100_000])
    with pytest.raises(IntegrityError):
        open_image(tmp_path / "cut.sif")
