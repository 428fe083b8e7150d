"""Later segments win, directories merge, and symlinked directories of the base stay."""

from __future__ import annotations

import io

import pytest

from envpack.entry import Entry, Kind, directory, file, symlink, whiteout
from envpack.formats.squashfs.image import Assembled
from envpack.formats.squashfs.reader import Squashfs
from envpack.formats.squashfs.tree import Overwritten
from tests.unit.formats.squashfs.trees import image, whole


def merged(*groups: list[Entry], root: str = "") -> tuple[dict[str, str], Assembled]:
    """What is at each path, in short: contents, ``-> target``, ``/mode`` of directories."""
    data, assembled = image(*groups, root=root)
    found = {}
    for path, entry in whole(Squashfs(io.BytesIO(data)).entries()).items():
        if entry.kind is Kind.DIRECTORY:
            found[path] = f"/{entry.mode:o}"
        elif entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
            found[path] = ("-> " if entry.kind is Kind.SYMLINK else "= ") + entry.target
        else:
            found[path] = b"".join(entry.chunks).decode()
    return found, assembled


def test_directories_merge_and_the_later_one_gives_the_mode() -> None:
    found, assembled = merged(
        [directory("d", 0o700), file("d/a", b"a")],
        [directory("d", 0o750), file("d/b", b"b")],
        [file("d/c", b"c")],
    )
    assert found == {"d": "/750", "d/a": "a", "d/b": "b", "d/c": "c"}
    assert assembled.overwritten == ()


def test_owner_date_and_attributes_of_the_later_directory_win() -> None:
    first = Entry("d", Kind.DIRECTORY, 0o755, mtime=1, uid=1, gid=1, xattrs=(("user.a", b"1"),))
    second = Entry("d", Kind.DIRECTORY, 0o755, mtime=2, uid=2, gid=3)
    data, _ = image([first], [second])
    assert list(Squashfs(io.BytesIO(data)).entries()) == [second]


def test_parents_that_nobody_gives_are_made() -> None:
    found, _ = merged([file("a/b/c", b"c")])
    assert found == {"a": "/755", "a/b": "/755", "a/b/c": "c"}


def test_a_later_file_wins_and_is_reported() -> None:
    found, assembled = merged([file("a", b"1")], [], [file("a", b"2")], [file("a", b"3")])
    assert found == {"a": "3"}
    assert assembled.overwritten == (Overwritten("a", 0, 2), Overwritten("a", 2, 3))


def test_the_last_of_a_segment_s_own_duplicates_wins() -> None:
    found, assembled = merged([file("a", b"1"), file("a", b"2")])
    assert found == {"a": "2"}
    assert assembled.overwritten == (Overwritten("a", 0, 0),)


def test_a_file_replaces_a_directory() -> None:
    found, assembled = merged([file("d/e/a", b"1")], [file("d", b"2")])
    assert found == {"d": "2"}
    assert assembled.overwritten == (Overwritten("d", 0, 1),)


def test_a_directory_replaces_a_file() -> None:
    found, assembled = merged([file("d", b"1")], [directory("d", 0o700), file("d/a", b"2")])
    assert found == {"d": "/700", "d/a": "2"}
    assert assembled.overwritten == (Overwritten("d", 0, 1),)


def test_a_path_below_a_file_replaces_it() -> None:
    found, assembled = merged([file("x/d", b"1")], [file("x/d/a", b"2")])
    assert found == {"x": "/755", "x/d": "/755", "x/d/a": "2"}
    assert assembled.overwritten == (Overwritten("x/d", 0, 1),)


def test_what_was_below_a_replaced_directory_does_not_come_back() -> None:
    found, _ = merged([file("d/a", b"1")], [file("d", b"2")], [file("d/b", b"3")])
    assert found == {"d": "/755", "d/b": "3"}


@pytest.mark.parametrize("target", ["usr/bin", "/usr/bin", "./usr//bin/", "../../usr/bin", "usr/../usr/bin"])
def test_a_path_below_a_symlinked_directory_lands_in_it(target: str) -> None:
    found, assembled = merged(
        [directory("usr/bin"), symlink("bin", target), file("usr/bin/sh", b"sh")],
        [directory("bin", 0o700), file("bin/tool", b"tool"), file("bin/sh", b"new")],
    )
    assert found == {
        "bin": f"-> {target}",
        "usr": "/755",
        "usr/bin": "/755",
        "usr/bin/sh": "new",
        "usr/bin/tool": "tool",
    }
    assert assembled.overwritten == (Overwritten("bin/sh", 0, 1),)


def test_symlinks_to_symlinked_directories_are_followed() -> None:
    found, _ = merged(
        [directory("usr/lib"), symlink("lib", "usr/lib"), symlink("usr/lib64", "../lib")],
        [file("usr/lib64/x/a", b"a")],
    )
    assert found["usr/lib/x/a"] == "a"


def test_a_dangling_symlink_gets_its_directory() -> None:
    found, assembled = merged([symlink("run", "var/run")], [file("run/a", b"a")])
    assert found == {"run": "-> var/run", "var": "/755", "var/run": "/755", "var/run/a": "a"}
    assert assembled.overwritten == ()


def test_a_directory_on_a_symlink_to_nothing_replaces_it() -> None:
    found, assembled = merged([symlink("run", "var/run")], [directory("run", 0o700)])
    assert found == {"run": "/700"}
    assert assembled.overwritten == (Overwritten("run", 0, 1),)


def test_a_file_replaces_a_symlink_and_leaves_its_target() -> None:
    found, assembled = merged([file("b", b"b"), symlink("a", "b")], [file("a", b"a")])
    assert found == {"a": "a", "b": "b"}
    assert assembled.overwritten == (Overwritten("a", 0, 1),)


def test_symlink_loops_end() -> None:
    found, assembled = merged([symlink("a", "b"), symlink("b", "a")], [file("a/x", b"x")])
    assert len(assembled.overwritten) == 1
    assert "x" in found.values()


def test_symlinks_do_not_leave_the_image() -> None:
    found, _ = merged([symlink("out", "../../../../etc")], [file("out/passwd", b"mine")])
    assert found["etc/passwd"] == "mine"


def test_hard_links_survive_the_loss_of_a_name() -> None:
    link = Entry("b", Kind.HARDLINK, 0, target="a")
    found, _ = merged([file("a", b"1"), link, Entry("c", Kind.HARDLINK, 0, target="b")], [file("a", b"2")])
    assert found == {"a": "2", "b": "1", "c": "= b"}


def test_a_folder_of_the_tree_becomes_the_root() -> None:
    package = [
        directory("opt/env", 0o750),
        file("opt/env/bin/python", b"python"),
        symlink("opt/env/lib64", "/opt/env/lib"),
        file("opt/env/lib64/a", b"a"),
        file("opt/envy", b"outside"),
        directory("srv/empty"),
        Entry("opt/hard", Kind.HARDLINK, 0o644, target="opt/env/lib64/a"),
    ]
    found, assembled = merged([file("opt/env/bin/python", b"lost")], package, root="opt/env")
    assert found == {
        "bin": "/755", "bin/python": "python", "lib": "/755", "lib/a": "a", "lib64": "-> /opt/env/lib",
    }  # fmt: skip
    assert assembled.outside == ("opt/envy", "opt/hard", "srv/empty")
    assert (assembled.directories, assembled.files) == (3, 2)
    assert [lost.path for lost in assembled.overwritten] == ["opt/env/bin/python"]


def test_a_root_that_is_not_there_is_empty() -> None:
    found, assembled = merged([file("a/b", b"")], root="opt/env")
    assert (found, assembled.outside) == ({}, ("a/b",))


def test_a_root_behind_a_symlink() -> None:
    found, assembled = merged([symlink("opt", "data"), file("opt/env/a", b"a")], root="opt/env")
    assert (found, assembled.outside) == ({"a": "a"}, ("opt",))


def test_the_root_is_part_of_what_the_image_is_known_by() -> None:
    entries = [file("a/b/c", b"")]
    digests = {merged(entries, root=root)[1].digest for root in ("", "a", "a/b")}
    assert len(digests) == 3


def test_whiteouts_remove_what_earlier_segments_have() -> None:
    below = [
        directory("d"),
        file("d/a", b"a"),
        directory("d/e"),
        file("d/e/b", b"b"),
        file("f", b"f"),
        symlink("l", "d"),
        file("l/c", b"c"),
    ]
    found, assembled = merged(below, [whiteout("d/e"), whiteout("f"), whiteout("absent")])
    assert found == {"d": "/755", "d/a": "a", "d/c": "c", "l": "-> d"}
    assert assembled.overwritten == ()


def test_what_follows_a_whiteout_is_new() -> None:
    below = [directory("d"), file("d/a", b"a"), symlink("l", "d"), file("x", b"x")]
    above = [whiteout("d"), directory("d", 0o700), file("d/b", b"b"), whiteout("l"), directory("l")]
    found, _ = merged(below, above, [file("l/c", b"c")])
    assert found == {"d": "/700", "d/b": "b", "l": "/755", "l/c": "c", "x": "x"}
