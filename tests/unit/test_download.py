"""Files over the wire: resumed, verified, whole or not at all, by one process or several."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envpack import atomic
from envpack.config import Config
from envpack.download import Download, Downloader
from envpack.errors import IntegrityError, NetworkError, OutputError
from tests.standins import scripted
from tests.standins.scripted import Reply, Scripted
from tests.unit.conftest import Told

Make = Callable[..., Downloader]
DATA = bytes(range(256)) * 4000  # about 1 MB: several chunks


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "a.conda"


def part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def begun(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True)
    part(path).write_bytes(data)


def ranges(server: Scripted) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked]


def test_a_file(server: Scripted, downloader: Make, path: Path) -> None:
    counted: list[int] = []
    url = server.on("/a", scripted.file(DATA))
    downloader().fetch(url, path, sha256=sha256(DATA), size=len(DATA), on_bytes=counted.append)
    assert path.read_bytes() == DATA
    assert sum(counted) == len(DATA)
    assert len(counted) > 2
    assert list(path.parent.iterdir()) == [path], "the part became the file; nothing else is left"
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_file_that_is_there_is_not_asked_for(server: Scripted, downloader: Make, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"here")
    counted: list[int] = []
    downloader().fetch(server.url + "/a", path, sha256=sha256(b"here"), on_bytes=counted.append)
    assert not server.asked
    assert sum(counted) == 4


def test_the_umask_holds(server: Scripted, downloader: Make, path: Path) -> None:
    before = os.umask(0o027)
    try:
        downloader().fetch(server.on("/a", Reply(200, b"x")), path, sha256=sha256(b"x"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_cut_connection_is_continued(
    server: Scripted, downloader: Make, path: Path, waits: list[float]
) -> None:
    url = server.on("/a", Reply(200, DATA, cut=300_000), scripted.file(DATA))
    downloader().fetch(url, path, sha256=sha256(DATA), size=len(DATA))
    assert path.read_bytes() == DATA
    first, second = ranges(server)
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000
    assert waits == [0.5]


def test_tries_count_anew_after_getting_further(server: Scripted, downloader: Make, path: Path) -> None:
    def a_little(asked: scripted.Asked) -> Reply:
        whole = scripted.file(DATA)(asked)
        return Reply(whole.status, whole.body, whole.headers, cut=min(len(whole.body), 100_000))

    downloader().fetch(server.on("/a", a_little), path, sha256=sha256(DATA))
    assert path.read_bytes() == DATA
    assert len(server.asked) > 5


def test_an_earlier_part_is_taken_up(server: Scripted, downloader: Make, path: Path) -> None:
    begun(path, DATA[:1000])
    counted: list[int] = []
    url = server.on("/a", scripted.file(DATA))
    downloader().fetch(url, path, sha256=sha256(DATA), on_bytes=counted.append)
    assert ranges(server) == ["bytes=1000-"]
    assert path.read_bytes() == DATA
    assert sum(counted) == len(DATA)


def test_a_server_without_ranges(server: Scripted, downloader: Make, path: Path) -> None:
    begun(path, DATA[:1000])
    counted: list[int] = []
    downloader().fetch(server.on("/a", Reply(200, DATA)), path, sha256=sha256(DATA), on_bytes=counted.append)
    assert path.read_bytes() == DATA
    assert sum(counted) == len(DATA)
    assert len(server.asked) == 1


def test_a_server_that_continues_elsewhere(server: Scripted, downloader: Make, path: Path) -> None:
    begun(path, DATA[:1000])
    wrong = Reply(206, DATA[500:], {"Content-Range": f"bytes 500-{len(DATA) - 1}/{len(DATA)}"})
    downloader().fetch(server.on("/a", wrong, Reply(200, DATA)), path, sha256=sha256(DATA))
    assert path.read_bytes() == DATA
    assert ranges(server) == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_part_that_is_whole_already(
    server: Scripted, downloader: Make, path: Path, size: int | None
) -> None:
    begun(path, DATA)
    downloader().fetch(server.on("/a", scripted.file(DATA)), path, sha256=sha256(DATA), size=size)
    assert path.read_bytes() == DATA
    assert ranges(server) == ([] if size else [f"bytes={len(DATA)}-"])


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_part_longer_than_the_file(
    server: Scripted, downloader: Make, path: Path, size: int | None
) -> None:
    begun(path, DATA + b"more")
    downloader().fetch(server.on("/a", scripted.file(DATA)), path, sha256=sha256(DATA), size=size)
    assert path.read_bytes() == DATA
    assert ranges(server)[-1] is None


def test_a_part_of_something_else(server: Scripted, downloader: Make, path: Path, told: Told) -> None:
    begun(path, b"\xff" * 1000)
    downloader().fetch(server.on("/a", scripted.file(DATA)), path, sha256=sha256(DATA))
    assert path.read_bytes() == DATA
    assert ranges(server) == ["bytes=1000-", None]
    assert told.notes == [f"{server.url}/a came with wrong content; fetching it anew"]


def test_wrong_content_twice(server: Scripted, downloader: Make, path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        downloader().fetch(server.on("/a", Reply(200, b"other")), path, sha256=sha256(DATA))
    assert caught.value.what == f"{server.url}/a does not have the recorded content"
    assert caught.value.why == f"expected sha256 {sha256(DATA)}\n     got sha256 {sha256(b'other')}"
    assert len(server.asked) == 2
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"short", "expected 7 bytes, got 5"), (b"far too long", "expected 7 bytes, got more")],
)
def test_a_wrong_size(server: Scripted, downloader: Make, path: Path, body: bytes, why: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        downloader().fetch(server.on("/a", scripted.file(body)), path, sha256=sha256(body), size=7)
    assert caught.value.why == why


def test_bytes_are_taken_as_stored(server: Scripted, downloader: Make, path: Path) -> None:
    """Some servers label compressed files as compressed on the way; the hash is that of the file."""
    url = server.on("/a", Reply(200, b"not really gzip", {"Content-Encoding": "gzip"}))
    downloader().fetch(url, path, sha256=sha256(b"not really gzip"))
    assert path.read_bytes() == b"not really gzip"


def test_the_next_mirror_after_wrong_content(
    server: Scripted, other: Scripted, downloader: Make, path: Path
) -> None:
    client = downloader(mirrors={"https://channel.invalid": (server.url, other.url)})
    server.on("/a", Reply(200, b"tampered"))
    other.on("/a", Reply(200, DATA))
    client.fetch("https://channel.invalid/a", path, sha256=sha256(DATA))
    assert path.read_bytes() == DATA
    assert len(server.asked) == 2


def test_the_network_fails_and_the_part_stays(server: Scripted, downloader: Make, path: Path) -> None:
    url = server.on("/a", Reply(200, DATA, cut=300_000), Reply(404))
    with pytest.raises(NetworkError, match="does not exist"):
        downloader().fetch(url, path, sha256=sha256(DATA))
    kept = part(path).read_bytes()
    assert kept
    assert DATA.startswith(kept)


def test_an_unwritable_folder(server: Scripted, downloader: Make, tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        downloader().fetch(server.url, tmp_path / "file" / "a", sha256=sha256(b""))
    assert caught.value.hint is not None
    assert "ENVPACK_CACHE" in caught.value.hint


def test_a_full_disk(server: Scripted, downloader: Make, path: Path) -> None:
    """A limit on file sizes stands in for a full disk: the same failing write(2), with EFBIG."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.conda"):
            downloader().fetch(server.on("/a", scripted.file(DATA)), path, sha256=sha256(DATA))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    downloader().fetch(server.url + "/a", path, sha256=sha256(DATA))
    assert ranges(server)[-1] == "bytes=500000-"


def test_a_symlink_in_place_of_the_part_is_not_followed(
    server: Scripted, downloader: Make, path: Path, tmp_path: Path
) -> None:
    path.parent.mkdir()
    part(path).symlink_to(tmp_path / "victim")
    with pytest.raises(OutputError):
        downloader().fetch(server.on("/a", Reply(200, b"x")), path, sha256=sha256(b"x"))
    assert not (tmp_path / "victim").exists()


def fetch_in_a_process(url: str, path: Path, cache: Path) -> None:
    with Downloader(Config(cache)) as client:
        client.fetch(url, path, sha256=sha256(DATA), size=len(DATA))


def test_two_processes_want_the_same_file(server: Scripted, path: Path, tmp_path: Path) -> None:
    url = server.on("/a", scripted.file(DATA))
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=fetch_in_a_process, args=(url, path, tmp_path)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
    assert [process.exitcode for process in several] == [0, 0, 0]
    assert path.read_bytes() == DATA
    assert len(server.asked) == 1, "the others waited for the first"
    assert list(path.parent.iterdir()) == [path]


def test_a_part_that_another_process_holds_is_waited_for(
    server: Scripted, downloader: Make, path: Path
) -> None:
    begun(path, DATA[:1000])
    held = os.open(part(path), os.O_RDWR)
    assert atomic.lock(held)
    url = server.on("/a", scripted.file(DATA))
    thread = threading.Thread(target=lambda: downloader().fetch(url, path, sha256=sha256(DATA)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert not server.asked
    os.close(held)
    thread.join()
    assert ranges(server) == ["bytes=1000-"]


def wait_for(server: Scripted, requests: int, child: subprocess.Popen[Any]) -> None:
    """Until the server has been asked so many times; it is an error if ``child`` ends before."""
    while len(server.asked) < requests:
        assert child.poll() is None, "the program ended too early"
        time.sleep(0.01)


def test_killed_and_run_again(server: Scripted, downloader: Make, path: Path, tmp_path: Path) -> None:
    url = server.on("/a", Reply(200, DATA, cut=300_000), Reply(silent=True))
    program = (
        "import sys, pathlib\nfrom envpack.config import Config\nfrom envpack.download import Downloader\n"
        "url, path, cache, sha256 = sys.argv[1:]\n"
        "Downloader(Config(pathlib.Path(cache))).fetch(url, pathlib.Path(path), sha256=sha256)"
    )
    command = [sys.executable, "-c", program, url, str(path), str(tmp_path), sha256(DATA)]
    with subprocess.Popen(command) as child:
        wait_for(server, 2, child)
        child.kill()
    assert not path.exists()
    have = part(path).stat().st_size
    assert have > 0
    server.on("/a", scripted.file(DATA))
    downloader().fetch(url, path, sha256=sha256(DATA))
    assert ranges(server)[-1] == f"bytes={have}-"
    assert path.read_bytes() == DATA


def several(server: Scripted, folder: Path, count: int) -> list[Download]:
    found = []
    for n in range(count):
        data = f"file {n}".encode()
        url = server.on(f"/{n}", scripted.file(data))
        found.append(Download(url, folder / str(n), sha256(data), len(data)))
    return found


def test_many_files(server: Scripted, downloader: Make, tmp_path: Path, told: Told) -> None:
    wanted = several(server, tmp_path / "d", 12)
    downloader().fetch_all(wanted)
    assert [d.path.read_text() for d in wanted] == [f"file {n}" for n in range(12)]
    assert told.total == told.done == sum(d.size or 0 for d in wanted)
    server.asked.clear()
    downloader().fetch_all(wanted)
    assert not server.asked


def test_all_problems_in_order(server: Scripted, downloader: Make, tmp_path: Path) -> None:
    wanted = several(server, tmp_path / "d", 8)
    server.on("/5", Reply(404))
    server.on("/2", Reply(silent=True), Reply(403))  # the last to be known
    server.on("/7", Reply(200, b"file X"))
    with pytest.raises(NetworkError) as caught:
        downloader().fetch_all(wanted)
    assert caught.value.what == "3 of 8 files could not be downloaded"
    assert [p.what.rpartition("/")[2] for p in caught.value.problems] == [
        "2",
        "5 does not exist",
        "7 does not have the recorded content",
    ]
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["0", "1", "3", "4", "6"]


def test_one_problem_is_itself(server: Scripted, downloader: Make, tmp_path: Path) -> None:
    wanted = several(server, tmp_path / "d", 3)
    server.on("/1", Reply(200, b"file X"))
    with pytest.raises(IntegrityError, match="does not have the recorded content"):
        downloader().fetch_all(wanted)


def test_a_dead_host_is_one_problem(downloader: Make, tmp_path: Path, waits: list[float]) -> None:
    wanted = [Download(f"http://no-such-host.invalid/{n}", tmp_path / str(n), sha256(b"")) for n in range(50)]
    with pytest.raises(NetworkError) as caught:
        downloader().fetch_all(wanted)
    assert caught.value.what == "50 of 50 files could not be downloaded"
    assert [p.what for p in caught.value.problems] == ["cannot reach no-such-host.invalid"]
    assert len(waits) <= 5 * 4, "at most those that were under way at once have waited"


def test_ctrl_c_comes_through_and_parts_stay(server: Scripted, tmp_path: Path) -> None:
    """The signal reaches a real process that sits in reads of a server that has fallen silent."""
    for n in range(3):
        server.on(f"/{n}", Reply(200, DATA, cut=300_000), Reply(silent=True))
    program = (
        "import sys, pathlib\nfrom envpack.config import Config\nfrom envpack.download import *\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "wanted = [Download(f'{sys.argv[1]}/{n}', folder / str(n), sys.argv[3]) for n in range(3)]\n"
        "try: Downloader(Config(folder)).fetch_all(wanted)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    command = [sys.executable, "-c", program, server.url, str(tmp_path), sha256(DATA)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        wait_for(server, 6, child)
        child.send_signal(signal.SIGINT)
        try:
            out, _ = child.communicate(timeout=30)  # the reads themselves would last 60 s
        finally:
            child.kill()
    assert (out, child.returncode) == ("interrupted\n", 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.part", "1.part", "2.part"]
    assert all(p.stat().st_size for p in tmp_path.iterdir())
