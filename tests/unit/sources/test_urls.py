"""Channel and index addresses, and the secrets that must not be in them."""

import pytest

from envpack.sources.urls import channel_problem, index_problem, is_local, without_secrets


@pytest.mark.parametrize(
    "channel",
    [
        "conda-forge",
        "defaults",
        "nvidia/label/cuda-12.4.0",
        "pkgs/main",
        "https://repo.example.org/channel",
        "http://127.0.0.1:8080/get/channel",
        "https://${USER}:${PASSWORD}@host/channel",
        "https://host/t/$TOKEN/channel",
    ],
)
def test_channels_that_are_fine(channel: str) -> None:
    assert channel_problem(channel, None) is None


@pytest.mark.parametrize(
    ("channel", "what"),
    [
        ("https://me:hunter2@host/channel", "holds a password"),
        ("https://hunter2@host/channel", "holds a password"),
        ("https://${USER}:hunter2@host/channel", "holds a password"),
        ("https://host/t/hunter2/channel", "holds a password or a token"),
        ("https://host/t/hunter2", "holds a password or a token"),
        ("file:///data/channel", "not an http"),
        ("ftp://host/channel", "not an http"),
        ("https:///channel", "not an http"),
        ("https://[::1/channel", "cannot be read"),
        ("/data/channel", "not a channel name"),
        ("../channel", "not a channel name"),
        ("conda-forge; rm -rf /", "not a channel name"),
        ("-c", "not a channel name"),
    ],
)
def test_channels_that_are_not(channel: str, what: str) -> None:
    problem = channel_problem(channel, None)
    assert problem is not None
    assert what in problem.what
    assert "hunter2" not in f"{problem.what}{problem.why}{problem.hint}"


def test_indexes_have_no_names() -> None:
    assert index_problem("https://host/simple", None) is None
    assert index_problem("conda-forge", None) is not None


def test_messages_show_urls_without_secrets() -> None:
    assert without_secrets("https://me:pw@host/t/tk-1/c/linux-64") == "https://host/t/***/c/linux-64"
    assert without_secrets("conda-forge") == "conda-forge"


def test_secrets_in_queries() -> None:
    problem = index_problem("https://host/simple?token=hunter2", None)
    assert problem is not None
    assert "hunter2" not in problem.what
    assert index_problem("https://host/simple?token=${TOKEN}", None) is None


def test_paths_are_local() -> None:
    for text in ("/x", "./x", "../x", "~/x", r"C:\x", "C:/x", "file:///x", r"\\server\x", "."):
        assert is_local(text), text
    for text in ("conda-forge", "https://host/x", "pkgs/main", ".x"):
        assert not is_local(text), text
