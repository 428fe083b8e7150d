import random
from collections.abc import Iterator

from envpack.engines.native.order import link_order
from envpack.lockfile import LockedPackage, Manager


def package(name: str, *needs: str, manager: Manager = "conda") -> LockedPackage:
    url, dependencies = f"https://x/{name}.conda", dict.fromkeys(needs, "")
    return LockedPackage(name, "1", manager, "linux-64", url, "0" * 64, dependencies=dependencies)


def names(*packages: LockedPackage) -> list[str]:
    return [p.name for p in link_order(packages)]


def test_dependencies_come_first_and_names_decide_otherwise() -> None:
    """In rounds, after what stands alone."""
    assert names(package("a", "z"), package("c"), package("z"), package("b")) == ["b", "c", "z", "a"]
    packages = [package("a"), package("e", "a"), package("b", "e"), package("d"), package("c", "d")]
    assert names(*packages) == ["a", "d", "c", "e", "b"]


def test_the_order_is_that_of_conda() -> None:
    """Checked against conda's way, written down plainly."""
    chance = random.Random(1)
    for _ in range(300):
        letters = [*"abcdefgh", "pip", "python"]
        needs = {name: chance.sample(letters, chance.choice([0, 0, 1, 1, 2, 4])) for name in letters}
        assert names(*(package(name, *needs[name]) for name in letters)) == list(of_conda(needs))


def of_conda(needs: dict[str, list[str]]) -> Iterator[str]:
    """``PrefixGraph._toposort`` with ``allow_cycles``, conda's default."""
    graph = {name: set(parents) - {name} for name, parents in needs.items()}
    graph["python"].discard("pip")
    parents_of_any = {parent for parents in graph.values() for parent in parents}
    seen = sorted(name for name in graph if not graph[name] and name not in parents_of_any)
    while graph:
        first = sorted(name for name, parents in graph.items() if not parents)
        first = first or [min(graph, key=lambda name: (len(graph[name]), name))]
        for name in first:
            del graph[name]
            seen += [name] if name not in seen else []
        for parents in graph.values():
            parents.difference_update(first)
    yield from seen


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
