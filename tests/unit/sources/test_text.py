"""Encodings of the files that users have."""

from pathlib import Path

import pytest

from envpack.errors import SourceError
from envpack.sources.text import MAX_BYTES, decode, read_text

TEXT = "name: x\ndependencies:\n- numpy  # größer\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("utf-8"),
        TEXT.encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-8"),
        TEXT.encode("utf-16"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "bom", "crlf", "utf-16", "utf-16-be-bom", "utf-16-le", "utf-16-be"],
)
def test_every_encoding_gives_the_same_text(data: bytes) -> None:
    assert decode(data, "f") == TEXT


def test_other_encodings_are_refused_with_the_line() -> None:
    with pytest.raises(SourceError) as caught:
        decode("a\nb: größer\n".encode("latin-1"), "env.yml")
    assert str(caught.value.where) == "env.yml:2"
    assert caught.value.hint == "Save the file as UTF-8."


def test_a_file_too_long_is_refused() -> None:
    with pytest.raises(SourceError, match="longer than 16384 KiB"):
        decode(b" " * (MAX_BYTES + 1), "env.yml")
    with pytest.raises(SourceError, match="longer than 1 KiB"):
        decode(b" " * 1025, "env.yml", 1024)


def test_two_encodings_in_one_file_are_refused_with_the_line() -> None:
    with pytest.raises(SourceError) as caught:
        decode(b"a==1\nb==2\n" + "c==3\n".encode("utf-16-le"), "r.txt")
    assert str(caught.value.where) == "r.txt:3"
    assert "UTF-16" in (caught.value.why or "")


def test_an_absent_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no file x\.yml"):
        read_text(tmp_path / "x.yml", "x.yml")
    with pytest.raises(SourceError, match="is a folder"):
        read_text(tmp_path, "folder")
