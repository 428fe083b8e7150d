"""Fixtures for unit tests that speak HTTP: two servers, so that there is another host to be led to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envpack.config import Config
from envpack.download import Downloader
from tests.standins import scripted


class Told:
    """Remembers the notes and the bytes that a progress display would show."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.total: int | None = None
        self.done = 0

    def step(self, title: str, total: int | None = None, unit: str = "items") -> Told:
        """Begin a step."""
        self.total = total
        return self

    def note(self, text: str) -> None:
        """Remember a note."""
        self.notes.append(text)

    def advance(self, amount: int = 1) -> None:
        """Count."""
        self.done += amount

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No proxy, no ~/.netrc and no docker login of whoever runs the tests."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "DOCKER_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))


@pytest.fixture
def server() -> Iterator[scripted.Scripted]:
    """A server that answers what the test scripts."""
    with scripted.serving() as running:
        yield running


@pytest.fixture
def other() -> Iterator[scripted.Scripted]:
    """Another such server, on another port: another origin."""
    with scripted.serving() as running:
        yield running


@pytest.fixture
def told() -> Told:
    """Where progress and notes go."""
    return Told()


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were waited between tries."""
    return []


@pytest.fixture
def downloader(told: Told, waits: list[float], tmp_path: Path) -> Iterator[Callable[..., Downloader]]:
    """Makes downloaders that wait for nobody; ``environ`` and parts of :class:`Config` may be given."""
    made = []

    def make(environ: dict[str, str] | None = None, **settings: object) -> Downloader:
        config = Config(tmp_path / "cache", **settings)  # type: ignore[arg-type]  # whatever the test gives
        made.append(Downloader(config, told, read_timeout=0.3, wait=waits.append, environ=environ or {}))
        return made[-1]

    yield make
    for one in made:
        one.close()
