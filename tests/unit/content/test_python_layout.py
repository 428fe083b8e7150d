from __future__ import annotations

from typing import Any

import pytest

from envpack.content.python_layout import PythonLayout
from envpack.errors import IntegrityError


@pytest.mark.parametrize("version", ["3.11.7", "3.11.0rc1", "3.11"])
def test_where_a_python_keeps_its_things(version: str) -> None:
    layout = PythonLayout.from_index({"version": version})
    assert layout.short == "3.11"
    assert layout.executable == "bin/python3.11"
    assert layout.site_packages == "lib/python3.11/site-packages"
    assert layout.stdlib == "lib/python3.11"


def test_a_free_threaded_python_says_where() -> None:
    index = {"version": "3.13.1", "python_site_packages_path": "lib/python3.13t/site-packages"}
    layout = PythonLayout.from_index(index)
    assert layout.site_packages == "lib/python3.13t/site-packages"
    assert layout.stdlib == "lib/python3.13t"
    assert layout.executable == "bin/python3.13"


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"version": "3"},
        {"version": "3.11/../.."},
        {"version": "3.11\n"},
        {"version": "3.11.7", "python_site_packages_path": "../../etc"},
        {"version": "3.11.7", "python_site_packages_path": "/usr/lib"},
    ],
)
def test_packages_that_are_no_python(index: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="no usable layout"):
        PythonLayout.from_index(index)
