"""The user's settings, right and wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.config import Config, Credential, load
from envpack.errors import ConfigError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def write(environ: dict[str, str], text: str) -> Path:
    path = Path(environ["HOME"], ".config", "envpack", "config.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_no_file_at_all(environ: dict[str, str], tmp_path: Path) -> None:
    assert load(environ) == Config(tmp_path / ".cache" / "envpack")


def test_everything(environ: dict[str, str]) -> None:
    write(
        environ,
        """
        cache = "~/scratch"
        pins = "~/pins.toml"
        [mirrors]
        "https://conda.anaconda.org/conda-forge/" = ["http://127.0.0.1:1/", "https://mirror.example.org/cf"]
        "https://repo.anaconda.com/pkgs/main" = "http://127.0.0.1:2"
        [registries."docker.io"]
        mirror = "http://127.0.0.1:5055"
        [credentials."Registry.example.org:443"]
        username = "me"
        password_env = "REGISTRY_PASSWORD"
        [credentials."conda.example.org:8443"]
        token_env = "TOKEN"
        """,
    )
    assert load(environ) == Config(
        Path(environ["HOME"]) / "scratch",
        {
            "https://conda.anaconda.org/conda-forge": ("http://127.0.0.1:1", "https://mirror.example.org/cf"),
            "https://repo.anaconda.com/pkgs/main": ("http://127.0.0.1:2",),
        },
        {"docker.io": "http://127.0.0.1:5055"},
        {
            "registry.example.org": Credential("me", "REGISTRY_PASSWORD"),
            "conda.example.org:8443": Credential(token_env="TOKEN"),
        },
        Path(environ["HOME"]) / "pins.toml",
    )


def test_where_the_file_is(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "xdg" / "envpack").mkdir(parents=True)
    (tmp_path / "xdg" / "envpack" / "config.toml").write_text('cache = "/from-xdg"')
    (tmp_path / "named.toml").write_text('cache = "/from-named"')
    assert load(environ | {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}).cache == Path("/from-xdg")
    assert load(environ | {"ENVPACK_CONFIG": str(tmp_path / "named.toml")}).cache == Path("/from-named")


def test_where_the_cache_is(environ: dict[str, str]) -> None:
    write(environ, 'cache = "/from-file"')
    assert load(environ).cache == Path("/from-file")
    assert load(environ | {"XDG_CACHE_HOME": "/xdg"}).cache == Path("/from-file")
    assert load(environ | {"ENVPACK_CACHE": "/from-variable"}).cache == Path("/from-variable")
    assert load(environ | {"ENVPACK_CACHE": "here"}).cache == Path.cwd() / "here"
    write(environ, "")
    assert load(environ | {"XDG_CACHE_HOME": "/xdg"}).cache == Path("/xdg/envpack")


def test_a_named_file_must_be_there(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file /absent") as caught:
        load(environ | {"ENVPACK_CONFIG": "/absent.toml"})
    assert caught.value.why == "the variable ENVPACK_CONFIG names it"


def test_not_toml_has_a_line(environ: dict[str, str]) -> None:
    path = write(environ, 'cache = "/a"\n\n[mirrors\n')
    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        load(environ)
    assert str(caught.value.where) == f"{path}:3:9"
    write(environ, 'cache = "unfinished')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(environ)


def test_a_file_that_cannot_be_read(environ: dict[str, str]) -> None:
    path = write(environ, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load(environ)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(environ)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cahce = '/a'", "unknown setting 'cahce'"),
        ("cache = 5", "cache is not a text"),
        ("cache = ''", "cache is not a text"),
        ("mirrors = 5", "mirrors is not a table"),
        ("[mirrors]\n'https://a.org' = []", 'mirrors."https://a.org" is not a list of URLs'),
        ("[mirrors]\n'https://a.org' = [5]", 'mirrors."https://a.org": 5 is not an http(s) URL'),
        (
            "[mirrors]\n'https://a.org' = ['file:///a']",
            "mirrors.\"https://a.org\": 'file:///a' is not an http(s) URL",
        ),
        (
            "[mirrors]\n'conda-forge' = ['https://a']",
            "mirrors.\"conda-forge\": 'conda-forge' is not an http(s) URL",
        ),
        ("[registries]\n'docker.io' = 'http://a'", 'registries."docker.io" is not a table'),
        (
            "[registries.a]\nmirror = 'http://[::1'",
            "registries.\"a\".mirror: 'http://[::1' is not an http(s) URL",
        ),
        (
            "[registries.a]\nmirror = 'http://b:0'",
            "registries.\"a\".mirror: 'http://b:0' is not an http(s) URL",
        ),
        ("[registries.a]\nmirror = 'http://b'\nurl = 1", "registries.\"a\" has an unknown setting 'url'"),
        ("credentials.a = 1", 'credentials."a" is not a table'),
        ("[credentials.a]\nusername = 'me'", 'credentials."a" needs either password_env or token_env'),
        ("[credentials.a]\npassword_env = 'P'", 'credentials."a" needs a username beside password_env'),
        ("[credentials.a]\ntoken_env = 5", 'credentials."a".token_env is not a text'),
        (
            "[credentials.a]\nusername='me'\npassword_env='P'\ntoken_env='T'",
            'credentials."a" needs either password_env or token_env',
        ),
    ],
)
def test_wrong_settings(environ: dict[str, str], text: str, what: str) -> None:
    path = write(environ, text)
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert caught.value.what == what
    assert str(caught.value.where) == str(path)


def test_all_that_is_wrong_at_once(environ: dict[str, str]) -> None:
    write(environ, "what = 1\ncache = 2\n[registries.a]\n[credentials.b]\n")
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert caught.value.what == "4 settings are wrong"
    assert [p.what for p in caught.value.problems] == [
        "unknown setting 'what'",
        "cache is not a text",
        'registries."a".mirror: None is not an http(s) URL',
        'credentials."b" needs either password_env or token_env',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[credentials.a]\nusername = 'me'\npassword = 'hush-hush'",
        "[credentials.a]\nusername = 'me'\npassword_env = 'hush-hush'",
        "[credentials.a]\ntoken_env = 'hush-hush'",
        "[mirrors]\n'https://a.org' = ['https://me:hush-hush@b.org']",
        "[mirrors]\n'https://me:hush-hush@a.org' = ['https://b.org']",
        "[registries.a]\nmirror = 'https://me:hush-hush@b.org'",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(environ: dict[str, str], text: str) -> None:
    write(environ, text)
    with pytest.raises(ConfigError) as caught:
        load(environ)
    assert "hush-hush" not in str(caught.value)


def test_mirrored() -> None:
    config = Config(
        Path("/c"),
        {
            "https://a.org/channel": ("http://one", "http://two/x"),
            "https://a.org/channel/label/dev": ("http://dev",),
        },
    )
    assert config.mirrored("https://a.org/channel/noarch/b.conda") == (
        "http://one/noarch/b.conda",
        "http://two/x/noarch/b.conda",
    )
    assert config.mirrored("https://a.org/channel/label/dev/c") == ("http://dev/c",)
    assert config.mirrored("https://a.org/channel") == ("http://one", "http://two/x")
    assert config.mirrored("https://a.org/channels/b") == ("https://a.org/channels/b",)
