"""What uv says of packages that have no wheel, as it says it."""

from __future__ import annotations

from envpack.errors import Location
from envpack.locking.uv_messages import build_hint, failure, without_wheels
from envpack.spec import Requirement

SAID = """\
error: No solution found when resolving dependencies
  cause: Because evdev{'linux' in sys_platform}>=1.3.0 has no usable wheels and pynput>=1.8.2 depends on \
evdev{'linux' in sys_platform}>=1.3, we can conclude that pynput>=1.8.2 cannot be used.
         And because you require pynput==1.8.2, we can conclude that your requirements are unsatisfiable.
"""


def test_a_condition_is_no_part_of_a_name() -> None:
    assert without_wheels(SAID) == {"evdev": "1.3.0"}
    asked = [Requirement("pynput==1.8.2", Location("x", 1))]
    error = failure(SAID, asked, {}, python="3.11", platform="linux-64", remedy="R", indexes={})
    assert [p.what for p in error.problems] == ["evdev has no wheel for python 3.11 on linux-64"]
    assert "sys_platform" not in str(error.why)


def test_versions_that_a_stand_in_may_have() -> None:
    for text, version in (("docopt==0.6.2 has", "0.6.2"), ("all versions of docopt have", "99999")):
        assert without_wheels(f"cause: Because {text} no usable wheels and") == {"docopt": version}


def test_what_to_do() -> None:
    hint = build_hint(["evdev", "No_Such_Name_1"], "Else.", {"evdev", "rich"}, "linux-64")
    assert "--build-sdist evdev --build-sdist no-such-name-1" in hint
    assert "The channels have evdev for linux-64." in hint
    assert "channels" not in build_hint(["evdev"], "Else.", {"rich"}, "linux-64")
