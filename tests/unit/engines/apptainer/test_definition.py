"""Where in the definition file something stands."""

from __future__ import annotations

import pytest

from envpack.engines.apptainer import definition
from tests.unit.engines.apptainer.said import DEFINITION, WHOLE

TRACES = [line[2:] for line in WHOLE.splitlines() if line.startswith("+ ")]
LINES = dict(enumerate(DEFINITION.splitlines(), 1))


@pytest.mark.parametrize("trace", TRACES)
def test_every_command_is_found(trace: str) -> None:
    """As dash prints it, without quotes."""
    line = definition.command_line(DEFINITION, [trace])
    assert line is not None
    assert trace.split(maxsplit=1)[0] in LINES[line]
    assert ("compileall" in LINES[line]) == ("compileall" in trace)


@pytest.mark.parametrize(
    ("trace", "begin"),
    [
        ("printf '%s  %s\\n' 2c7d9890d949 /opt/build/miniforge.sh", "    printf"),
        (
            "apt-get -o APT::Sandbox::User=root update",
            "            apt-get -o APT::Sandbox::User=root update",
        ),
        (
            "apt-get -o APT::Sandbox::User=root install -y --no-install-recommends ca-certificates curl",
            "            apt-get -o APT::Sandbox::User=root install",
        ),
        ("command -v apt-get", "        if command -v apt-get"),
        ("rm -rf /opt/build", "    rm"),
    ],
)
def test_the_right_one_of_similar_commands(trace: str, begin: str) -> None:
    """The first as bash prints it, with quotes."""
    line = definition.command_line(DEFINITION, [*TRACES, trace])
    assert line is not None
    assert LINES[line].startswith(begin)


def test_output_that_looks_like_a_command_is_passed_over() -> None:
    line = definition.command_line(DEFINITION, ["bash /opt/build/miniforge.sh -b -p /opt/conda", "numpy 2.0"])
    assert line is not None
    assert LINES[line].startswith("    bash")
    assert definition.command_line(DEFINITION, ["numpy 2.0", "", "exec /opt/env/bin/python -I"]) is None
    assert definition.command_line("", TRACES) is None
    assert definition.command_line(DEFINITION, []) is None


def test_a_command_on_several_lines() -> None:
    lines = ("%post", "# a \\", "apt-get install \\", "  one two \\", "  three four", "apt-get install five")
    text = "\n".join(lines)
    assert definition.command_line(text, ["apt-get install one two three four"]) == 3
    assert definition.command_line(text, ["apt-get install five"]) == 6


def test_other_places() -> None:
    line = definition.section_line(DEFINITION, "post")
    assert line is not None
    assert LINES[line + 1] == "    rm -rf /opt/build"
    assert definition.section_line(DEFINITION, "setup") is None
    assert definition.image_line(DEFINITION, "GET https://elsewhere.example.org/v2/") is None
    assert definition.copied_line(DEFINITION, "/opt") is None
