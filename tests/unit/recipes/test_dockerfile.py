from dataclasses import replace

import pytest

from envpack.errors import SourceError
from envpack.recipe import Recipe
from envpack.recipes import dockerfile


def test_it_says_what_the_image_is(recipe: Recipe) -> None:
    recipe = replace(recipe, labels={"org.example": 'a "b"'})
    assert dockerfile.render(recipe) == (
        f"FROM docker.io/library/ubuntu@sha256:{'b' * 64}\n"
        "COPY env /opt/env\n"
        "ENV PATH=/opt/env/bin:$PATH \\\n"
        '    CONDA_PREFIX="/opt/env" \\\n'
        '    CONDA_DEFAULT_ENV="climate" \\\n'
        '    CONDA_SHLVL="1" \\\n'
        '    PYTHONNOUSERSITE="1" \\\n'
        '    OMP_NUM_THREADS="4"\n'
        "LABEL \\\n"
        '    org.example="a \\"b\\""\n'
        'CMD ["/opt/env/bin/python"]\n'
    )


def test_values_with_line_breaks_are_refused_all_at_once(recipe: Recipe) -> None:
    with pytest.raises(SourceError) as caught:
        dockerfile.render(replace(recipe, variables={"A": "x\nRUN id", "B": "y\r", "C": "fine"}))
    assert [p.what for p in caught.value.problems] == [
        "the variable 'A' cannot be written into a Dockerfile",
        "the variable 'B' cannot be written into a Dockerfile",
    ]


def test_no_line_of_a_value_is_an_instruction(recipe: Recipe) -> None:
    text = dockerfile.render(replace(recipe, variables={"A": 'x" \\ $(id) `id` # RUN'}))
    starts = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    assert starts == ["FROM", "COPY", "ENV", "CMD"]
