"""The stand-ins are what they stand for: rattler installs from the channel, engines run the base image."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Served
from tests.standins.conda_package import PLACEHOLDER, File, Package

ROOT = Path(__file__).parent.parent.parent
SPECS = (
    "activate_demo", "click", "entry_demo", "hello_prefix", "legacy_demo", "links_demo", "pip", "python",
    "pyyaml", "six", "v0_demo",
)  # fmt: skip


def test_a_registry_ends_with_the_process_that_started_it() -> None:
    code = "import sys, time; from tests.standins import registry\nwith registry.serving() as url:\n"
    code += "    print(url, flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        assert urllib.request.urlopen(f"{url}/v2/", timeout=10).status == 200
        parent.kill()
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{url}/v2/", timeout=10).close()
        except (urllib.error.URLError, ConnectionError):
            return
        time.sleep(0.1)
    pytest.fail("the registry goes on without it")


@pytest.fixture(scope="module")
def prefix(channel: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of the channel's packages, solved and linked by rattler."""
    import rattler

    folder = tmp_path_factory.mktemp("environment")

    async def install() -> None:
        records = await rattler.solve(
            [rattler.Channel(channel.url)],
            [rattler.MatchSpec(spec) for spec in SPECS],
            platforms=["linux-64", "noarch"],
            virtual_packages=rattler.VirtualPackage.detect(),
        )
        await rattler.install(records, folder / "env", cache_dir=folder / "cache", show_progress=False)

    asyncio.run(install())
    return folder / "env"


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_python_runs_from_its_new_prefix(prefix: Path) -> None:
    modules = "bz2, ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib, yaml._yaml, click, pip"
    program = f"import sys, {modules}; print(sys.prefix, yaml.__file__)"
    assert output(prefix / "bin" / "python", "-c", program).split() == [
        str(prefix),
        next(str(path) for path in prefix.glob("lib/python3.*/site-packages/yaml/__init__.py")),
    ]


def test_baked_prefixes_are_replaced_in_binaries_scripts_and_old_packages(prefix: Path) -> None:
    assert output(prefix / "bin" / "hello-link") == f"hello from {prefix}"
    assert output(prefix / "bin" / "hello-sh") == f"sh {prefix}/bin/hello-sh"
    assert output(prefix / "bin" / "entry-demo", "x") == f"entry_demo {prefix} ['x']"
    for name in ("legacy", "v0"):
        assert (prefix / "etc" / f"{name}.conf").read_text() == f"root={prefix}\n"


def test_a_package_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = {"b": File(b"1"), "a": File(f"#!{PLACEHOLDER}/x\n".encode(), 0o755, prefix="text")}
    package = Package("p", "1", "0", "noarch", files, noarch="generic")
    for legacy in (False, True):
        first, second = (package.write(tmp_path / n, legacy=legacy)["sha256"] for n in ("1", "2"))
        assert first == second


def test_the_channel_serves_ranges(channel: Served) -> None:
    url = f"{channel.url}/noarch/repodata.json"
    whole = (channel.path / "noarch" / "repodata.json").read_bytes()
    request = urllib.request.Request(url, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (206, whole[10:20])
    request = urllib.request.Request(url, headers={"Range": f"bytes={len(whole)}-"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 416


def test_the_channel_does_not_serve_what_is_outside(channel: Served) -> None:
    assert (channel.path.parent / "channel-mini.lock").exists()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{channel.url}/noarch/%2e%2e/%2e%2e/channel-mini.lock")
    assert refused.value.code == 404


def test_the_registry_has_an_index_of_both_platforms(registry: Served) -> None:
    url = f"{registry.url}/v2/library/ubuntu/manifests/20.04"
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.index.v1+json"})
    with urllib.request.urlopen(request) as answer:
        index = json.loads(answer.read())
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]


@pytest.mark.engines
def test_the_base_image_runs(registry: Served, apptainer: list[str], shared_folder: Path) -> None:
    image = shared_folder / "base.sif"
    source = f"docker://{urlsplit(registry.url).netloc}/library/ubuntu:20.04"
    output(*apptainer, "build", "--no-https", image, source)
    program = "bash -c 'echo shell | sed s/shell/runs/' && id -u >/dev/null && ls /etc/os-release"
    assert output(*apptainer, "exec", image, "sh", "-c", program).split() == ["runs", "/etc/os-release"]
