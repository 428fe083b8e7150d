"""Environments read from their folders: conda's, virtual ones, and those in sandboxes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from envpack.errors import SourceError, UsageError
from envpack.ledger import Action, Finding, Ledger
from envpack.sources import installed, read
from envpack.spec import EnvSpec

FORGE = "https://conda.anaconda.org/conda-forge"
SITE = "lib/python3.11/site-packages"


def record(
    prefix: Path, name: str, version: str = "1.0", *, build: str = "h_0", subdir: str = "linux-64",
    channel: str = FORGE, depends: Sequence[str] = (), files: Sequence[str] = (), **other: Any,
) -> Path:  # fmt: skip
    """A conda package, installed: its record and ``files``."""
    stem = f"{name}-{version}-{build}"
    path = prefix / "conda-meta" / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data: dict[str, Any] = {
        "name": name,
        "version": version,
        "build": build,
        "subdir": subdir,
        "channel": channel,
    }
    data |= {"url": f"{channel}/{subdir}/{stem}.conda", "depends": list(depends), "files": list(files)}
    path.write_text(json.dumps({k: v for k, v in (data | other).items() if v is not None}))
    for file in files:
        (prefix / file).parent.mkdir(parents=True, exist_ok=True)
        (prefix / file).touch()
    return path


def project(prefix: Path, name: str, version: str, site: str = SITE, **files: object) -> Path:
    """A python package: its metadata, and what else belongs to these (JSON)."""
    folder = prefix / site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: no\n")
    for file, content in files.items():
        (folder / file.replace("_json", ".json")).write_text(json.dumps(content) if content else "")
    return folder


def python_record(prefix: Path, name: str, version: str, *, there: bool = True, **other: Any) -> Path:
    """A conda package that is a python package; unless ``there``, pip has removed that."""
    folder = f"{SITE}/{name.replace('-', '_')}-{version}.dist-info"
    files = [f"{folder}/METADATA", f"{folder}/RECORD"]
    path = record(prefix, name, version, subdir="noarch", files=files, **other)
    if there:
        project(prefix, name, version)
    else:
        for file in files:
            (prefix / file).unlink()
        (prefix / folder).rmdir()
    return path


def python(prefix: Path, version: str = "3.11.7", **other: Any) -> None:
    """python's own record, and its folder."""
    record(prefix, "python", version, build="h_0_cpython", **other)
    (prefix / SITE).mkdir(parents=True, exist_ok=True)


def spec_of(folder: Path, name: str | None = None) -> tuple[EnvSpec, list[Finding]]:
    ledger = Ledger()
    return read(folder.name, directory=folder.parent, name=name, ledger=ledger), list(ledger)


def failure_of(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        spec_of(folder)
    return caught.value


def conda(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.conda]


def pip(spec: EnvSpec) -> list[str]:
    return [requirement.text for requirement in spec.pip]


def said(findings: list[Finding]) -> list[tuple[Action, str]]:
    return [(finding.action, finding.subject) for finding in findings]


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """A conda environment with python alone, in a folder ``env``."""
    python(tmp_path / "env")
    return tmp_path / "env"


def test_every_package_exactly(env: Path) -> None:
    record(env, "tzdata", "2024a", subdir="noarch")
    record(env, "_libgcc_mutex", "0.1", build="conda_forge")
    spec, findings = spec_of(env)
    assert conda(spec) == [
        "_libgcc_mutex ==0.1 conda_forge",
        "python ==3.11.7 h_0_cpython",
        "tzdata ==2024a h_0",
    ]
    assert (spec.channels, spec.platforms, spec.pip) == (("conda-forge",), ("linux-64",), ())
    assert str(spec.conda[2].where) == "env/conda-meta/tzdata-2024a-h_0.json"
    assert spec.asked is None
    assert said(findings) == [(Action.GUESSED, "name: env")]


def test_only_packages_for_every_platform(tmp_path: Path) -> None:
    record(tmp_path / "env", "tzdata", "2024a", subdir="noarch")
    assert spec_of(tmp_path / "env")[0].platforms == ()


@pytest.mark.parametrize(
    ("given", "folder", "expected"), [(None, "my env (1)", "my-env-1"), ("chosen", "env", "chosen")]
)
def test_the_name(tmp_path: Path, given: str | None, folder: str, expected: str) -> None:
    python(tmp_path / folder)
    spec, findings = spec_of(tmp_path / folder, given)
    assert spec.name == expected
    assert (Action.GUESSED in [f.action for f in findings]) is (given is None)


def test_what_was_asked_for_is_known_from_the_records_and_from_the_history(env: Path) -> None:
    record(env, "a", requested_spec="a >=1")
    record(env, "b", requested_spec="None", requested_specs=[])
    record(env, "c", requested_specs=["c"])
    record(env, "d")
    project(env, "e", "1", REQUESTED=None)
    project(env, "f", "1")
    history = (
        "==> 2024-01-01 <==\n+x::b-1.0-h_0\n# update specs: ['python=3.11', \"conda-forge::D\", 'gone']\n"
    )
    (env / "conda-meta" / "history").write_text(history)
    spec, _ = spec_of(env)
    assert spec.asked == frozenset({"conda:a", "conda:c", "conda:d", "conda:python", "pip:e"})
    assert pip(spec) == ["e==1", "f==1"]


def test_what_pip_was_asked_for_says_nothing_of_conda(env: Path) -> None:
    project(env, "e", "1", REQUESTED=None)
    assert spec_of(env)[0].asked is None


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"channel": "conda-forge", "url": None}, "conda-forge"),
        ({"channel": "conda-forge/linux-64", "url": None}, "conda-forge"),
        ({"channel": "pkgs/main", "url": None}, "https://repo.anaconda.com/pkgs/main"),
        ({"channel": "defaults", "url": None}, "defaults"),
        ({"channel": "x", "url": "https://repo.anaconda.com/pkgs/main/linux-64/a-1.0-h_0.tar.bz2"},
         "https://repo.anaconda.com/pkgs/main"),
        ({"channel": f"{FORGE}/"}, "conda-forge"),
        ({"channel": "<unknown>"}, "conda-forge"),
        ({"url": "https://conda.anaconda.org/nvidia/label/cuda-12.4.0/linux-64/a-1.0-h_0.conda"},
         "nvidia/label/cuda-12.4.0"),
        ({"url": "http://127.0.0.1:8000/linux-64/a-1.0-h_0.conda"}, "http://127.0.0.1:8000"),
        ({"url": "https://host.org/a%20b/linux-64/a-1.0-h_0.conda#hash"}, "https://host.org/a%20b"),
        ({"subdir": None}, "conda-forge"),
    ],
)  # fmt: skip
def test_channels(tmp_path: Path, recorded: dict[str, str | None], expected: str) -> None:
    path = record(tmp_path / "env", "a")
    data = json.loads(path.read_text()) | recorded
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    spec, findings = spec_of(tmp_path / "env", "n")
    assert (spec.channels, conda(spec), spec.platforms) == ((expected,), ["a ==1.0 h_0"], ("linux-64",))
    assert not findings


def test_of_several_channels_each_gives_its_own(env: Path) -> None:
    record(env, "a", channel="https://conda.anaconda.org/pytorch")
    record(env, "b")
    spec, findings = spec_of(env, "n")
    assert spec.channels == ("conda-forge", "pytorch")
    assert conda(spec) == [
        "pytorch::a ==1.0 h_0", "conda-forge::b ==1.0 h_0", "conda-forge::python ==3.11.7 h_0_cpython",
    ]  # fmt: skip
    assert said(findings) == [(Action.GUESSED, "channels: conda-forge, pytorch")]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("https://me:secret@host.org/c", "https://host.org/c"),
        ("https://host.org/t/secret/c", "https://host.org/c"),
        ("https://conda.anaconda.org/t/secret/group", "group"),
        ("https://${HOME}:secret@host.org/t/secret/c", "https://host.org/c"),
    ],
)
def test_secrets_stay_where_they_are(tmp_path: Path, channel: str, expected: str) -> None:
    record(tmp_path / "env", "a", channel=channel)
    record(tmp_path / "env", "b", channel=channel)
    spec, findings = spec_of(tmp_path / "env", "n")
    assert spec.channels == (expected,)
    assert said(findings) == [(Action.DROPPED, f"password or token of {expected}")]
    assert "secret" not in repr(spec) + repr(findings)


@pytest.mark.parametrize(
    "channel",
    [
        "file:///home/me/channel", "https://host.org/${HOME}", "https://host.org/$HOME", "ftp://host.org/c",
        "https://host.org/a b", "https://host.org/c[build=*]", "https://host.org/\n", "../c", "https://",
    ],
)  # fmt: skip
def test_channels_that_no_lock_can_name(env: Path, channel: str) -> None:
    record(env, "a", channel=channel)
    record(env, "b", channel=channel)
    spec, findings = spec_of(env, "n")
    assert conda(spec) == ["python ==3.11.7 h_0_cpython"]
    assert said(findings) == [(Action.NEEDS_YOU, "a 1.0"), (Action.NEEDS_YOU, "b 1.0")]
    assert all(f.reason.startswith("it was installed from ") and f.remedy and f.where for f in findings)


def test_packages_of_pip(env: Path) -> None:
    python_record(env, "six", "1.17.0")
    project(env, "Zope.Interface", "7.0.post0", INSTALLER=None)
    project(env, "rich", "13.7", direct_url_json=None).joinpath("direct_url.json").unlink()
    project(env, "~ich", "13.6")
    old = env / SITE / "legacy-1.0-py3.11.egg-info"
    old.write_text("Name: legacy\r\nVersion: 1.0\r\n")
    vendored = "setuptools/_vendor"
    record(env, "setuptools", "80", files=[f"{SITE}/{vendored}/rich-1.dist-info/METADATA"])
    spec, findings = spec_of(env, "n")
    assert pip(spec) == ["legacy==1.0", "rich==13.7", "zope-interface==7.0.post0"]
    assert conda(spec) == ["python ==3.11.7 h_0_cpython", "setuptools ==80 h_0", "six ==1.17.0 h_0"]
    assert str(spec.pip[1].where) == f"env/{SITE}/rich-13.7.dist-info"
    assert not findings


def test_the_packages_of_the_python_that_is_there(env: Path) -> None:
    project(env, "old", "1", site="lib/python3.10/site-packages")
    assert pip(spec_of(env)[0]) == []
    threaded = "lib/python3.13t/site-packages"
    (env / "conda-meta" / "python-3.11.7-h_0_cpython.json").unlink()
    python(env, "3.13.1", python_site_packages_path=threaded)
    project(env, "new", "1", site=threaded)
    assert pip(spec_of(env)[0]) == ["new==1"]


@pytest.mark.parametrize(
    ("origin", "why"),
    [
        ({"url": "https://host/x.git", "vcs_info": {"vcs": "git", "commit_id": "0"}}, "a repository"),
        ({"url": "file:///home/me/x", "dir_info": {"editable": True}}, "an editable installation"),
        ({"url": "file:///home/me/x", "dir_info": {}}, "a file or a folder of the machine"),
        ({"url": "https://host/x-1-py3-none-any.whl", "archive_info": {}}, "outside of any index"),
    ],
)
def test_what_is_on_no_index_needs_the_user(env: Path, origin: dict[str, object], why: str) -> None:
    project(env, "x", "1", direct_url_json=origin)
    project(env, "y", "2", direct_url_json=origin)
    project(env, "z", "3")
    spec, findings = spec_of(env, "n")
    assert pip(spec) == ["z==3"]
    assert said(findings) == [(Action.NEEDS_YOU, "x 1"), (Action.NEEDS_YOU, "y 2")]
    assert all(why in finding.reason and finding.remedy for finding in findings)


def test_where_conda_built_a_package_is_no_matter(env: Path) -> None:
    folder = f"{SITE}/six-1.17.0.dist-info"
    project(env, "six", "1.17.0", direct_url_json={"url": "file:///home/conda/feedstock_root/work"})
    path = python_record(env, "six", "1.17.0")
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"files": [*data["files"], f"{folder}/direct_url.json"]}))
    assert "six ==1.17.0 h_0" in conda(spec_of(env)[0])
    path.write_text(json.dumps(data))  # now it is pip's, of the same version
    spec, findings = spec_of(env, "n")
    assert not pip(spec)
    assert (Action.NEEDS_YOU, "six 1.17.0") in said(findings)


def test_pip_over_a_package_that_nothing_needs(env: Path) -> None:
    python_record(env, "six", "1.16.0", there=False)
    project(env, "six", "1.17.0", REQUESTED=None)
    spec, findings = spec_of(env, "n")
    assert (conda(spec), pip(spec)) == (["python ==3.11.7 h_0_cpython"], ["six==1.17.0"])
    assert said(findings) == [(Action.REPLACED, "six 1.16.0")]


def test_pip_over_a_package_that_conda_needs(env: Path) -> None:
    python_record(env, "six", "1.16.0", there=False)
    python_record(env, "python-dateutil", "2.8", depends=["python", "six >=1.5"])
    project(env, "six", "1.17.0")
    spec, findings = spec_of(env, "n")
    assert "six ==1.17.0" in conda(spec)
    assert pip(spec) == []
    assert said(findings) == [(Action.REPLACED, "six 1.16.0")]
    assert "python-dateutil needs it from conda" in findings[0].reason
    assert findings[0].remedy


def test_pip_over_a_package_and_over_the_one_that_needs_it(env: Path) -> None:
    """A chain of packages is conda's as far as conda's other packages reach."""
    for name, depends in (("a", ["b"]), ("b", []), ("c", ["d"]), ("d", []), ("e", ["c=1"])):
        python_record(env, name, "1.0", there=name == "e", depends=depends)
        if name != "e":
            project(env, name, "2.0")
    spec, _ = spec_of(env)
    assert conda(spec) == ["c ==2.0", "d ==2.0", "e ==1.0 h_0", "python ==3.11.7 h_0_cpython"]
    assert pip(spec) == ["a==2.0", "b==2.0"]


def test_both_versions_metadata_are_there(env: Path) -> None:
    """As after pip install --ignore-installed."""
    python_record(env, "six", "1.16.0")
    project(env, "six", "1.17.0")
    assert pip(spec_of(env)[0]) == ["six==1.17.0"]


def test_pip_upgraded_itself(env: Path) -> None:
    python_record(env, "pip", "24.0", there=False)
    project(env, "pip", "25.0")
    spec, findings = spec_of(env, "n")
    assert (conda(spec), pip(spec)) == (["pip ==25.0", "python ==3.11.7 h_0_cpython"], [])
    assert "every package of pip's needs it" in findings[0].reason


def test_pip_that_conda_did_not_install(env: Path) -> None:
    project(env, "pip", "24.0")
    project(env, "wheel", "0.45")
    spec, findings = spec_of(env, "n")
    assert (conda(spec)[1:], pip(spec)) == (["pip", "wheel ==0.45"], [])
    assert said(findings) == [(Action.RELAXED, "pip==24.0"), (Action.REPLACED, "wheel==0.45")]


def test_one_of_several_projects_in_a_package(env: Path) -> None:
    """The record stays conda's; pip's project lies over it in the image as it does here."""
    files = [f"{SITE}/{name}-1.0.dist-info/METADATA" for name in ("big", "side")]
    record(env, "big", files=files)
    project(env, "big", "1.0")
    (env / files[1]).unlink()
    (env / files[1]).parent.rmdir()
    project(env, "side", "2.0")
    spec, _ = spec_of(env)
    assert (conda(spec)[0], pip(spec)) == ("big ==1.0 h_0", ["side==2.0"])


def test_pip_removed_a_package(env: Path) -> None:
    python_record(env, "six", "1.16.0", there=False)
    python_record(env, "attrs", "1.0", there=False)
    python_record(env, "jsonschema", "1.0", depends=["attrs"])
    spec, findings = spec_of(env, "n")
    assert conda(spec) == ["attrs ==1.0 h_0", "jsonschema ==1.0 h_0", "python ==3.11.7 h_0_cpython"]
    assert said(findings) == [(Action.KEPT, "attrs 1.0"), (Action.DROPPED, "six 1.16.0")]


def venv(folder: Path, config: str = "home = /usr/bin\nversion = 3.11.2\n") -> Path:
    (folder / SITE).mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(config)
    project(folder, "rich", "13.7", REQUESTED=None)
    return folder


@pytest.mark.parametrize(
    "version", ["version = 3.11.2", "version_info = 3.11.2.final.0", "version_info=3.11"]
)
def test_a_virtual_environment(tmp_path: Path, version: str) -> None:
    folder = venv(tmp_path / "v", f"home = /usr/bin\n{version}\n")
    project(folder, "pip", "23.0")
    project(folder, "setuptools", "66.1.1")
    spec, findings = spec_of(folder, "n")
    assert spec.channels == ("conda-forge",)
    assert (conda(spec), pip(spec)) == (["python =3.11", "pip", "setuptools ==66.1.1"], ["rich==13.7"])
    assert (spec.asked, spec.platforms) == (None, ())
    assert said(findings) == [
        (Action.REPLACED, "python =3.11"),
        (Action.RELAXED, "pip==23.0"),
        (Action.REPLACED, "setuptools==66.1.1"),
    ]


def test_a_virtual_environment_on_the_systems_packages(tmp_path: Path) -> None:
    folder = venv(tmp_path / "v", "version = 3.11.2\ninclude-system-site-packages = true\n")
    assert (Action.NEEDS_YOU, "include-system-site-packages") in said(spec_of(folder)[1])


@pytest.mark.parametrize("config", ["", "version = 2.7.18\n", "version = 3.10.1\n"])
def test_a_virtual_environment_of_no_python(tmp_path: Path, config: str) -> None:
    assert "no python 3" in failure_of(venv(tmp_path / "v", config)).problems[0].what


def sandbox(folder: Path, labels: object = None) -> Path:
    (folder / ".singularity.d").mkdir(parents=True)
    if labels is not None:
        (folder / ".singularity.d" / "labels.json").write_text(json.dumps(labels))
    return folder


def test_a_sandbox_with_labels(tmp_path: Path) -> None:
    labels = {
        "org.envpack.prefix": "/opt/science",
        "org.opencontainers.image.title": "work",
        "org.opencontainers.image.base.name": "docker.io/library/ubuntu:20.04",
    }
    root = sandbox(tmp_path / "x.sandbox", labels)
    python(root / "opt" / "env")
    python(root / "opt" / "science", "3.11.8")
    spec, findings = spec_of(root)
    assert (spec.name, conda(spec)) == ("work", ["python ==3.11.8 h_0_cpython"])
    assert said(findings) == [(Action.DROPPED, "what is outside of /opt/science")]
    assert findings[0].remedy == "Keep its base image: --base docker.io/library/ubuntu:20.04"


@pytest.mark.parametrize(
    "labels",
    [None, {}, {"org.envpack.prefix": "/opt/../../env"}, {"org.envpack.prefix": "/nowhere"},
     {"org.envpack.prefix": ["x"], "org.opencontainers.image.title": "../x",
      "org.opencontainers.image.base.name": "\x1b[31m"}],
)  # fmt: skip
def test_a_sandbox_without_labels_of_use(tmp_path: Path, labels: object) -> None:
    python(tmp_path / "env")
    root = sandbox(tmp_path / "x.sandbox", labels)
    python(root / "opt" / "conda", "3.11.8")
    spec, findings = spec_of(root)
    assert (spec.name, conda(spec)) == ("x", ["python ==3.11.8 h_0_cpython"])
    assert (Action.GUESSED, "environment: /opt/conda") in said(findings)
    assert "\x1b" not in "".join(f"{f.subject}{f.reason}{f.remedy}" for f in findings)


@pytest.mark.parametrize("target", ["/srv", "../srv", "../../../../srv", "/../srv", "/x/y/../../srv"])
def test_links_stay_in_the_sandbox(tmp_path: Path, target: str) -> None:
    root = sandbox(tmp_path / "s")
    python(root / "srv" / "env", "3.11.8")
    (root / "opt").symlink_to(target)
    assert conda(spec_of(root)[0]) == ["python ==3.11.8 h_0_cpython"]


def test_links_do_not_lead_out_of_a_sandbox(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    python(outside)
    secret = record(outside, "secret")
    root = sandbox(tmp_path / "s")
    (root / "opt").mkdir()
    (root / "opt" / "env").symlink_to(outside)
    assert "there is no environment in the sandbox" in failure_of(root).what
    python(root / "opt" / "conda")
    (root / "opt" / "conda" / "conda-meta" / "secret.json").symlink_to(secret)
    error = failure_of(root)
    assert [str(p.where) for p in error.problems] == ["s/opt/conda/conda-meta/secret.json"]


def test_links_that_go_round(tmp_path: Path) -> None:
    root = sandbox(tmp_path / "s")
    (root / "opt").symlink_to("opt")
    assert "/opt/env, /opt/conda" in (failure_of(root).why or "")


def test_broken_labels(tmp_path: Path) -> None:
    root = sandbox(tmp_path / "s", ["no object"])
    python(root / "opt" / "env")
    assert [str(p.where) for p in failure_of(root).problems] == ["s/.singularity.d/labels.json"]


def test_a_folder_without_an_environment(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert failure_of(tmp_path / "x").what == "there is no environment in x"
    (tmp_path / "x" / "environment.yml").touch()
    assert "envpack lock x/environment.yml" in (failure_of(tmp_path / "x").hint or "")
    (tmp_path / "x" / "conda-meta").mkdir()
    assert failure_of(tmp_path / "x").what == "nothing that can be locked is installed in x"


def test_a_folder_is_not_for_the_systems_python(env: Path) -> None:
    with pytest.raises(UsageError, match="base image's own python"):
        read(env, directory=env, python="system", ledger=Ledger())


def test_variables(env: Path) -> None:
    state = env / "conda-meta" / "state"
    state.write_text('{"version": 1, "env_vars": {"A": "b c", "GONE": "***unset***"}}')
    assert spec_of(env)[0].variables == {"A": "b c"}
    state.write_text('{"env_vars": {"A B": "x", "C": 1}}')
    assert len(failure_of(env).problems) == 2
    state.write_text('{"env_vars": []}')
    assert "env_vars is not an object" in failure_of(env).problems[0].what


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "Expecting"),
        (b'{"name": "\xff"}', "utf-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", ""),
        (b"[]", ""),
        (b'{"name": "x"}', ""),
        (b'{"name": "x;y", "version": "1", "build": "0"}', ""),
        (b'{"name": "x", "version": "1", "build": "0", "subdir": "linux-64"}', ""),
        (b'{"name": "x", "version": "1", "build": "0 [y]", "subdir": "noarch", "channel": "c"}', ""),
        (b'{"name": "x", "version": "1,<2", "build": "0", "subdir": "noarch", "channel": "c"}', ""),
        (b'{"name": "\\ud800", "version": "1", "build": "0", "subdir": "noarch", "channel": "c"}', ""),
        (b'{"name": "x", "version": "1", "build": "0", "subdir": "../x", "channel": "c"}', ""),
        (b'{"name": "x", "version": "1", "build": "0", "channel": {}, "files": 3, "depends": [1]}', ""),
    ],
)
def test_broken_records_are_told_all_at_once(env: Path, content: bytes, why: str) -> None:
    for name in ("one.json", "two.json"):
        (env / "conda-meta" / name).write_bytes(content)
    error = failure_of(env)
    assert [str(p.where) for p in error.problems] == ["env/conda-meta/one.json", "env/conda-meta/two.json"]
    assert all(why in (p.why or "") for p in error.problems)
    str(error).encode()


def test_files_that_are_none(env: Path) -> None:
    os.mkfifo(env / "conda-meta" / "a.json")
    (env / "conda-meta" / "b.json").mkdir()
    (env / "conda-meta" / "c.json").symlink_to("nowhere")
    project(env, "d", "1").joinpath("METADATA").unlink()
    project(env, "e", "1").joinpath("METADATA").write_text("Name: e\n\nVersion: 1\n")
    project(env, "f", "1").joinpath("METADATA").write_text("Name: f\nVersion: one\n")
    assert [Path(str(p.where)).name for p in failure_of(env).problems] == [
        "a.json", "b.json", "c.json", "METADATA", "METADATA", "METADATA",
    ]  # fmt: skip


def test_a_folder_that_setup_py_linked(env: Path) -> None:
    (env / SITE / "own.egg-link").touch()
    spec, findings = spec_of(env, "n")
    assert not pip(spec)
    assert said(findings) == [(Action.NEEDS_YOU, "own")]


def test_too_much(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (env / "conda-meta" / "big.json").open("wb") as file:
        file.truncate(installed.MAX_RECORD + 1)
    assert "longer than 64 MiB" in (failure_of(env).problems[0].why or "")
    (env / "conda-meta" / "big.json").unlink()
    record(env, "a")
    monkeypatch.setattr(installed, "MAX_RECORDS", 1)
    assert "more than 1 records" in failure_of(env).problems[0].what


def test_names_that_are_not_text(env: Path) -> None:
    for name in (b"\xff.json", b"\x1b[31m.json"):
        Path(os.fsdecode(os.fsencode(env / "conda-meta") + b"/" + name)).write_text("{}")
    Path(os.fsdecode(os.fsencode(env / SITE) + b"/\xff.dist-info")).mkdir()
    error = failure_of(env)
    assert len(error.problems) == 3
    assert str(error).encode()
    assert "\x1b" not in str(error)


def test_two_records_of_one_package(env: Path) -> None:
    record(env, "a", "1.0")
    record(env, "a", "2.0")
    project(env, "b", "1")
    project(env, "b", "2")
    assert [p.what for p in failure_of(env).problems] == ["a is recorded twice", "b is there twice"]


@pytest.mark.parametrize("subdir", ["osx-arm64", "win-64"])
def test_environments_of_other_systems(env: Path, subdir: str) -> None:
    record(env, "a", subdir=subdir)
    record(env, "b", subdir=subdir)
    spec, _ = spec_of(env)
    assert (spec.complete, spec.exported_from, spec.platforms) == (True, subdir, ())
    assert "a ==1.0 h_0" in conda(spec), "what is not there for Linux is dropped by who solves"


def test_an_environment_for_another_machine(tmp_path: Path) -> None:
    python(tmp_path / "env", subdir="linux-aarch64")
    spec = spec_of(tmp_path / "env")[0]
    assert (spec.platforms, spec.exported_from) == (("linux-aarch64",), "linux-aarch64")
