import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envpack.recipes import quoting

SHELLS = [["dash"], ["bash"], ["bash", "--posix"]]
# Every character that means something to a shell, a definition file or a Dockerfile comes up often.
HOSTILE = st.text(
    st.sampled_from("'\"\\$`{}%\n\r\t #!*?~-()[]|&;<>ab=")
    | st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
    max_size=30,
)


def exported(shell: list[str], values: dict[str, str]) -> dict[bytes, bytes]:
    script = quoting.exports(values) + "exec env -0\n"
    done = subprocess.run(
        [*shell, "-eu", "-c", script], capture_output=True, env={"PATH": "/usr/bin:/bin"}, check=True
    )
    assert done.stderr == b""
    pairs = (item.partition(b"=") for item in done.stdout.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=25, deadline=None)
@given(values=st.lists(HOSTILE, max_size=40))
def test_exports_give_a_real_shell_exactly_the_values(shell: list[str], values: list[str]) -> None:
    variables = {f"VALUE_{i}": value for i, value in enumerate(values)}
    got = exported(shell, variables)
    assert {name: got[name.encode()] for name in variables} == {n: v.encode() for n, v in variables.items()}
    assert not any(name.startswith(b"_envpack") for name in got)


@given(values=st.lists(HOSTILE, min_size=1, max_size=10))
def test_no_value_begins_a_line_nor_a_template(values: list[str]) -> None:
    text = quoting.exports({f"VALUE_{i}": value for i, value in enumerate(values)})
    assert "{{" not in text
    # str.splitlines would split at more than line feeds, which no reader of these files does.
    lines = text.removesuffix("\n").split("\n")
    assert all(line.startswith(("export VALUE_", "_envpack_newline=", "unset ")) for line in lines)


@pytest.mark.parametrize("shell", ["dash", "bash"])
@settings(max_examples=30, deadline=None)
@given(text=HOSTILE.filter(lambda t: "\n" not in t))
def test_a_word_is_one_argument(shell: str, text: str) -> None:
    done = subprocess.run([shell, "-c", f"printf '%s|' {quoting.sh(text)}"], capture_output=True, check=True)
    assert done.stdout == text.encode() + b"|"


def test_plain_words_stay_readable() -> None:
    assert quoting.sh("/opt/env/bin") == "/opt/env/bin"


@pytest.mark.parametrize("text", ["a\nb", "a\0b"])
def test_what_a_word_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoting.sh(text)


def test_a_nul_is_refused_in_values() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quoting.exports({"A": "a\0"})


def test_dockerfile_words_do_not_expand() -> None:
    assert quoting.dockerfile('a "b" $HOME \\ #') == '"a \\"b\\" \\$HOME \\\\ #"'


@pytest.mark.parametrize("text", ["a\nRUN id", "a\r", "\0"])
def test_line_breaks_are_refused_in_dockerfiles(text: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        quoting.dockerfile(text)


def test_a_comment_stays_on_its_line() -> None:
    assert quoting.comment("x\n%post {{{ y") == "x?%post { { { y"
