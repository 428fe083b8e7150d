from dataclasses import replace

import pytest

from envpack.errors import SourceError
from envpack.recipe import Recipe
from envpack.recipes.validation import label_problems, validate, variable_problems


def test_an_ordinary_recipe_is_fine(recipe: Recipe) -> None:
    validate(recipe)


def test_all_problems_come_at_once(recipe: Recipe) -> None:
    bad = replace(
        recipe,
        name="a b",
        prefix="/opt/e:nv",
        variables={"1X": "", "PATH": "/x", "OK": "\0"},
        labels={"": "x", "org.example": "a\nb"},
        imports=("os; import this",),
        packages=(("%post", "1"), ("numpy", "{{ x }}")),
    )
    with pytest.raises(SourceError) as caught:
        validate(bad)
    named = "\n".join(problem.what for problem in caught.value.problems)
    for part in ("a b", "/opt/e:nv", "1X", "PATH", "OK", "''", "org.example", "this", "%post", "{{ x }}"):
        assert part in named
    assert len(caught.value.problems) == 10


@pytest.mark.parametrize("name", ["A", "_x", "PYTHONPATH", "gdal_data", "Path"])
def test_names_that_can_be_set(name: str) -> None:
    assert list(variable_problems({name: "value\nwith 'all' $(sorts)"})) == []


@pytest.mark.parametrize(
    "name",
    [
        *("", "a-b", "a b", "A=B", "é", "A\n"),
        *("PATH", "PYTHONHOME", "CONDA_PREFIX", "_envpack_bin"),
        *("HOME", "UID", "IFS", "BASH_ENV", "APPTAINER_BIND", "SINGULARITYENV_X"),
        *("LD_PRELOAD", "LD_LIBRARY_PATH"),
    ],
)
def test_names_that_cannot_be_set(name: str) -> None:
    [problem] = variable_problems({name: "x"})
    assert repr(name) in problem.what
    assert problem.why


def test_a_value_must_be_text() -> None:
    assert [p.what for p in variable_problems({"A": "\udcff", "B": "\0", "C": "ü"})] == [
        "the variable 'A' cannot be set",
        "the variable 'B' cannot be set",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("a b", ""), ("-a", ""), ("a", "x\n%post"), ("a", "{{ x }}"), ("a", "\0"), ("%post", "x")],
)
def test_labels_that_cannot_be_written(key: str, value: str) -> None:
    assert len(list(label_problems({key: value}))) == 1


@pytest.mark.parametrize("prefix", ["opt/env", "/", "/opt/../etc", "/opt//env", "/opt/env/", "/o pt", "/a\n"])
def test_prefixes_that_cannot_be(recipe: Recipe, prefix: str) -> None:
    with pytest.raises(SourceError, match="cannot be written"):
        validate(replace(recipe, prefix=prefix))
