"""Sources that cannot be locked: what is wrong, where, and what to do; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.commands import (
    COMMAND,
    WITHOUT_PRIVILEGES,
    Done,
    envpack,
    error,
    failed,
    nothing_written,
)

Lock = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


@pytest.fixture
def lock(folder: Path, config_file: Path) -> Lock:
    """Writes ``source`` as environment.yml and runs ``envpack lock``, which must leave nothing behind."""

    def run(source: str | bytes | None, *arguments: str, **options: object) -> Done:
        if source is not None:
            data = source.encode() if isinstance(source, str) else source
            (folder / "environment.yml").write_bytes(data)
        with nothing_written(folder):
            return envpack("lock", *arguments, config=config_file, cwd=folder, check=False, **options)  # type: ignore[arg-type]  # handed through

    return run


def dependencies(*lines: str) -> str:
    return "name: bad\nchannels:\n  - conda-forge\ndependencies:\n" + "".join(f"  - {x}\n" for x in lines)


def test_no_source(lock: Lock, folder: Path) -> None:
    message = failed(lock(None), 3, "there is no environment.yml", str(folder))
    assert "pip freeze" in message
    assert error(lock(None, "--json"), 3, "SourceError")["hint"]


def test_a_source_that_is_not_there(lock: Lock, folder: Path) -> None:
    failed(lock(None, "enviroment.yml"), 3, "there is no file enviroment.yml", str(folder))


def test_nothing_on_standard_input(lock: Lock) -> None:
    failed(lock(None, "-"), 3, "nothing came on standard input")


@pytest.mark.parametrize("source", ["", "# only a comment\n", "---\n"])
def test_empty(lock: Lock, source: str) -> None:
    failed(lock(source), 3, "environment.yml is empty")


@pytest.mark.parametrize("source", ["name: bad\n", "name: bad\ndependencies:\n", "dependencies: []\n"])
def test_no_packages(lock: Lock, source: str) -> None:
    failed(lock(source), 3, "environment.yml asks for no packages")


def test_a_folder(lock: Lock, folder: Path) -> None:
    (folder / "environment.yml").mkdir()
    failed(lock(None), 3, "environment.yml is a folder")


def test_a_link_to_nothing(lock: Lock, folder: Path) -> None:
    (folder / "environment.yml").symlink_to("elsewhere.yml")
    failed(lock(None), 3, "there is no file environment.yml", "elsewhere.yml")


def test_unreadable(lock: Lock, folder: Path) -> None:
    (folder / "environment.yml").write_text("name: bad\n")
    (folder / "environment.yml").chmod(0)
    done = envpack_unprivileged(folder)
    failed(done, 3, "cannot read environment.yml", "Permission denied")


def envpack_unprivileged(folder: Path) -> Done:
    command = [*WITHOUT_PRIVILEGES, *COMMAND]
    return envpack("lock", config=folder.parent / "config.toml", cwd=folder, check=False, command=command)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("name: bad\ndependencies:\n  - numpy\n - scipy\n", "environment.yml:4:2"),
        ("name: bad\ndependencies: [numpy\n", "environment.yml:3:1"),
        ("name: bad\ndependencies:\n\t- numpy\n", "environment.yml:3:1"),
        ("name: bad: worse\n", "environment.yml:1:10"),
        ("name: 'bad\n", "environment.yml:2:1"),
        ("name: *bad\n", "environment.yml:1:7"),
        ("name: bad\x07\n", "environment.yml"),
    ],
)
def test_invalid_yaml_is_told_with_line_and_column(lock: Lock, source: str, place: str) -> None:
    failed(lock(source), 3, f"error: {place}: not valid YAML", action="\x07" not in source)


@pytest.mark.parametrize("source", ["- numpy\n", "numpy\n"])
def test_not_an_environment(lock: Lock, source: str) -> None:
    failed(lock(source), 3, "environment.yml:1:1: not an environment file")


def test_not_text(lock: Lock) -> None:
    failed(lock(b"name: bad\n# \xff\xfe\xfd\n"), 3, "environment.yml:2: not valid UTF-8")


def test_too_long(lock: Lock) -> None:
    failed(lock(dependencies(*["numpy"] * 1_200_000)), 3, "environment.yml is longer than")


def test_a_bomb_of_aliases(lock: Lock) -> None:
    """Twelve lines that stand for ten to the eleventh texts."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    for key in ("dependencies", "variables"):
        failed(lock("\n".join([*lines, f"{key}: *a11"])), 3)


def test_all_that_is_wrong_at_once(lock: Lock) -> None:
    source = """\
name: ../bad
channels: [conda-forge, "https://user:secret@example.org/channel", "bad channel"]
dependencies:
  - numpy =>1
  - pip:
      - "not a requirement!"
      - -e .
variables:
  A-B: "1"
"""
    message = failed(lock(source), 3, "environment.yml cannot be used as it is")
    for place in ("1:7", "2:25", "2:68", "4:5", "6:9", "9:8"):
        assert f"environment.yml:{place}: " in message
    assert "secret" not in message
    problems = error(lock(source, "--json"), 3, "SourceError")["problems"]
    assert isinstance(problems, list)
    assert len(problems) >= 6


def test_names_that_no_channel_has(lock: Lock) -> None:
    source = dependencies("pyton", "sixx >=1", "six", "click", "nothing-like-it", "python")
    message = failed(
        lock(source), 4, "packages that are asked for do not exist", "conda.anaconda.org/conda-forge"
    )
    assert "environment.yml:5:5: no channel has pyton. Did you mean python?" in message
    assert "environment.yml:6:5: no channel has sixx. Did you mean six?" in message
    assert "environment.yml:9:5: no channel has nothing-like-it" in message
    problems = error(lock(source, "--json"), 4, "SolveError")["problems"]
    assert isinstance(problems, list)
    assert [p["line"] for p in problems] == [5, 6, 9]


def test_names_that_pip_s_index_does_not_have(lock: Lock) -> None:
    source = dependencies(
        "python", "pip:\n      - humanize\n      - envpack-no-such-thing-1\n      - envpack-no-such-2"
    )
    message = failed(lock(source), 4)
    assert "environment.yml:8:9" in message
    assert "environment.yml:9:9" in message


def test_a_conflict_is_the_solver_s_tree(lock: Lock) -> None:
    message = failed(lock(dependencies("conflict_a", "conflict_b")), 4, "do not fit together on linux-64")
    assert "conflict_base 1.*" in message
    assert "─ conflict_b" in message


def test_a_version_that_does_not_exist(lock: Lock) -> None:
    failed(lock(dependencies("six >=99")), 4, "do not fit together", "six >=99")


def test_something_that_only_another_platform_has(lock: Lock) -> None:
    message = failed(lock(dependencies("only_64"), "--platform", "linux-aarch64"), 4)
    assert "only_64" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--platform", "osx-64"], "linux-aarch64"),
        (["--prefix", "/opt/../etc"], "--prefix /opt/env"),
        (["--prefix", "/opt/$(id)"], "--prefix /opt/env"),
        (["--base", "Not An Image"], "is not an image name"),
        (["--solver", "/nowhere/mamba"], "/nowhere/mamba"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_command_line(lock: Lock, arguments: list[str], words: str) -> None:
    source = dependencies("clobber_a")
    failed(lock(source, *arguments), 2, words)


def test_a_wrong_command_line_as_json(lock: Lock) -> None:
    assert error(lock(dependencies("clobber_a"), "--json", "--nonsense"), 2, "UsageError")["hint"]


def test_names_that_cannot_be_files(lock: Lock) -> None:
    for name in ("../x", ""):
        failed(lock(dependencies("clobber_a"), f"--name={name}"), 3, "cannot be a file name", "--name")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("cache = x", ":1:9"),
        ("cache = 5", "cache is not a text"),
        ("cash = 'x'", "'cash'"),
        ("[mirrors]\n'https://a.example' = ['ftp://b.example']", "ftp://b.example"),
        ("[credentials.'a.example']\npassword = 'hunter2'", "password_env"),
    ],
)
def test_a_wrong_configuration(lock: Lock, config_file: Path, settings: str, words: str) -> None:
    config_file.write_text(settings)
    message = failed(lock(dependencies("clobber_a")), 11, "config.toml", words, action=False)
    assert "hunter2" not in message


def test_a_configuration_that_is_not_there(lock: Lock, config_file: Path) -> None:
    config_file.unlink()
    failed(lock(dependencies("clobber_a")), 11, "there is no configuration file", "ENVPACK_CONFIG")


def test_a_lock_that_was_good_stays(lock: Lock, folder: Path, config_file: Path) -> None:
    """Each of these fails after a lock was written: :func:`nothing_written` compares its bytes."""
    (folder / "environment.yml").write_text(dependencies("clobber_a"))
    envpack("lock", config=config_file, cwd=folder)
    failed(lock(dependencies("clobber_q")), 4)
    failed(lock(dependencies("conflict_a", "conflict_b")), 4)
    failed(lock("name: bad\n"), 3)
    failed(lock(dependencies("clobber_b"), "--check"), 1, "no longer answers its source")
