"""Channel names as addresses."""

from pathlib import Path

import pytest
from rattler import Config as RattlerConfig

from envpack.config import Config
from envpack.errors import SolveError
from envpack.locking import channels


def test_names_addresses_and_defaults() -> None:
    assert channels.urls(["conda-forge", "https://host/c/", "defaults", "conda-forge"], {}) == (
        "https://conda.anaconda.org/conda-forge",
        "https://host/c",
        "https://repo.anaconda.com/pkgs/main",
        "https://repo.anaconda.com/pkgs/r",
    )


def test_variables_are_filled_in() -> None:
    assert channels.urls(["https://${A}:$B@host/c"], {"A": "me", "B": "pw"}) == ("https://me:pw@host/c",)


def test_all_variables_that_are_not_set_are_named() -> None:
    with pytest.raises(SolveError) as caught:
        channels.urls(["https://${A}:$B@host/c", "https://host/t/$C/d"], {"A": "me"})
    assert [p.what.split()[2] for p in caught.value.problems] == ["B", "C"]


def test_defaults_in_a_match_spec() -> None:
    assert channels.with_defaults_spelled_out("defaults::numpy") == (
        "https://repo.anaconda.com/pkgs/main::numpy"
    )
    assert channels.with_defaults_spelled_out("conda-forge::numpy") == "conda-forge::numpy"
    assert channels.with_defaults_spelled_out("numpy") == "numpy"


def test_rattler_understands_every_key() -> None:
    config = Config(Path("/c"), mirrors={'https://h/"c"': ("http://a", "http://b")})
    _, unused = RattlerConfig.from_toml_with_unused_keys(channels.rattler_toml(config))
    assert unused == []
