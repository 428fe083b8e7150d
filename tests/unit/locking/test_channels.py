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


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("p@ss/w:rd?#", "p%40ss%2Fw%3Ard%3F%23"),
        ("p%40ss", "p%40ss"),
        ("100%", "100%25"),
        ("$A", "%24A"),
        ("é", "%C3%A9"),
    ],
)
def test_secrets_are_encoded_once_and_become_variables_again(secret: str, written: str) -> None:
    environ = {"A": "me", "B": secret}
    for channel, url in (
        ("https://${A}:${B}@host/c/", f"https://me:{written}@host/c"),
        ("https://host/t/$B/c", f"https://host/t/{written}/c"),
        ("https://host/t/$B", f"https://host/t/{written}"),
    ):
        assert channels.urls([channel], environ) == (url,)
        named = ["https://$A@elsewhere/c", channel, "conda-forge"]
        found = channels.in_variables(f"{url}/noarch/x-1-0.conda", named, environ)
        assert found == f"{channel.rstrip('/')}/noarch/x-1-0.conda"
    assert (
        channels.in_variables("https://host/d/x", ["https://${A}:${B}@host/c"], environ) == "https://host/d/x"
    )


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
