"""Conda names and PyPI names."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from envpack.config import Config
from envpack.errors import EnvpackError, IntegrityError
from envpack.locking import names
from envpack.locking.nearest import nearest
from tests.unit.locking.conftest import Served, serving
from tools import update_names


def test_what_is_kept_of_the_published_mapping() -> None:
    published = {
        "numpy": ["numpy"],
        "ruamel.yaml": ["ruamel-yaml"],
        "typing_extensions": ["typing-extensions"],
        "libfoo": None,
        "empty": [],
        "pytorch": ["torch"],
        "ansible": ["ansible", "pip", "wheel"],
        "airflow": ["airflow", "Apache_Airflow"],
        "py-opencv": ["opencv-python", "opencv-python-headless"],
        "bundle": ["a", "b"],
    }
    assert names.reduce(published) == {
        "numpy": [],
        "ruamel.yaml": [],
        "typing_extensions": [],
        "ansible": [],
        "pytorch": ["torch"],
        "airflow": ["airflow", "apache-airflow"],
        "py-opencv": ["opencv-python", "opencv-python-headless"],
    }


def test_the_shipped_file_is_as_it_would_be_rendered() -> None:
    text = resources.files("envpack.locking").joinpath("conda_pypi_names.json").read_text("utf-8")
    loaded = json.loads(text)
    assert names.render(loaded) == text
    whole = {conda: pypi or [conda] for conda, pypi in loaded.items()}
    assert names.reduce(whole) == loaded


def test_lookups() -> None:
    assert names.pypi_names("pytorch") == ("torch",)
    assert names.pypi_names("matplotlib-base") == ("matplotlib",)
    assert names.pypi_names("Ruamel.Yaml") == ("ruamel-yaml",)
    assert names.conda_name("torch") == "pytorch"
    assert names.conda_name("numpy") is None
    assert names.conda_name("matplotlib") is None


def test_only_known_projects_are_told() -> None:
    assert names.projects("numpy") == ("numpy",)
    assert names.projects("pytorch") == ("torch",)
    assert names.projects("graphviz") == ()  # the programs; python-graphviz is PyPI's graphviz
    assert names.projects("no-such-package") == ()
    assert names.conda_names("graphviz") == ("python-graphviz",)
    assert names.conda_names("matplotlib") == ("matplotlib", "matplotlib-base")
    assert names.conda_names("Typing-Extensions") == ("typing_extensions",)
    assert names.conda_names("tables") == ("pytables",)
    assert names.conda_names("no-such-package") == ()


def test_nearest_names() -> None:
    known = ["numpy", "numpy-base", "scikit-learn", "py-opencv", "pandas", "zlib"]
    assert nearest("numpi", known)[0] == "numpy"
    assert nearest("scikit_learn", known)[0] == "scikit-learn"
    assert nearest("opencv-python", known)[0] == "py-opencv"
    assert nearest("qqqqq", known) == []
    assert nearest("numpi", list(reversed(known))) == nearest("numpi", known)


def published(body: bytes) -> Served:
    return Served(files={"/mapping.json": body})


def test_the_mapping_is_fetched_again(config: Config) -> None:
    body = json.dumps({"numpy": ["numpy"], "pytorch": ["torch"], "zlib": None}).encode()
    with serving(published(body), "/mapping.json") as served:
        text = update_names.updated('{"numpy": []}', config, served.url)
        assert text == '{\n"numpy": [],\n"pytorch": ["torch"]\n}\n'
        assert update_names.updated(text, config, served.url) == text


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"numpy": "numpy"}', b'{"numpy": [1]}', b'{"numpy": ["numpy"]}']
)
def test_what_cannot_be_the_mapping_is_refused(config: Config, body: bytes) -> None:
    with serving(published(body), "/mapping.json") as served, pytest.raises(IntegrityError):
        update_names.updated('{"numpy": [], "pandas": []}', config, served.url)


def test_a_mapping_that_is_not_there_is_an_error(config: Config) -> None:
    with serving(Served(), "/mapping.json") as served, pytest.raises(EnvpackError):
        update_names.updated("{}", config, served.url)


def test_the_published_file_as_it_was_gives_the_shipped_one(corpus: Path, config: Config) -> None:
    body = (corpus.parent / "mapping" / "conda_pypi_names.json").read_bytes()
    before = update_names.FILE.read_text("utf-8")
    with serving(published(body), "/mapping.json") as served:
        assert update_names.updated(before, config, served.url) == before
