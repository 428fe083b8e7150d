"""The stand-in wheels for conda's packages."""

from pathlib import Path
from zipfile import ZipFile

from envpack.locking import stubs
from envpack.locking.solver import CondaRecord


def record(name: str, version: str, *depends: str) -> CondaRecord:
    return CondaRecord(name, version, "0", f"https://host/{name}", None, None, None, None, depends)


def test_packages_that_need_python_under_their_pypi_names() -> None:
    records = (
        record("libzlib", "1.3", "__glibc >=2.17"),
        record("matplotlib", "3.8.1", "matplotlib-base >=3.8.1,<3.8.2.0a0", "python >=3.11,<3.12.0a0"),
        record("matplotlib-base", "3.8.2", "python >=3.11,<3.12.0a0"),
        record("pytorch", "2.1.0", "python"),
        record("ruamel.yaml", "0.18.6", "python >=3.8"),
        record("odd", "9e_beta+x", "python"),
        record("pythonlike", "1", "python_abi 3.11.* *_cp311"),
    )
    for given in (records, records[::-1]):
        assert stubs.from_conda(given) == {
            "matplotlib": "3.8.1",
            "odd": "0",
            "ruamel-yaml": "0.18.6",
            "torch": "2.1.0",
        }


def test_a_stub_is_a_wheel_of_that_name_and_version(tmp_path: Path) -> None:
    (line,) = stubs.write({"ruamel-yaml": "0.18.6"}, tmp_path)
    name, _, url = line.partition(" @ ")
    assert name == "ruamel-yaml"
    path = tmp_path / "ruamel_yaml-0.18.6-py3-none-any.whl"
    assert url == path.as_uri()
    with ZipFile(path) as wheel:
        assert "Name: ruamel-yaml\nVersion: 0.18.6\n" in wheel.read(
            "ruamel_yaml-0.18.6.dist-info/METADATA"
        ).decode("utf-8")
    first = path.read_bytes()
    stubs.write({"ruamel-yaml": "0.18.6"}, tmp_path)
    assert path.read_bytes() == first
