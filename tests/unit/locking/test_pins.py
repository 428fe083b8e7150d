"""Which match specs are exact pins, how they are loosened, and what --pin makes of them."""

from __future__ import annotations

import pytest

from envpack.errors import Location
from envpack.ledger import Action, Ledger
from envpack.locking import pins
from envpack.locking.pins import Pinning
from envpack.spec import EnvSpec, Requirement


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        (
            "np ==1.11.3 py27_0",
            ["np ==1.11.3 py27_0", "np ==1.11.3", "np =1.11", "np =1", "np"],
        ),
        ("np=1.11.3=py27_0", ["np=1.11.3=py27_0", "np ==1.11.3", "np =1.11", "np =1", "np"]),
        ("np=1.11.3", ["np=1.11.3", "np =1.11", "np =1", "np"]),
        ("c::a ==2.0", ["c::a ==2.0", "c::a =2.0", "c::a =2", "c::a"]),
        ("c/osx-64::a ==2.0 b", ["c/osx-64::a ==2.0 b", "c::a ==2.0", "c::a =2.0", "c::a =2", "c::a"]),
        ("ssl ==1.1.1w h", ["ssl ==1.1.1w h", "ssl ==1.1.1w", "ssl =1.1", "ssl =1", "ssl"]),
        ("jpeg ==9e", ["jpeg ==9e", "jpeg"]),
        ("tzdata ==2024a 0", ["tzdata ==2024a 0", "tzdata ==2024a", "tzdata"]),
        ("a ==1!2.0.3", ["a ==1!2.0.3", "a =1!2.0", "a =1!2", "a"]),
        ("a ==1.2rc1", ["a ==1.2rc1", "a ==1.2rc1|1.2.*", "a ==1.2rc1|1.*", "a"]),
        ("a ==1.2.0 *mkl*", ["a ==1.2.0 *mkl*", "a =1.2 *mkl*", "a =1 *mkl*", "a * *mkl*"]),
    ],
)  # fmt: skip
def test_levels(text: str, levels: list[str]) -> None:
    from rattler import MatchSpec

    pin = pins.read(Requirement(text), complete=False)
    assert pin is not None
    assert list(pin.texts) == levels
    assert [bool(MatchSpec(level)) for level in levels]
    assert pin.builds == int(" ==" in levels[1] and "|" not in levels[1])


@pytest.mark.parametrize(
    "text",
    ["a", "a =1.11", "a 1.11.*", "a >=1,<2", "a ==1.1|==1.2", "a=1.11.3.*", "a * b", "a !=1.2.3"],
)
def test_ranges_are_no_pins(text: str) -> None:
    assert pins.read(Requirement(text), complete=False) is None


def test_what_is_installed_has_one_version() -> None:
    pin = pins.read(Requirement("six=1.16"), complete=True)
    assert pin is not None
    assert pin.texts == ("six=1.16", "six =1", "six")


@pytest.mark.parametrize(
    ("pin", "got"),
    [
        ("exact", ["python 3.11.*", "a ==1.2.3 b", "c ==9e"]),
        ("minor", ["python 3.11.*", "a =1.2", "c"]),
        ("none", ["python 3.11.*", "a", "c"]),
    ],
)
def test_pin(pin: Pinning, got: list[str]) -> None:
    texts = ("python 3.11.*", "a ==1.2.3 b", "c ==9e")
    wanted = tuple(Requirement(text, Location("f", n)) for n, text in enumerate(texts, 1))
    ledger = Ledger()
    found = pins.apply(EnvSpec("x", ("c",), wanted), pin, ledger)
    assert [r.text for r in found] == got
    assert [r.where for r in found] == [r.where for r in wanted]
    changed = [(w.text, w.where) for w, f in zip(wanted, found, strict=True) if w.text != f.text]
    assert [(f.subject, f.where) for f in ledger] == changed
    assert {f.action for f in ledger} <= {Action.RELAXED}
