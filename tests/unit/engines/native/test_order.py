from envpack.engines.native.order import link_order
from envpack.lockfile import LockedPackage, Manager


def package(name: str, *needs: str, manager: Manager = "conda") -> LockedPackage:
    url, dependencies = f"https://x/{name}.conda", dict.fromkeys(needs, "")
    return LockedPackage(name, "1", manager, "linux-64", url, "0" * 64, dependencies=dependencies)


def names(*packages: LockedPackage) -> list[str]:
    return [p.name for p in link_order(packages)]


def test_dependencies_come_first_and_names_decide_otherwise() -> None:
    assert names(package("a", "z"), package("c"), package("z"), package("b")) == ["z", "a", "b", "c"]


def test_the_order_does_not_depend_on_the_input_order() -> None:
    packages = [package("a", "c", "b"), package("b", "d"), package("c", "d"), package("d")]
    assert names(*packages) == names(*reversed(packages)) == ["d", "b", "c", "a"]


def test_a_cycle_ends() -> None:
    assert sorted(names(package("pip", "python"), package("python", "pip"))) == ["pip", "python"]


def test_pip_comes_after_conda() -> None:
    assert names(package("aaa", manager="pip"), package("zzz")) == ["zzz", "aaa"]


def test_a_long_chain_needs_no_recursion() -> None:
    chain = [package(f"p{i:05}", f"p{i + 1:05}") for i in range(5000)]
    assert names(*chain)[0] == "p04999"
