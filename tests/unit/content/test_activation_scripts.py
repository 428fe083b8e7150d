"""What is found out about scripts against what real shells make of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envpack.content.activation_scripts import evaluate
from envpack.entry import Kind

# Scripts as packages of conda-forge have them, in our own words.
GDAL = """\
#!/bin/bash
# Keep what was set before

if [[ -n "$GDAL_DATA" ]]; then
    export _SAVED_GDAL_DATA=$GDAL_DATA
fi
if [ -d ${CONDA_PREFIX}/share/gdal ]; then
    export GDAL_DATA=${CONDA_PREFIX}/share/gdal
    export GDAL_DRIVER_PATH=${CONDA_PREFIX}/lib/gdalplugins
elif [ -d ${CONDA_PREFIX}/Library/share/gdal ]; then
    export GDAL_DATA=${CONDA_PREFIX}/Library/share/gdal
fi
if [[ ! -d "$GDAL_DRIVER_PATH" ]]; then
    unset GDAL_DRIVER_PATH
fi
CPL_ZIP_ENCODING=UTF-8
export CPL_ZIP_ENCODING
"""
PROJ = """\
if [ -n "${PROJ_DATA:-}" ]; then export _SAVED="${PROJ_DATA}"; fi
if [ -d "${CONDA_PREFIX}/share/proj" ] ; then
  export PROJ_DATA="${CONDA_PREFIX}/share/proj"
fi
test -f "$CONDA_PREFIX/share/proj/none" || export PROJ_NETWORK="OFF" # said once
[ -f "$CONDA_PREFIX/share/file" ] && \\
    export FOUND=yes
"""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefix")
    (folder / "share" / "gdal").mkdir(parents=True)
    (folder / "share" / "proj").mkdir()
    (folder / "share" / "file").touch()
    return folder


def kind(path: str) -> Kind | None:
    found = Path(path)
    return Kind.DIRECTORY if found.is_dir() else Kind.FILE if found.is_file() else None


def environment(prefix: Path) -> dict[str, str]:
    return {"CONDA_PREFIX": str(prefix), "PATH": "/usr/bin:/bin", "GIVEN": "a b", "EMPTY": ""}


def sourced(shell: str, script: str, prefix: Path) -> dict[str, str]:
    """The exported variables that a shell has changed after it sourced the script."""
    path = prefix / "script.sh"
    path.write_text(script)
    given = environment(prefix)
    command = [shell, "-c", f". {path}; exec /usr/bin/env -0"]
    done = subprocess.run(command, env=given, capture_output=True, check=False, cwd=prefix)
    pairs = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
    own = {"PWD", "SHLVL", "_", "OLDPWD"}
    return {name: value for name, value in pairs.items() if name not in own and given.get(name) != value}


def test_gdal(prefix: Path) -> None:
    found = evaluate(GDAL, environment(prefix), kind)
    assert found == {"GDAL_DATA": f"{prefix}/share/gdal", "CPL_ZIP_ENCODING": "UTF-8"}
    assert sourced("bash", GDAL, prefix) == found


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize(
    "script",
    [
        PROJ,
        "",
        "# a comment that ends in a backslash \\\nexport A=1\n",
        "A=1; B=2 C=3; export A C; unset B",
        "export A='$x' B=\"\\$x \\\\ \\` \\q\" C=\\$x",
        'export A="it\'s" B=\'say "hi"\' C="a"\'b\'c',
        "export A=${X-1} B=${X:-2} C=${EMPTY-3} D=${EMPTY:-4} E=${GIVEN+5} F=${EMPTY:+6}x",
        'export A="${X:-$CONDA_PREFIX/${Y:-y}}"',
        'A="$GIVEN"; B=$GIVEN; export A B',
        'export A="a\\\nb"',
        "GIVEN=other",
        "if false; then export A=1; elif [ x = x ]; then export A=2; else export A=3; fi && export B=1",
        "! [ -e /nowhere ] && export A=1\n[ ! -d / ] || export B=1",
        "true || export A=1 && export B=2",
        'if [ -n "$A" ]\nthen\nexport B=1\nelse\n# nothing\nexport B=2\nfi',
        "export PATH=$CONDA_PREFIX/more:$PATH",
        'test -z "$EMPTY" && export A= B',
        "export A=a#b;#c",
    ],
)
def test_the_same_as_in_a_shell(script: str, shell: str, prefix: Path) -> None:
    found = evaluate(script, environment(prefix), kind)
    assert found is not None
    assert sourced(shell, script, prefix) == found


@pytest.mark.parametrize(
    "script",
    [
        "export A=$(date)",
        "export A=`date`",
        'export A="$(date)"',
        "export A=$((1+1))",
        "date",
        "source other.sh",
        ". other.sh",
        "for x in a b; do export A=$x; done",
        "case x in x) export A=1;; esac",
        "f() { export A=1; }; f",
        "export A=1 > /nowhere",
        "export A=1 &",
        "true | export A=1",
        "export A=~/x",
        "export A=*",
        "export A=$GIVEN",
        "A=1 export B=2",
        "export A={a,b}",
        "export A=$HOME/x",
        '[ -n "${HOME:-}" ] && export A=1',
        "IFS=:",
        "unset PATH",
        "unset -f x",
        "export -n PATH",
        "export A=$1",
        "export A=${GIVEN%b}",
        "export A=${#GIVEN}",
        'export A="a\nb"',
        "export 'A=1' B=\"",
        "[ -d $EMPTY ] && export A=1",
        "[ -x /bin/sh ] && export A=1",
        "[ -d . ] && export A=1",
        "[ a -a b ] && export A=1",
        "[[ abc == a* ]] && export A=1",
        "[ -n x",
        "if true; then export A=1",
        "fi",
        "if true; then export A=1; fi fi",
        "export A=1\r\n",
        "A+=x",
        "set -- a",
        "return 0",
        "exit",
        "export A=" + "x" * 20_000,
        "if true; then " * 100 + ":" + "; fi" * 100,
        "A=x" + ";A=$A$A" * 40 + ";export A",
        "export A=" + "${X:-" * 200 + "}" * 200,
    ],
)
def test_what_cannot_be_known_is_left_to_the_container(script: str, prefix: Path) -> None:
    assert evaluate(script, environment(prefix), kind) is None


_words = st.sampled_from(
    [
        "x", "'a b'", '"a b"', "$A", '"$A"', "${B:-y}", '"${B:-$A z}"', "${A+set}", "$GIVEN", '"$GIVEN"',
        '""', "$EMPTY", "a=b", "\\$A", "a\\ b", "#x", "x#", "$CONDA_PREFIX/share", "!", "-n", "=", "]",
    ]
)  # fmt: skip


def _commands(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def joined(pattern: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda found: pattern.format(*found))

    return st.one_of(
        joined("{}; {}", inner, inner),
        joined("{}\n{}", inner, inner),
        joined("{} && {}", inner, inner),
        joined("{} || {}", inner, inner),
        joined("if {}; then {}; fi", inner, inner),
        joined("if {}; then {}\nelse\n{}; fi", inner, inner, inner),
        joined("if {}; then {}; elif {}; then {}; fi", inner, inner, inner, inner),
    )


_names = st.sampled_from(["A", "B", "C", "GIVEN"])
_simple = st.one_of(
    st.tuples(_names, _words).map("=".join),
    st.tuples(_names, _words).map(lambda found: f"export {found[0]}={found[1]}"),
    _names.map("export {}".format),
    _names.map("unset {}".format),
    st.tuples(_words).map(lambda found: f"[ {found[0]} ]"),
    st.tuples(st.sampled_from(["-n", "-z", "-d", "-f", "-e", "!"]), _words).map(
        lambda f: f"[ {f[0]} {f[1]} ]"
    ),
    st.tuples(_words, st.sampled_from(["=", "!="]), _words).map(lambda f: f"test {f[0]} {f[1]} {f[2]}"),
    st.sampled_from(["true", "false", ":"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.recursive(_simple, _commands, max_leaves=8))
def test_whatever_is_evaluated_is_what_shells_do(script: str, prefix: Path) -> None:
    found = evaluate(script, environment(prefix), kind)
    if found is not None:
        assert sourced("dash", script, prefix) == found
        assert sourced("bash", script, prefix) == found


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.text(st.sampled_from("aA=1 \n;&|$\"'\\{}[]!#:-+`()<>~*"), max_size=30))
def test_no_text_is_too_strange(script: str, prefix: Path) -> None:
    evaluate(script, environment(prefix), kind)
