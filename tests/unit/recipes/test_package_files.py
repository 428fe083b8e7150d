from collections.abc import Callable
from dataclasses import replace

import pytest

from envpack import platforms
from envpack.errors import LockError
from envpack.lockfile import LockedPackage
from envpack.recipes import package_files

LINUX = platforms.get("linux-64")


def test_the_explicit_specification_has_hashes(packages: list[LockedPackage]) -> None:
    assert package_files.explicit(packages[:2], LINUX) == (
        "# platform: linux-64\n@EXPLICIT\n"
        "https://conda.anaconda.org/conda-forge/linux-64/python-3.11.7-0_cpython.conda"
        f"#sha256:{'1' * 64}\n"
        f"https://conda.anaconda.org/conda-forge/linux-64/pip-25.1-0.conda#sha256:{'2' * 64}\n"
    )


def test_requirements_and_their_page(packages: list[LockedPackage]) -> None:
    wheels = packages[3:]
    assert package_files.requirements(wheels) == (
        f"--no-index\n--find-links wheels.html\nrich==13.7.0 --hash=sha256:{'4' * 64}\n"
    )
    assert (
        '<a href="https://files.example.org/rich-13.7.0-py3-none-any.whl">rich-13.7.0-py3-none-any.whl</a>'
        in package_files.wheels(wheels)
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@host.example.org/c/linux-64/x-1-0.conda",
        "https://${USER}:${SECRET}@host.example.org/c/linux-64/x-1-0.conda",
        "https://host.example.org/t/secret/c/linux-64/x-1-0.conda",
        "https://host.example.org/c/linux-64/x-1-0.conda?token=secret",
        "https://host.example.org/c/linux-64/x-1-0.conda#secret",
    ],
)
def test_no_secret_is_written(packages: list[LockedPackage], url: str) -> None:
    package = replace(packages[0], url=url)
    text = package_files.explicit([package], LINUX)
    assert text.splitlines()[2] == f"https://host.example.org/c/linux-64/x-1-0.conda#sha256:{'1' * 64}"
    assert "secret" not in text.lower()


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a\n%post\nx-1-0.conda",
        "https://host/$(id)/x-1-0.conda",
        "https://host/${HOME}/x-1-0.conda",
        "https://host/`id`/x-1-0.conda",
        'https://host/"><a href="x-1-0.conda',
        "https://host/a b/x-1-0.conda",
        "https://host/\u00e9/x-1-0.conda",
        "https://user:secret@[bad/x-1-0.conda",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_could_do_harm_are_refused_and_not_repeated(
    packages: list[LockedPackage], url: str
) -> None:
    bad = [replace(packages[0], url=url), packages[1], replace(packages[2], url=url)]
    writers: list[Callable[[], str]] = [
        lambda: package_files.explicit(bad, LINUX),
        lambda: package_files.wheels(bad),
    ]
    for write in writers:
        with pytest.raises(LockError) as caught:
            write()
        assert [p.what for p in caught.value.problems] == [
            "the address of python 3.11.7 cannot be written",
            "the address of six 1.16.0 cannot be written",
        ]
        assert "secret" not in str(caught.value.problems)
