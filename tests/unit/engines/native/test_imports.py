from envpack.engines.native.imports import requested_modules, top_level_modules
from envpack.lockfile import LockedPackage

SITE = "opt/env/lib/python3.11/site-packages"


def package(name: str, *needs: str) -> LockedPackage:
    return LockedPackage(
        name, "1", "conda", "linux-64", "https://x/x.conda", "0" * 64, None, dict.fromkeys(needs, "")
    )


def test_packages_modules_and_extensions_are_found() -> None:
    paths = ["numpy/__init__.py", "six.py", "_private.py", "fast.cpython-311-x86_64-linux-gnu.so",
             "tests/__init__.py", "data/x.txt", "a-b.py", "numpy-1.dist-info/METADATA"]  # fmt: skip
    found = top_level_modules([f"{SITE}/{p}" for p in paths] + ["opt/env/lib/other.py"], SITE)
    assert found == {"numpy", "six", "fast"}


def test_the_module_named_like_the_package_stands_for_it() -> None:
    modules = {"conda:ipython": frozenset({"IPython", "other"}), "conda:pyyaml": frozenset({"yaml"})}
    packages = {token: package(token[6:]) for token in modules}
    assert requested_modules(modules, packages, modules.__getitem__) == ("IPython", "yaml")


def test_a_metapackage_is_tested_by_the_dependency_named_after_it() -> None:
    packages = {"conda:matplotlib": package("matplotlib", "matplotlib-base", "python")}
    modules = {
        "conda:matplotlib": frozenset(),
        "conda:matplotlib-base": frozenset({"matplotlib", "pylab"}),
        "conda:python": frozenset({"this"}),
    }
    assert requested_modules(["conda:matplotlib"], packages, modules.__getitem__) == ("matplotlib",)


def test_what_is_no_python_code_is_not_tested() -> None:
    packages = {"conda:gdal-data": package("gdal-data"), "conda:python": package("python")}
    asked = ["conda:gdal-data", "conda:python", "conda:absent"]
    assert requested_modules(asked, packages, lambda token: frozenset()) == ()
