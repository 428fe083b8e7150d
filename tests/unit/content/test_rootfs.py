from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from envpack.content import rootfs
from envpack.entry import Entry, Kind
from envpack.errors import IntegrityError
from tests.unit.content.archives import content, folder, hard_link, layer, member, symlink, tar

Members = list[tuple[tarfile.TarInfo, bytes]]


def merged(tmp_path: Path, *layers: Members, codec: str = "plain") -> dict[str, tuple[Entry, bytes]]:
    """All entries by path; a hard link has the content of what it links to."""
    paths = [layer(tmp_path / str(number), *members, codec=codec) for number, members in enumerate(layers)]
    found: dict[str, tuple[Entry, bytes]] = {}
    for entry in rootfs.entries(paths):
        assert entry.path not in found
        if entry.kind is Kind.HARDLINK:
            found[entry.path] = (entry, found[entry.target][1])
        else:
            found[entry.path] = (entry, content(entry))
    return found


def shown(found: dict[str, tuple[Entry, bytes]]) -> dict[str, str]:
    """Path: content, ``/`` for a directory, ``-> target`` for a symlink."""
    special = {Kind.DIRECTORY: "/", Kind.SYMLINK: "-> {}"}
    return {
        path: special[entry.kind].format(entry.target) if entry.kind in special else data.decode()
        for path, (entry, data) in found.items()
    }


@pytest.mark.parametrize("codec", ["plain", "gzip", "zstd"])
def test_layers_replace_and_add(tmp_path: Path, codec: str) -> None:
    lower = [folder("./"), folder("./etc/"), member("./etc/a", b"1"), member("etc/b", b"1")]
    upper = [member("etc/b", b"2"), member("new/c", b"2")]
    assert shown(merged(tmp_path, lower, upper, codec=codec)) == {
        "etc": "/",
        "etc/a": "1",
        "etc/b": "2",
        "new/c": "2",
    }


def test_everything_is_kept(tmp_path: Path) -> None:
    attributes = {"mode": 0o4755, "uid": 5, "gid": 6, "mtime": 77}
    tagged, data = member("f", b"x", **attributes)
    tagged.pax_headers = {
        "SCHILY.xattr.user.a": "1",
        "LIBARCHIVE.xattr.security%2Ecapability": "AQID",
        "LIBARCHIVE.xattr.user.a": "eA==",
    }
    device = member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    found = merged(
        tmp_path, [(tagged, data), device, member("p", type=tarfile.FIFOTYPE), folder("d", 0o1777)]
    )
    entry = found["f"][0]
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o4755, 5, 6, 77)
    assert entry.xattrs == (("security.capability", b"\1\2\3"), ("user.a", b"1"))
    assert (found["null"][0].kind, found["null"][0].device) == (Kind.CHARACTER_DEVICE, (1, 3))
    assert found["p"][0].kind is Kind.FIFO
    assert found["d"][0].mode == 0o1777


def test_directories_merge_and_the_last_word_counts(tmp_path: Path) -> None:
    found = merged(
        tmp_path, [folder("d", 0o700), member("d/a", b"1")], [folder("d", 0o755), member("d/b", b"2")]
    )
    assert shown(found) == {"d": "/", "d/a": "1", "d/b": "2"}
    assert found["d"][0].mode == 0o755


@pytest.mark.parametrize("first", [True, False])
def test_whiteouts_are_for_the_layers_below(tmp_path: Path, first: bool) -> None:
    lower = [member("d/gone", b"1"), member("d/kept", b"1"), folder("x/y"), member("x/y/z", b"1")]
    marks, added = (
        [member("d/.wh.gone"), member("x/.wh.y")],
        [member("d/gone", b"2"), member("x/y/new", b"2")],
    )
    upper = marks + added if first else added + marks
    assert shown(merged(tmp_path, lower, upper)) == {"d/gone": "2", "d/kept": "1", "x/y/new": "2"}


@pytest.mark.parametrize("first", [True, False])
def test_opaque_directories(tmp_path: Path, first: bool) -> None:
    lower = [folder("d", 0o700), member("d/a", b"1"), folder("d/e"), member("d/e/f", b"1")]
    mark, added = member("d/.wh..wh..opq"), member("d/e/new", b"2")
    upper = [mark, added] if first else [added, mark]
    found = merged(tmp_path, lower, upper)
    assert shown(found) == {"d": "/", "d/e/new": "2"}
    assert found["d"][0].mode == 0o700


def test_a_whiteout_beside_what_takes_the_place(tmp_path: Path) -> None:
    lower = [folder("x/y", 0o700), member("x/y/z", b"1")]
    for upper in ([folder("x/y"), member("x/.wh.y")], [member("x/.wh.y"), folder("x/y")]):
        found = merged(tmp_path, lower, upper)
        assert shown(found) == {"x/y": "/"}
        assert found["x/y"][0].mode == 0o755


def test_a_whiteout_of_nothing_and_of_a_link(tmp_path: Path) -> None:
    lower = [member("f", b"1"), symlink("l", "f")]
    upper = [member(".wh.absent"), member("no/.wh.absent"), member(".wh.l"), member(".wh..wh.plnk")]
    assert shown(merged(tmp_path, lower, upper)) == {"f": "1"}


def test_a_file_in_place_of_a_directory_and_back(tmp_path: Path) -> None:
    one = [folder("a"), member("a/b", b"1"), member("c", b"1")]
    two = [member("a", b"2"), folder("c"), member("c/d", b"2")]
    assert shown(merged(tmp_path, one, two)) == {"a": "2", "c": "/", "c/d": "2"}


def test_the_same_path_twice_in_a_layer(tmp_path: Path) -> None:
    assert shown(merged(tmp_path, [member("a", b"1"), member("a", b"2")])) == {"a": "2"}


@pytest.mark.parametrize("target", ["usr/bin", "/usr/bin", "usr/../usr/./bin", "b2", "../../usr/bin"])
def test_files_below_a_linked_directory_go_where_it_points(tmp_path: Path, target: str) -> None:
    lower = [folder("usr/bin"), symlink("b2", "/usr/bin"), symlink("bin", target)]
    upper = [member("bin/x", b"2"), member("bin/new/y", b"2"), member("usr/bin/.wh.z")]
    found = shown(merged(tmp_path, lower, upper))
    assert found["bin"] == f"-> {target}"
    assert found["usr/bin/x"] == found["usr/bin/new/y"] == "2"
    assert not any(path.startswith("bin/") for path in found)


def test_absolute_links_begin_at_the_root(tmp_path: Path) -> None:
    lower = [folder("run"), folder("var"), symlink("var/run", "/run"), symlink("var/here", "../run")]
    found = shown(merged(tmp_path, lower, [member("var/run/x", b"2"), member("var/here/y", b"2")]))
    assert found["run/x"] == found["run/y"] == "2"


def test_a_directory_takes_the_place_of_a_link(tmp_path: Path) -> None:
    lower = [folder("usr/bin"), symlink("bin", "usr/bin")]
    assert shown(merged(tmp_path, lower, [folder("bin"), member("bin/x", b"2")])) == {
        "usr/bin": "/",
        "bin": "/",
        "bin/x": "2",
    }


def test_hard_links(tmp_path: Path) -> None:
    lower = [member("a", b"1", mode=0o600), hard_link("./b", "./a"), symlink("s", "a")]
    found = merged(tmp_path, lower, [hard_link("c", "a")])
    assert shown(found) == {"a": "1", "b": "1", "c": "1", "s": "-> a"}
    assert [found[p][0].kind for p in "abc"] == [Kind.FILE, Kind.HARDLINK, Kind.HARDLINK]


def test_hard_links_of_what_is_no_file(tmp_path: Path) -> None:
    device = member("n", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
    found = merged(tmp_path, [symlink("s", "a"), hard_link("t", "s"), device, hard_link("m", "n")])
    assert (found["t"][0].kind, found["t"][0].target) == (Kind.HARDLINK, "s")
    assert (found["m"][0].device, found["n"][0].target) == ((1, 3), "m")


def test_the_last_name_of_a_file_says_what_it_is(tmp_path: Path) -> None:
    """As docker and podman do: the header of a hard link counts for the file."""
    link = member("b", type=tarfile.LNKTYPE, linkname="a", mode=0o4711, uid=5, gid=6, mtime=7)
    soft = member("t", type=tarfile.LNKTYPE, linkname="s", mode=0o644, uid=5, mtime=7)
    found = merged(tmp_path, [member("a", b"1", mode=0o600), symlink("s", "a")], [link, soft])
    entry = found["a"][0]
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (0o4711, 5, 6, 7)
    assert (found["s"][0].mode, found["s"][0].uid) == (0o777, 5)


def test_names_are_cleaned_as_docker_does(tmp_path: Path) -> None:
    found = merged(
        tmp_path,
        [
            folder("/"),
            folder("..."),
            member(".../x", b"1"),
            member("/a//b/./c", b"2"),
            hard_link("d", "/a/b/c"),
        ],
    )
    assert shown(found) == {"...": "/", ".../x": "1", "a/b/c": "2", "d": "2"}


def test_a_hard_link_keeps_content_that_is_replaced_elsewhere(tmp_path: Path) -> None:
    lower = [member("a", b"old"), hard_link("b", "a"), hard_link("c", "a")]
    found = merged(tmp_path, lower, [member("a", b"new")])
    assert shown(found) == {"a": "new", "b": "old", "c": "old"}
    found = merged(tmp_path, lower, [member(".wh.a")])
    assert shown(found) == {"b": "old", "c": "old"}
    assert found["c"][0].target == "b"


def test_a_hard_link_through_a_linked_directory(tmp_path: Path) -> None:
    lower = [member("usr/bin/a", b"1"), symlink("bin", "usr/bin")]
    assert shown(merged(tmp_path, lower, [hard_link("bin/b", "bin/a")]))["usr/bin/b"] == "1"


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    assert shown(merged(tmp_path, [member("caf\udce9", b"1")])) == {"caf\udce9": "1"}


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil", b"x")],
        [member("a/../../evil", b"x")],
        [folder("..")],
        [folder("../")],
        [hard_link("a", "../../etc/passwd")],
        [hard_link("a", "absent")],
        [hard_link("a", "/etc/passwd")],
        [folder("d"), hard_link("a", "d")],
        [member("f", b"x"), member("f/below", b"y")],
        [symlink("l", "nowhere"), member("l/below", b"y")],
        [symlink("l", "m"), symlink("m", "l"), member("l/below", b"y")],
    ],
)
def test_layers_that_are_refused(tmp_path: Path, members: Members) -> None:
    path = layer(tmp_path / "layer", *members)
    with pytest.raises(IntegrityError, match="layer is damaged"):
        list(rootfs.entries([path]))


@pytest.mark.parametrize("target", ["../../../../etc", "/../../etc"])
def test_links_that_leave_the_root_stay_inside(tmp_path: Path, target: str) -> None:
    found = shown(merged(tmp_path, [folder("etc"), symlink("l", target), member("l/x", b"1")]))
    assert found["etc/x"] == "1"


@pytest.mark.parametrize("codec", ["plain", "gzip"])
def test_a_cut_layer(tmp_path: Path, codec: str) -> None:
    path = layer(tmp_path / "layer", member("a", bytes(range(256)) * 40), codec=codec)
    path.write_bytes(path.read_bytes()[: 2000 if codec == "plain" else -5])
    with pytest.raises(IntegrityError, match="layer is damaged"):
        [content(entry) for entry in rootfs.entries([path])]


def test_a_wrong_checksum_behind_the_end_mark(tmp_path: Path) -> None:
    """The archive fills the reader's buffer to the byte: nothing but the checksum is left to be read."""
    size = (1 << 20) - 512 - 1024
    data = tar([member("a", bytes(size))])[: 512 + size] + bytes(1024)
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1
    path = tmp_path / "layer"
    path.write_bytes(packed)
    with pytest.raises(IntegrityError, match="layer is damaged") as raised:
        [content(entry) for entry in rootfs.entries([path])]
    assert "CRC" in (raised.value.why or "")


SAYS = b"\x7fELF...GNU C Library (Debian GLIBC 2.31-13+deb11u5) stable release version 2.31.\nCopyright..."


@pytest.mark.parametrize(
    "members",
    [
        [member("lib/x86_64-linux-gnu/libc.so.6", SAYS)],
        [member("lib64/libc-2.31.so", SAYS), symlink("lib64/libc.so.6", "libc-2.31.so")],
        [member("usr/lib64/libc.so.6", SAYS), symlink("lib64", "usr/lib64")],
        [member("usr/lib/libc.so.6", SAYS)],
        [folder("usr/lib"), symlink("lib", "usr/lib"), member("lib/aarch64-linux-gnu/libc.so.6", SAYS)],
    ],
)
def test_the_version_of_glibc(tmp_path: Path, members: Members) -> None:
    assert rootfs.glibc_version([layer(tmp_path / "a", *members)]) == "2.31"


def test_the_version_of_glibc_is_that_of_the_last_layer(tmp_path: Path) -> None:
    name = "lib/x86_64-linux-gnu/libc.so.6"
    lower = layer(tmp_path / "a", member(name, SAYS))
    upper = layer(tmp_path / "b", member(name, SAYS.replace(b"version 2.31", b"version 2.36")))
    assert rootfs.glibc_version([lower, upper]) == "2.36"


@pytest.mark.parametrize(
    "members",
    [
        [],
        [
            member("lib/ld-musl-x86_64.so.1", b"musl"),
            symlink("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1"),
        ],
        [member("lib64/libc.so.6", b"something else")],
        [symlink("lib64/libc.so.6", "nowhere")],
        [member("opt/cross/lib/libc.so.6", SAYS)],
    ],
)
def test_no_glibc(tmp_path: Path, members: Members) -> None:
    assert rootfs.glibc_version([layer(tmp_path / "a", *members)]) is None


def test_one_file_through_links_and_layers(tmp_path: Path) -> None:
    lower = layer(
        tmp_path / "a",
        folder("etc"),
        symlink("etc/os-release", "../usr/lib/os-release"),
        member("usr/lib/os-release", b"old"),
        member("usr/lib/other", b"other"),
    )
    upper = layer(tmp_path / "b", member("usr/lib/more", b"more"), member("usr/lib/os-release", b"new"))
    assert rootfs.read_file([lower], "etc/os-release") == b"old"
    assert rootfs.read_file([lower, upper], "etc/os-release") == b"new"
    assert rootfs.read_file([lower, upper], "etc/os-release", limit=2) == b"ne"
    assert rootfs.read_file([lower], "etc/nothing") is None
    assert rootfs.read_file([lower], "etc") is None
    gone = layer(tmp_path / "c", member("usr/lib/.wh.os-release", b""))
    assert rootfs.read_file([lower, upper, gone], "etc/os-release") is None


def test_files_come_last_and_in_the_order_of_the_archives(tmp_path: Path) -> None:
    lower = layer(tmp_path / "a", member("z", b"1"), folder("d"), member("a", b"1"), symlink("s", "z"))
    upper = layer(tmp_path / "b", member("m", b"1"), folder("c"))
    assert [entry.path for entry in rootfs.entries([lower, upper])] == ["c", "d", "s", "z", "a", "m"]
