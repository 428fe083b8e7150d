"""The build context: the same files give the same bytes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from envpack.engines.docker import context
from envpack.errors import EngineError

EPOCH = 1_700_000_000


def made(folder: Path, mode: int, order: str) -> Path:
    (folder / "files").mkdir(parents=True)
    for name in order:
        path = folder / "files" / name
        path.write_text(name)
        path.chmod(mode)
        os.utime(path, (mode, mode))
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "link").symlink_to("files/a")
    script = folder / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    return folder


def test_it_depends_on_names_contents_and_who_may_run_them(tmp_path: Path) -> None:
    first = b"".join(context.archive(made(tmp_path / "one", 0o600, "ab"), EPOCH))
    second = b"".join(context.archive(made(tmp_path / "two", 0o664, "ba"), EPOCH))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == ["Dockerfile", "files", "files/a", "files/b", "link", "run.sh"]
        assert {(m.uid, m.gid, m.uname, m.mtime) for m in members} == {(0, 0, "", EPOCH)}
        assert [oct(m.mode) for m in members if m.isfile()] == ["0o644", "0o644", "0o644", "0o755"]
        assert tar.getmember("link").linkname == "files/a"
        file = tar.extractfile("files/b")
        assert file is not None
        assert file.read() == b"b"


def test_it_is_read_when_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(5 << 20))
    pieces = list(context.archive(tmp_path, EPOCH))
    assert max(map(len, pieces)) <= 1 << 20


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot read the recipe in") as caught:
        list(context.archive(tmp_path / "gone", EPOCH))
    assert "No such file" in str(caught.value.why)
