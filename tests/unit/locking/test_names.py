"""Conda names and PyPI names."""

import json
from importlib import resources

from envpack.locking import names
from envpack.locking.nearest import nearest


def test_only_exceptions_are_kept() -> None:
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
        "pytorch": ["torch"],
        "airflow": ["airflow", "apache-airflow"],
        "py-opencv": ["opencv-python", "opencv-python-headless"],
    }


def test_the_shipped_file_is_as_it_would_be_rendered() -> None:
    text = resources.files("envpack.locking").joinpath("conda_pypi_names.json").read_text("utf-8")
    loaded = json.loads(text)
    assert names.render(loaded) == text
    assert names.reduce(loaded) == loaded


def test_lookups() -> None:
    assert names.pypi_names("pytorch") == ("torch",)
    assert names.pypi_names("matplotlib-base") == ("matplotlib",)
    assert names.pypi_names("Ruamel.Yaml") == ("ruamel-yaml",)
    assert names.conda_name("torch") == "pytorch"
    assert names.conda_name("numpy") is None


def test_nearest_names() -> None:
    known = ["numpy", "numpy-base", "scikit-learn", "py-opencv", "pandas", "zlib"]
    assert nearest("numpi", known)[0] == "numpy"
    assert nearest("scikit_learn", known)[0] == "scikit-learn"
    assert nearest("opencv-python", known)[0] == "py-opencv"
    assert nearest("qqqqq", known) == []
    assert nearest("numpi", list(reversed(known))) == nearest("numpi", known)
