"""Environments read out of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envpack.entry import Entry, directory, file, symlink
from envpack.errors import EnvpackError, IntegrityError, SourceError
from envpack.ledger import Action, Ledger
from envpack.pipeline.image_tree import is_image, opened
from envpack.sources import from_image
from envpack.spec import EnvSpec
from tests.unit.run.small_image import HOST, as_sif, write_squashfs

SITE = "lib/python3.11/site-packages"


def environment(prefix: str) -> dict[str, bytes]:
    """The files of an environment of python, and of rich by pip."""
    record = {"name": "python", "version": "3.11.7", "build": "h_0", "subdir": "linux-64", "channel": "c"}
    metadata = b"Metadata-Version: 2.1\nName: rich\nVersion: 13.9.4\n"
    return {
        f"{prefix}/conda-meta/python-3.11.7-h_0.json": json.dumps(record).encode(),
        f"{prefix}/{SITE}/rich-13.9.4.dist-info/METADATA": metadata,
    }


def image(path: Path, files: dict[str, bytes], *links: Entry) -> Path:
    """A SIF file, or with another suffix than .sif a bare squashfs."""
    found = {name: file(name, data) for name, data in files.items()} | {link.path: link for link in links}
    parents = {str(parent) for name in found for parent in Path(name).parents if str(parent) != "."}
    found |= {name: directory(name) for name in parents - set(found)}
    squashfs = write_squashfs([found[name] for name in sorted(found)], path.with_suffix(".squashfs"))
    return as_sif(squashfs, path, HOST.sif_architecture) if path.suffix == ".sif" else squashfs


def spec_of(path: Path, place: str | None = None) -> tuple[EnvSpec, Ledger]:
    ledger = Ledger()
    with opened(path, path.name) as tree:
        return from_image(tree, shown=path.name, place=place, ledger=ledger), ledger


@pytest.mark.parametrize("name", ["work.sif", "work.squashfs"])
def test_an_environment_in_an_image(tmp_path: Path, name: str) -> None:
    labels = {"org.envpack.prefix": "/opt/mine", "org.opencontainers.image.title": "titled"}
    files = {**environment("srv/mine"), ".singularity.d/labels.json": json.dumps(labels).encode()}
    spec, ledger = spec_of(image(tmp_path / name, files, symlink("opt", "/srv")))
    assert (spec.name, spec.channels, spec.exported_from) == ("titled", ("c",), "linux-64")
    assert [r.text for r in spec.conda] == ["python ==3.11.7 h_0"]
    assert [r.text for r in spec.pip] == ["rich==13.9.4"]
    assert str(spec.conda[0].where) == f"{name}/opt/mine/conda-meta/python-3.11.7-h_0.json"
    assert [f.action for f in ledger] == [Action.DROPPED]


def test_a_place_that_is_named(tmp_path: Path) -> None:
    path = image(tmp_path / "my work.sif", {**environment("opt/env"), **environment("data/other")})
    spec, _ = spec_of(path, "/data/other")
    assert "/data/other/" in str(spec.conda[0].where)
    assert spec.name == "my-work"
    with pytest.raises(SourceError, match="no environment at /data in"):
        spec_of(path, "data")
    with pytest.raises(SourceError, match="no environment at"):
        spec_of(path, "../data")


def test_an_image_without_an_environment(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no environment in the image x\.sif") as caught:
        spec_of(image(tmp_path / "x.sif", {"etc/passwd": b""}))
    assert "/opt/conda" in (caught.value.why or "")


def test_what_is_no_file_in_it(tmp_path: Path) -> None:
    files = environment("opt/env")
    odd = "opt/env/conda-meta/"
    links = [symlink(f"{odd}a.json", "a.json"), symlink(f"{odd}b.json", "/etc"), directory(f"{odd}c.json")]
    with pytest.raises(SourceError) as caught:
        spec_of(image(tmp_path / "x.sif", files | {"etc/x": b""}, *links))
    assert [Path(str(p.where)).name for p in caught.value.problems] == ["a.json", "b.json", "c.json"]


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.sif").write_text("no image")
    assert not is_image(tmp_path / "x.sif")
    assert not is_image(tmp_path)
    for name in ("x.sif", "absent.sif", "."):
        with pytest.raises(SourceError, match="is not an image"):
            spec_of(tmp_path / name)


def test_an_image_that_is_damaged(tmp_path: Path) -> None:
    path = image(tmp_path / "x.sif", environment("opt/env"))
    assert is_image(path)
    data = path.read_bytes()
    for end in (data.index(b"hsqs") + 200, 1000, 50):
        path.write_bytes(data[:end])
        with pytest.raises(EnvpackError) as caught:
            spec_of(path)
        assert isinstance(caught.value, IntegrityError)
