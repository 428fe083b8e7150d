from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envpack.content.prefix_replacement import (
    PrefixTooLong,
    interpreter_line,
    replace_binary,
    replace_text,
    shebang,
)

OLD = "/opt/placeholder_placeholder_placeholder"
NEW = "/opt/env"
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

narrow_parts = st.sampled_from([OLD.encode(), b"\0", b"/lib:", b"a", OLD.encode()[:20], OLD.encode()[20:]])
parts = narrow_parts | st.sampled_from([OLD.encode(name) for name in ENCODINGS[1:]] + [b"\0\0", b"\0\0\0"])


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` in pieces of the given sizes, then the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def binary(data: bytes, sizes: list[int] | None = None, new: str = NEW) -> bytes:
    return b"".join(replace_binary(chunked(data, sizes or []), OLD, new))


def c_strings(data: bytes) -> bytes:
    """The replacement in UTF-8, by its definition: string by string."""
    replaced = []
    for text in data.split(b"\0"):
        new = text.replace(OLD.encode(), NEW.encode())
        replaced.append(new.ljust(len(text), b"\0"))
    return b"\0".join(replaced)


@given(st.lists(narrow_parts, max_size=12).map(b"".join), st.lists(st.integers(0, 60), max_size=12))
def test_c_strings_keep_their_place(data: bytes, sizes: list[int]) -> None:
    assert binary(data, sizes) == c_strings(data)


@given(st.lists(parts, max_size=12).map(b"".join), st.lists(st.integers(0, 200), max_size=12))
def test_the_chunks_do_not_matter(data: bytes, sizes: list[int]) -> None:
    whole = binary(data)
    assert binary(data, sizes) == whole
    assert len(whole) == len(data)


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding(name: str) -> None:
    zero = "\0".encode(name)
    text = f"{OLD}/a:{OLD}/b".encode(name)
    new = f"{NEW}/a:{NEW}/b".encode(name)
    assert binary(b"x" * 8 + text + zero + b"z") == b"x" * 8 + new.ljust(len(text), b"\0") + zero + b"z"


def test_a_binary_without_the_placeholder_passes_in_pieces() -> None:
    chunks = [bytes([i]) * (1 << 20) for i in range(1, 9)]
    out = list(replace_binary(iter(chunks), OLD, NEW))
    assert b"".join(out) == b"".join(chunks)
    assert max(map(len, out)) <= (1 << 20) + 4 * len(OLD)


def test_a_string_without_end_passes_in_pieces() -> None:
    data = (OLD.encode() + b"x" * 1000) * 3000
    out = list(replace_binary(chunked(data, [1 << 20] * 3), OLD, NEW))
    assert b"".join(out) == c_strings(data)
    assert max(map(len, out)) <= (1 << 20) + 4 * len(OLD)


def test_a_longer_prefix_does_not_fit_into_a_binary() -> None:
    with pytest.raises(PrefixTooLong, match=r"has 41 bytes and the package leaves room for 40"):
        binary(OLD.encode(), new="/" + "x" * 40)
    assert binary(b"nothing to replace", new="/" + "x" * 40) == b"nothing to replace"


@given(st.lists(narrow_parts, max_size=12).map(b"".join).filter(lambda data: not data.startswith(b"#!")))
def test_text_changes_its_length(data: bytes) -> None:
    assert replace_text(data, OLD, NEW) == data.replace(OLD.encode(), NEW.encode())


def test_text_in_wide_encodings() -> None:
    for name in ENCODINGS:
        assert replace_text(f"a{OLD}b".encode(name), OLD, NEW) == f"a{NEW}b".encode(name)


LONG = "/opt/" + "x" * 120


@pytest.mark.parametrize(
    ("line", "prefix", "expected"),
    [
        (f"#!{OLD}/bin/python -u", NEW, f"#!{NEW}/bin/python -u"),
        ("#!/bin/sh", "/a b", "#!/bin/sh"),
        (f"#!{OLD}/bin/perl", "/a b", "#!/usr/bin/env perl"),
        (f"#!{OLD}/bin/python3.11", "/a b", "#!/bin/sh\n'''exec' \"/a b/bin/python3.11\" \"$0\" \"$@\" #'''"),
        (f"#!{OLD}/bin/python -E", LONG, f"#!/bin/sh\n'''exec' \"{LONG}/bin/python\" -E \"$0\" \"$@\" #'''"),
        (f"#!{OLD}/bin/Rscript", LONG, "#!/usr/bin/env Rscript"),
        (f"#!{OLD}/bin/pythonw", LONG, "#!/usr/bin/env pythonw"),
    ],
)
def test_first_lines(line: str, prefix: str, expected: str) -> None:
    assert shebang(line, OLD, prefix) == expected
    assert replace_text(line.encode() + b"\nbody\n", OLD, prefix) == expected.encode() + b"\nbody\n"


@pytest.mark.parametrize(("length", "direct"), [(125, True), (126, False)])
def test_the_longest_interpreter(length: int, direct: bool) -> None:
    executable = "/" + "p" * (length - 1)
    assert (interpreter_line(executable) == f"#!{executable}") is direct
