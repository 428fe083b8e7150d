"""What pip's index cannot give and the channels can: by real rattler and uv."""

from __future__ import annotations

import pytest

from envpack import locking
from envpack.config import Config
from envpack.errors import EnvpackError, Location
from envpack.ledger import Action, Ledger
from envpack.spec import EnvSpec, Requirement
from tests.unit.locking.conftest import Channel, Index


class Locked:
    """A list for pip, locked: manager and version by name, and what was said."""

    def __init__(
        self,
        channel: Channel,
        config: Config,
        *pip: str,
        whole: bool = True,
        platforms: str = "linux-64",
        in_one_line: bool = False,
    ) -> None:
        numbers = [1] * len(pip) if in_one_line else range(1, len(pip) + 1)
        places = [Location("requirements.txt", n) for n in numbers]
        lines = tuple(Requirement(text, place) for text, place in zip(pip, places, strict=True))
        spec = EnvSpec("x", (channel.url,), (Requirement("python =3.11"),), lines, complete=whole)
        ledger = Ledger()
        try:
            found = locking.solve(
                spec, platforms=platforms.split(), glibc="2.36", config=config, ledger=ledger
            )
        except EnvpackError as error:
            self.error: str | None = str(error)
            self.hint = error.hint or ""
        else:
            self.error = None
            self.packages = {p.name: f"{p.manager} {p.version}" for p in found.packages}
            self.asked = found.requested["linux-64"]
        self.said = [(f.action, f.subject) for f in ledger]
        self.reasons = [f.reason for f in ledger]


def test_of_several_in_one_line_the_one_that_the_index_lacks(
    channel: Channel, index: Index, config: Config
) -> None:
    for name in ("rich", "menuinst"):
        channel.add(name, "1.4")
    index.add("rich", "1.4")
    found = Locked(channel, config, "rich==1.4", "menuinst==1.4", whole=False, in_one_line=True)
    assert found.packages.items() >= {("rich", "pip 1.4"), ("menuinst", "conda 1.4")}


@pytest.mark.parametrize("whole", [True, False], ids=["list", "by hand"])
def test_names_that_only_the_channels_have(
    channel: Channel, index: Index, config: Config, *, whole: bool
) -> None:
    """All at once; another spelling, a name of the mapping, and a version that conda has not."""
    channel.add("menuinst", "1.4")
    channel.add("conda-package-handling", "2.0")
    channel.add("pytables", "3.8")
    index.add("rich", "13.0")
    found = Locked(
        channel,
        config,
        "menuinst==1.4",
        "conda_package_handling==1.9",
        "tables==3.8",
        "rich==13.0",
        whole=whole,
    )
    assert found.packages.items() >= {
        ("menuinst", "conda 1.4"),
        ("conda-package-handling", "conda 2.0"),
        ("pytables", "conda 3.8"),
        ("rich", "pip 13.0"),
    }
    assert found.said == [
        (Action.REPLACED, "menuinst==1.4"),
        (Action.REPLACED, "conda_package_handling==1.9"),
        (Action.REPLACED, "tables==3.8"),
        (Action.RELAXED, "conda-package-handling ==1.9"),
    ]
    assert found.reasons[0] == "pip's index has no such name: asked of conda, menuinst ==1.4"
    assert {"conda:menuinst", "conda:pytables", "pip:rich"} <= set(found.asked)
    assert index.seen.count("/simple/rich/") <= 6


def test_what_neither_has_is_left_to_the_user(channel: Channel, index: Index, config: Config) -> None:
    channel.add("menuinst", "1.4")
    index.add("rich", "13.0")
    found = Locked(channel, config, "gone==1", "menuinst==1.4", "rich==13.0")
    assert found.said == [(Action.REPLACED, "menuinst==1.4"), (Action.NEEDS_YOU, "gone==1")]
    assert found.packages["menuinst"] == "conda 1.4"


@pytest.mark.parametrize("whole", [True, False], ids=["list", "by hand"])
def test_conda_has_a_build_of_what_pip_has_in_source_only(
    channel: Channel, index: Index, config: Config, *, whole: bool
) -> None:
    channel.add("s", "0.1.0", depends=["python >=3.11,<3.12.0a0"])
    index.add("s", "0.1.0", sdist=True)
    index.add("s", "0.2.0")
    found = Locked(channel, config, "s==0.1.0", whole=whole)
    assert found.packages["s"] == "conda 0.1.0"
    assert found.said == [(Action.REPLACED, "s==0.1.0")]
    assert "has no wheel for python 3.11.7 on linux-64: asked of conda, s ==0.1.0" in found.reasons[0]


def test_condas_build_is_for_another_python(channel: Channel, index: Index, config: Config) -> None:
    channel.add("s", "0.1.0", depends=["python >=3.8,<3.9.0a0"])
    index.add("s", "0.1.0", sdist=True)
    index.add("s", "0.2.0")
    found = Locked(channel, config, "s==0.1.0")
    assert found.packages["s"] == "pip 0.2.0"
    assert found.said == [(Action.RELAXED, "s==0.1.0")]


def test_a_list_takes_another_version_of_condas_before_it_fails(
    channel: Channel, index: Index, config: Config
) -> None:
    channel.add("s", "0.3.0")
    index.add("s", "0.1.0", sdist=True)
    found = Locked(channel, config, "s==0.1.0")
    assert found.packages["s"] == "conda 0.3.0"
    assert found.said == [(Action.REPLACED, "s==0.1.0"), (Action.RELAXED, "s ==0.1.0")]
    found = Locked(channel, config, "s==0.1.0", whole=False)
    assert "s==0.1.0 has no wheel" in (found.error or "")


def test_that_the_channels_have_another_version_is_said_where_they_do(
    channel: Channel, index: Index, config: Config
) -> None:
    index.add("evdev", "0.1.0", sdist=True)
    channel.add("evdev", "0.3.0", subdir="linux-aarch64")
    found = Locked(channel, config, "evdev==0.1.0", whole=False)
    assert "--build-sdist evdev" in found.hint
    assert "channels have" not in found.hint
    channel.add("evdev", "0.3.0", subdir="noarch")
    again = Config(config.cache.with_name("again"))
    assert "The channels have evdev for linux-64." in Locked(channel, again, "evdev==0.1.0", whole=False).hint


def test_what_another_package_needs(channel: Channel, index: Index, config: Config) -> None:
    """antlr4-python3-runtime, which omegaconf needs in an old version, is on the index in source only."""
    for version in ("4.9.3", "4.13"):
        channel.add("antlr4-python3-runtime", version, depends=["python"])
    index.add("antlr4-python3-runtime", "4.9.3", sdist=True)
    index.add("omegaconf", "2.3", requires=["antlr4-python3-runtime==4.9.*"])
    found = Locked(channel, config, "omegaconf>=2", whole=False)
    assert found.error is None
    assert found.packages.items() >= {
        ("antlr4-python3-runtime", "conda 4.9.3"), ("omegaconf", "pip 2.3")
    }  # fmt: skip
    assert [action for action, _ in found.said] == [Action.REPLACED]


def test_pins_of_what_moved_packages_need_come_along(channel: Channel, index: Index, config: Config) -> None:
    channel.add("mkl-service", "2.4", depends=["python", "numpy"])
    for version in ("1.21.5", "2.0"):
        channel.add("numpy", version)
        index.add("numpy", version)
    index.add("mkl-service", "2.4", sdist=True)
    found = Locked(channel, config, "mkl-service==2.4", "numpy==1.21.5")
    assert found.packages.items() >= {("mkl-service", "conda 2.4"), ("numpy", "conda 1.21.5")}
    assert found.said == [(Action.REPLACED, "mkl-service==2.4"), (Action.REPLACED, "numpy==1.21.5")]


def test_what_has_no_solution_does_not_move(channel: Channel, index: Index, config: Config) -> None:
    channel.add("s", "1.0", depends=["nowhere"])
    index.add("rich", "13.0")
    found = Locked(channel, config, "s==1.0", "rich==13.0")
    assert found.said == [(Action.NEEDS_YOU, "s==1.0")]
    assert found.packages["rich"] == "pip 13.0"


def test_all_platforms_have_to_have_it(channel: Channel, index: Index, config: Config) -> None:
    channel.add("s", "1.0", subdir="linux-64")
    index.add("rich", "13.0")
    found = Locked(channel, config, "s==1.0", "rich==13.0", platforms="linux-64 linux-aarch64")
    assert (Action.REPLACED, "s==1.0") not in found.said
    assert (Action.NEEDS_YOU, "s==1.0") in found.said


def test_an_index_that_has_everything_is_asked_once(channel: Channel, index: Index, config: Config) -> None:
    channel.add("rich", "13.0")
    index.add("rich", "13.0")
    found = Locked(channel, config, "rich==13.0")
    assert (found.packages["rich"], found.said) == ("pip 13.0", [])
