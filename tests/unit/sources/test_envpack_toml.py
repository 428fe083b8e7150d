"""``envpack.toml``: what it may say, and where its mistakes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from envpack.content import project_files
from envpack.errors import SourceError
from envpack.image_settings import ImageSettings
from envpack.ledger import Action, Ledger
from envpack.sources import envpack_toml
from envpack.sources.envpack_toml import ProjectSettings

FULL = """\
base = "debian:12"
apt = ["libgl1", "git=1:2.39.2-1.1"]
post = ["echo one", '''
printf '%s\\n' "two"
''']
runscript = 'exec python -m tool "$@"'

[environment]
OMP_NUM_THREADS = "4"

[labels]
"org.opencontainers.image.source" = "https://example.org/x"

[files]
"data" = "/opt/data"
"./data/b.txt" = "/etc/"
"""


def read(folder: Path, ledger: Ledger | None = None) -> ProjectSettings:
    return envpack_toml.read(folder, project_files.digest, Ledger() if ledger is None else ledger)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.txt").write_text("b")
    return tmp_path


def check_full(settings: ProjectSettings, project: Path) -> None:
    image = settings.image
    assert settings.base == "debian:12"
    assert image.apt == ("libgl1", "git=1:2.39.2-1.1")
    assert image.post == ("echo one", "printf '%s\\n' \"two\"\n")
    assert image.runscript == 'exec python -m tool "$@"'
    assert image.variables == {"OMP_NUM_THREADS": "4"}
    assert image.labels == {"org.opencontainers.image.source": "https://example.org/x"}
    assert [(f.source, f.destination) for f in image.files] == [
        ("data/b.txt", "/etc/b.txt"),
        ("data", "/opt/data"),
    ]
    assert image.files[1].digest == project_files.digest(project, "data")


def test_everything(project: Path) -> None:
    (project / "envpack.toml").write_text(FULL)
    settings = read(project)
    check_full(settings, project)
    assert settings.file == "envpack.toml"
    assert ImageSettings.from_metadata(settings.image.to_metadata()) == settings.image


def test_in_pyproject(project: Path) -> None:
    text = FULL
    for table in ("environment", "labels", "files"):
        text = text.replace(f"[{table}]", f"[tool.envpack.{table}]")
    (project / "pyproject.toml").write_text(f'[project]\nname = "x"\n\n[tool.envpack]\n{text}')
    settings = read(project)
    check_full(settings, project)
    assert settings.file == "pyproject.toml"


def test_none(project: Path) -> None:
    assert read(project) == ProjectSettings()
    (project / "pyproject.toml").write_text("this is not TOML, and no affair of ours")
    assert read(project) == ProjectSettings()
    (project / "pyproject.toml").write_text('[tool.other]\nx = "envpack"\n')
    assert read(project) == ProjectSettings()


def test_of_both_files_one_counts_and_it_is_said(project: Path) -> None:
    (project / "envpack.toml").write_text('apt = ["a1"]\n')
    (project / "pyproject.toml").write_text('[tool.envpack]\napt = ["b1"]\n')
    ledger = Ledger()
    assert read(project, ledger).image.apt == ("a1",)
    (finding,) = ledger
    assert finding.action is Action.DROPPED
    assert str(finding.where) == "pyproject.toml:1"


def test_all_mistakes_at_once_each_with_its_line(project: Path) -> None:
    (project / "envpack.toml").write_text(
        'base = "Not An Image"\n'
        "apt = 'libgl1'\n"
        "post = [1]\n"
        "colour = 'red'\n"
        "[environment]\n"
        "THREADS = 4\n"
        "[files]\n"
        '"absent.txt" = "/opt/x"\n'
        '"../secret" = "/opt/y"\n'
        '"data/b.txt" = "relative"\n'
        '"data" = "/proc/x"\n'
    )
    with pytest.raises(SourceError) as caught:
        read(project)
    found = sorted((str(p.where), p.what) for p in caught.value.problems)
    lines = [int(where.rpartition(":")[2]) for where, _ in found]
    assert sorted(lines) == [1, 2, 3, 4, 6, 8, 9, 10, 11]
    text = "\n".join(what for _, what in found)
    for word in (
        "'colour'",
        "apt is not a list",
        "THREADS",
        "no absent.txt",
        "'../secret'",
        "'relative'",
        "/proc/x",
    ):
        assert word in text


def test_one_destination_for_two_files(project: Path) -> None:
    (project / "c.txt").write_text("c")
    (project / "envpack.toml").write_text('[files]\n"data/b.txt" = "/x"\n"c.txt" = "/x"\n')
    with pytest.raises(SourceError, match="cannot be") as caught:
        read(project)
    assert caught.value.problems[0].what == "data/b.txt is copied to /x too"
    assert str(caught.value.problems[0].where) == "envpack.toml:3"


@pytest.mark.parametrize(
    ("text", "line"),
    [("apt = [\n", 2), ("a = 1\na = 2\n", 2), ("x" * 100, 1), ("[[[[", 1), ("a = " + "[" * 9999, None)],
)
def test_no_toml(project: Path, text: str, line: int | None) -> None:
    (project / "envpack.toml").write_text(text)
    with pytest.raises(SourceError, match="not valid TOML") as caught:
        read(project)
    assert caught.value.where is not None
    assert line is None or caught.value.where.line is None or caught.value.where.line == line


@pytest.mark.parametrize("text", ["files = 1\n", "labels = []\n", "[tool]\nx=1\n", "environment = 'x'\n"])
def test_wrong_types(project: Path, text: str) -> None:
    (project / "envpack.toml").write_text(text)
    with pytest.raises(SourceError):
        read(project)
