"""``build --link-scripts``: what packages' scripts do to the environment, as conda and rattler have it."""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from envpack import lockfile
from envpack.cache import Cache
from envpack.content.conda_archive import CondaArchive
from envpack.entry import Kind
from envpack.formats import sif
from envpack.formats.squashfs.reader import Squashfs
from tests.conftest import Served
from tests.integration.commands import COMMAND, Done, envpack, failed
from tests.standins import server
from tests.standins.conda_package import File, Package, script
from tests.standins.settings import config_toml
from tests.unit.run.runner import AS_USER

DOES_ALL = script("""\
#!/bin/bash
set -eu
cd "$PREFIX/share"
echo "$PKG_NAME $PKG_VERSION $PKG_BUILDNUM $ACTIVATED" > made
umask > umask
echo more >> edited
rm removed
rm -r folder
mkdir folder
echo new > folder/new
rm -r other
ln -s made link
ln made hard
rm replaced
mkdir replaced
echo in > replaced/in
chmod 700 mode
echo same > same
[ "$PWD" = "$PREFIX/share" ]
echo "read this" >> "$PREFIX/.messages.txt"
""")
FILES = {
    "bin/.does_all-post-link.sh": DOES_ALL,
    "etc/conda/activate.d/does_all.sh": File(b"export ACTIVATED=yes\n"),
    "share/edited": File(b"old\n"),
    "share/removed": File(b"x\n"),
    "share/folder/old": File(b"x\n"),
    "share/other/deep/old": File(b"x\n"),
    "share/replaced": File(link="edited"),
    "share/mode": File(b"x\n"),
    "share/same": File(b"same\n"),
}
ISOLATED = script("""\
#!/bin/bash
if (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null; then echo "there is a network"; exit 1; fi
echo lost > /etc/lost
echo gone > /tmp/gone
echo "$HOME $TZ $SOURCE_DATE_EPOCH $UID $HOSTNAME" > "$PREFIX/share/isolated"
sleep 1000 &
""")
BEFORE = script('#!/bin/bash\necho "$SOURCE_DIR" > "$PREFIX/share/before"\n')
BROKEN = script("#!/bin/bash\necho it is broken >&2\nexit 3\n")
KILLED = script("#!/bin/bash\nkill -9 $$\n")


def package(name: str, files: dict[str, File], *depends: str) -> Package:
    return Package(name, "1.0", "h1_7", "noarch", files, depends, noarch="generic", build_number=7)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, registry: Served) -> Iterator[Served]:
    """A channel of packages with link scripts."""
    folder = tmp_path_factory.mktemp("channel")
    port = registry.url.rpartition(":")[2].strip("/")
    isolated = File(ISOLATED.data.replace(b"PORT", port.encode()), 0o755)
    packages = [
        package("does_all", FILES),
        package(
            "isolated",
            {"bin/.isolated-post-link.sh": isolated, "bin/.isolated-pre-link.sh": BEFORE, "share/a": File()},
            "does_all",
        ),
        package("broken", {"bin/.broken-post-link.sh": BROKEN}),
        package("killed", {"bin/.killed-post-link.sh": KILLED}),
    ]
    records = [made.write(folder) for made in packages]
    for subdir in ("linux-64", "linux-aarch64", "noarch"):
        (folder / subdir).mkdir(exist_ok=True)
        found = {r["fn"]: {k: v for k, v in r.items() if k != "fn"} for r in records if r["subdir"] == subdir}
        repodata = {
            "info": {"subdir": subdir},
            "packages": {},
            "packages.conda": found,
            "repodata_version": 1,
        }
        (folder / subdir / "repodata.json").write_text(json.dumps(repodata))
    with server.serving(folder) as url:
        yield Served(url, folder)


class Project:
    """A locked project, and ways to build it."""

    def __init__(self, folder: Path, channel: Served, registry: Served, *names: str) -> None:
        self.folder, self.cache, self.config = folder / "project", folder / "cache", folder / "config.toml"
        self.folder.mkdir()
        self.config.write_text(config_toml(self.cache, channel.url, registry.url), "utf-8")
        wanted = ", ".join(names)
        (self.folder / "environment.yml").write_text(
            f"name: x\nchannels: [conda-forge]\ndependencies: [{wanted}]\n"
        )
        envpack("lock", config=self.config, cwd=self.folder)

    def build(self, *options: str, before: Sequence[str] = (), check: bool = True, **variables: str) -> Done:
        arguments = ("build", "--link-scripts", "--json", *options)
        command = (*before, *COMMAND)
        return envpack(
            *arguments, config=self.config, cwd=self.folder, check=check, command=command, **variables
        )

    def give_away(self) -> None:
        """To the user that ``AS_USER`` makes of root."""
        for path in [self.folder.parent, *self.folder.parent.rglob("*")]:
            os.chown(path, 1000, 1000)


def environment(image: Path) -> dict[str, tuple[Kind, int, bytes]]:
    """What is below ``/opt/env``, hard links as what they link to, and the rest by path alone."""
    found: dict[str, tuple[Kind, int, bytes]] = {}
    with image.open("rb") as file:
        for entry in Squashfs(file, sif.read(image).partition().offset).entries():
            if entry.kind is Kind.HARDLINK:
                found[entry.path] = found[entry.target]
            else:
                content = entry.target.encode() or b"".join(entry.chunks)
                found[entry.path] = (entry.kind, entry.mode, content)
    return {path.removeprefix("opt/env/"): what for path, what in found.items()}


def checked(done: Done, image: Path) -> None:
    """That the image is what the scripts of ``does_all`` and ``isolated`` make."""
    found = environment(image)
    assert found["share/made"] == (Kind.FILE, 0o644, b"does_all 1.0 7 yes\n")
    assert found["share/umask"][2] == b"0022\n"
    assert found["share/edited"] == (Kind.FILE, 0o644, b"old\nmore\n")
    assert found["share/folder/new"][2] == b"new\n"
    assert found["share/link"] == (Kind.SYMLINK, 0o777, b"made")
    assert found["share/hard"] == found["share/made"]
    assert found["share/replaced"][:2] == (Kind.DIRECTORY, 0o755)
    assert found["share/replaced/in"][2] == b"in\n"
    assert found["share/mode"] == (Kind.FILE, 0o700, b"x\n")
    gone = {"share/removed", "share/folder/old", "share/other", "share/other/deep/old", ".messages.txt"}
    assert not gone & found.keys()
    assert not {"etc/lost", "tmp/gone"} & found.keys()
    assert found["share/before"][2] == b"/opt/env\n"
    home, zone, epoch, user, host = found["share/isolated"][2].decode().split()
    assert (home, zone, user, host) == ("/tmp", "UTC", "0", "localhost")
    assert int(epoch) > 1_000_000_000
    findings = {(f["action"], f["subject"]): f["reason"] for f in json.loads(done.stdout)["findings"]}
    assert "read this" in findings["needs you", "does_all 1.0"]
    assert findings["dropped", "/etc/lost"].startswith("packages' link scripts changed it")
    assert "was run" in findings["kept", "isolated 1.0"]
    labels = json.loads(found[".singularity.d/labels.json"][2])
    assert labels["org.envpack.link-scripts"] == "does_all=1.0 isolated=1.0"


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, scripted: Served, registry: Served
) -> tuple[Project, str]:
    """A project of two packages with scripts, built unpacked, and the image's sha256."""
    project = Project(tmp_path_factory.mktemp("project"), scripted, registry, "isolated")
    done = project.build(PATH="/nonexistent")
    assert "the image is unpacked for its link scripts" in done.stderr
    checked(done, project.folder / "images" / "x.sif")
    return project, json.loads(done.stdout)["sha256"]


def test_nothing_is_run_again(expected: tuple[Project, str]) -> None:
    project, sha256 = expected
    done = project.build("-o", "again.sif", PATH="/nonexistent")
    assert "Running link scripts" not in done.stderr
    checked(done, project.folder / "again.sif")
    assert json.loads(done.stdout)["sha256"] == sha256
    assert not [path for path in (project.cache / "tmp").iterdir() if path.is_dir()]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can get to; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="envpack-test-link-scripts-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("way", [pytest.param("mounted", marks=pytest.mark.engines), "unpacked"])
@pytest.mark.parametrize("who", ["as it is", "as a user"])
def test_all_ways_give_the_same_image(
    shared: Path, scripted: Served, registry: Served, expected: tuple[Project, str], way: str, who: str
) -> None:
    project = Project(shared, scripted, registry, "isolated")
    if who == "as a user" and AS_USER:
        project.give_away()
    path = os.environ["PATH"] if way == "mounted" else "/nonexistent"
    # setpriv is found on the tests' own PATH
    before = (*AS_USER, "env", f"PATH={path}") if who == "as a user" else ("env", f"PATH={path}")
    done = project.build(before=before)
    assert ("is unpacked for its link scripts" in done.stderr) == (way == "unpacked")
    checked(done, project.folder / "images" / "x.sif")
    assert json.loads(done.stdout)["sha256"] == expected[1]
    assert not [path for path in (project.cache / "tmp").iterdir() if path.is_dir()]


def test_as_rattler_has_it(tmp_path: Path, scripted: Served, registry: Served) -> None:
    import rattler

    project = Project(tmp_path, scripted, registry, "does_all")
    project.build()
    lock = lockfile.read(project.folder / "lockfiles" / "x.conda-lock.yml")
    records = []
    for locked in lock.packages:
        archive = Cache(project.cache).archive(locked.sha256, locked.filename)
        index = tmp_path / f"{locked.name}.json"
        index.write_text(json.dumps(dict(CondaArchive.open(archive).index)))
        record = rattler.PackageRecord.from_index_json(index)
        records.append(rattler.RepoDataRecord(record, locked.filename, archive.as_uri(), locked.url))
    target = tmp_path / "prefix"
    asyncio.run(
        rattler.install(
            records, target, cache_dir=tmp_path / "rattler", show_progress=False, execute_link_scripts=True
        )
    )
    theirs = {}
    for path in (target / "share").rglob("*"):
        content = os.fsencode(path.readlink()) if path.is_symlink() else b""
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
        theirs[path.relative_to(target).as_posix()] = (path.lstat().st_mode & 0o777, content)
    ours = {
        path: (mode, content)
        for path, (_, mode, content) in environment(project.folder / "images" / "x.sif").items()
        if path.startswith("share/")
    }
    assert ours == theirs


def test_every_failure_is_told(tmp_path: Path, scripted: Served, registry: Served) -> None:
    project = Project(tmp_path, scripted, registry, "broken", "killed", "does_all")
    done = project.build(check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 9
    assert error["what"] == "packages' link scripts failed"
    told = {problem["what"]: problem["why"] for problem in error["problems"]}
    assert told == {
        "broken 1.0: opt/env/bin/.broken-post-link.sh ended with exit code 3": "it is broken",
        "killed 1.0: opt/env/bin/.killed-post-link.sh ended with exit code 137": None,
    }
    assert not (project.folder / "images").exists()
    assert not [path for path in (project.cache / "tmp").iterdir() if path.is_dir()]


def test_in_an_archive_for_docker(expected: tuple[Project, str]) -> None:
    project, _ = expected
    project.build("--format", "oci", PATH="/nonexistent")
    holding = dict.fromkeys(["made", "edited", "removed", "folder/old", "folder/new", "replaced/in"], 0)
    with tarfile.open(project.folder / "images" / "x.oci.tar") as archive:
        opened = archive.extractfile("manifest.json")
        assert opened is not None
        manifest = json.load(opened)
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as content:
                for name in content.getnames():
                    short = name.removeprefix("opt/env/share/")
                    if short in holding:
                        holding[short] += 1
    assert holding == {
        "made": 1, "edited": 1, "removed": 0, "folder/old": 0, "folder/new": 1, "replaced/in": 1,
    }  # fmt: skip


def test_for_another_platform(tmp_path: Path, scripted: Served, registry: Served) -> None:
    project = Project(tmp_path, scripted, registry, "does_all")
    other = "linux-64" if os.uname().machine == "aarch64" else "linux-aarch64"
    envpack("lock", "--platform", other, config=project.config, cwd=project.folder)
    done = envpack("build", "--link-scripts", config=project.config, cwd=project.folder, check=False)
    failed(
        done, 9, f"link scripts for {other} cannot run on this machine", "does_all 1.0", "--skip-link-scripts"
    )


def test_run_and_skip_exclude_each_other(expected: tuple[Project, str]) -> None:
    done = expected[0].build("--skip-link-scripts", check=False)
    assert done.returncode == 2
