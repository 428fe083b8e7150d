"""Pip's part: choices beside conda's, and everything that can be wrong with an index or a requirement."""

from __future__ import annotations

import hashlib

import pytest

from envpack.errors import Location, NetworkError, SolveError
from envpack.ledger import Action, Ledger
from envpack.locking.pip_solver import PipRecord, solve
from envpack.locking.solver import CondaRecord
from envpack.locking.target import Target, target
from envpack.spec import OwnIndex, PipOptions, Requirement
from tests.unit.locking.conftest import MANYLINUX, Index, serving

AIM = Target("linux-64", "3.11.7", "", "2.36")


def conda(name: str, version: str) -> CondaRecord:
    return CondaRecord(name, version, "0", f"https://host/{name}", None, None, None, None, ("python",))


def solved(
    *texts: str,
    records: tuple[CondaRecord, ...] = (),
    options: PipOptions | None = None,
    aim: Target = AIM,
    ledger: Ledger | None = None,
) -> tuple[PipRecord, ...]:
    requirements = [Requirement(t, Location("environment.yml", n)) for n, t in enumerate(texts, 1)]
    return solve(requirements, options or PipOptions(), records, aim, Ledger() if ledger is None else ledger)


def failed(*texts: str, records: tuple[CondaRecord, ...] = (), aim: Target = AIM) -> SolveError:
    with pytest.raises(SolveError) as caught:
        solved(*texts, records=records, aim=aim)
    assert "Traceback" not in str(caught.value)
    assert "file://" not in str(caught.value)
    return caught.value


def test_wheels_with_their_dependencies_sorted(index: Index) -> None:
    index.add("rich", "13.0", requires=["Pygments>=2"])
    index.add("pygments", "2.1")
    pygments, rich = solved("rich")
    assert (pygments.name, pygments.version) == ("pygments", "2.1")
    assert rich.url == index.url.replace("/simple", "/files/rich-13.0-py3-none-any.whl")
    assert f"{rich.sha256}" in index.links["rich"][0]
    assert rich.size is None
    assert rich.timestamp is None


def test_conda_counts_as_installed_and_draws_nothing_in(index: Index) -> None:
    index.add("lightning", requires=["torch>=2", "numpy"])
    index.add("torch", "2.9.0", requires=["nvidia-cublas"])
    records = (conda("pytorch", "2.1.0"), conda("numpy", "1.26.4"))
    assert [r.name for r in solved("lightning", records=records)] == ["lightning"]


def test_a_package_that_only_conda_has_does_no_harm(index: Index) -> None:
    index.add("tool", requires=["gdal"])
    assert [r.name for r in solved("tool", records=(conda("gdal", "3.8.0"),))] == ["tool"]


def test_what_conda_gives_is_left_out_and_said(index: Index) -> None:
    ledger = Ledger()
    assert solved("NumPy>=1.20", records=(conda("numpy", "1.26.4"),), ledger=ledger) == ()
    assert [(f.action, f.subject, str(f.where)) for f in ledger] == [
        (Action.REPLACED, "NumPy>=1.20", "environment.yml:1")
    ]


def test_extras_of_what_conda_gives_need_the_user(index: Index) -> None:
    ledger = Ledger()
    solved("dask[complete]", records=(conda("dask-core", "2025.1"),), ledger=ledger)
    assert (Action.NEEDS_YOU, "dask[complete]") in [(f.action, f.subject) for f in ledger]


def test_markers_are_the_targets(index: Index) -> None:
    index.add("here")
    index.add("arm")
    found = solved(
        "here; sys_platform == 'linux' and python_version == '3.11'",
        "away; sys_platform == 'win32'",
        "arm; platform_machine == 'aarch64'",
    )
    assert [r.name for r in found] == ["here"]


def test_wheels_for_another_machine(index: Index) -> None:
    index.add("fast", tag=f"cp311-cp311-{MANYLINUX}")
    index.add("fast", tag="cp311-cp311-manylinux_2_28_aarch64")
    aim = Target("linux-aarch64", "3.11.7", "", "2.36")
    assert "aarch64" in solved("fast", aim=aim)[0].url
    assert "x86_64" in solved("fast")[0].url


def test_an_old_glibc_takes_an_older_version(index: Index) -> None:
    index.add("fast", "2.0", tag="cp311-cp311-manylinux_2_35_x86_64")
    index.add("fast", "1.0", tag=f"cp311-cp311-{MANYLINUX}")
    assert solved("fast")[0].version == "2.0"
    assert solved("fast", aim=Target("linux-64", "3.11.7", "", "2.31"))[0].version == "1.0"


def test_extra_indexes_are_equal_as_for_pip(index: Index) -> None:
    extra = Index()
    index.add("a", "1.0")
    index.add("b", "2.0")
    with serving(extra, "/simple"):
        extra.add("a", "1.5")
        extra.add("b", "1.0")
        found = solved("a", "b", options=PipOptions(extra_index_urls=(extra.url,)))
    assert [r.version for r in found] == ["1.5", "2.0"]


def test_the_first_index_that_has_a_package_as_for_uv(index: Index) -> None:
    extra = Index()
    index.add("a", "2.0")
    with serving(extra, "/simple"):
        extra.add("a", "1.5")
        options = PipOptions(extra_index_urls=(extra.url,), first_index=True)
        assert [r.version for r in solved("a", options=options)] == ["1.5"]


def test_a_package_of_an_index_of_its_own(index: Index) -> None:
    """Only what names it comes from there: what it needs, and what else the index has, is the usual one's."""
    own = Index()
    for name in ("torch", "numpy", "plain"):
        index.add(name, "2.0")
    with serving(own, "/simple"):
        own.add("torch", "1.0+cpu", requires=["numpy"])
        own.add("numpy", "1.0")
        own.add("plain", "3.0")
        options = PipOptions(own_indexes=(OwnIndex("torch", own.url, index="cpu"),))
        found = solved("Torch>=0.9", "plain", options=options)
        assert [(r.name, r.version) for r in found] == [
            ("numpy", "2.0"), ("plain", "2.0"), ("torch", "1.0+cpu"),
        ]  # fmt: skip
        assert found[2].url.startswith(own.url.replace("/simple", "/files/"))
        with pytest.raises(SolveError) as caught:
            solved("torch>=2", options=options)
        assert "only torch==1.0+cpu is available and you require torch>=2" in (caught.value.why or "")
        with pytest.raises(SolveError) as caught:
            solved("plain", "gone", options=PipOptions(own_indexes=(OwnIndex("gone", own.url),)))
        assert [str(p.where) for p in caught.value.problems] == ["environment.yml:2"]
        assert caught.value.problems[0].why == f"it is asked of {own.url} alone"
        alone = PipOptions(own_indexes=(OwnIndex("torch", own.url, "python_version < '3.9'"),))
        assert [r.version for r in solved("torch", options=alone)] == ["2.0"]
        several = tuple(OwnIndex("plain", own.url, f"python_version {x} '3.10'") for x in (">", ">=", "=="))
        assert [r.version for r in solved("plain", options=PipOptions(own_indexes=several))] == ["3.0"]


def test_constraints_hold_for_what_is_pulled_in(index: Index) -> None:
    ledger = Ledger()
    index.add("tool", requires=["helper", "numpy"])
    index.add("helper", "1.0")
    index.add("helper", "2.0")
    lines = tuple(
        Requirement(t, Location("c.txt", n)) for n, t in enumerate(("helper<2", "numpy==1.0", "no<1"), 1)
    )
    options = PipOptions(constraints=lines)
    found = solved("tool", options=options, records=(conda("numpy", "2.0"),), ledger=ledger)
    assert [(r.name, r.version) for r in found] == [("helper", "1.0"), ("tool", "1.0")]
    assert [(f.action, f.subject, str(f.where)) for f in ledger] == [
        (Action.REPLACED, "numpy==1.0", "c.txt:2")
    ]


def test_overrides_win_over_what_packages_ask_for(index: Index) -> None:
    index.add("tool", requires=["helper<2"])
    index.add("helper", "1.0")
    index.add("helper", "2.0")
    options = PipOptions(overrides=(Requirement("helper==2.0"),))
    assert [r.version for r in solved("tool", options=options)] == ["2.0", "1.0"]


def test_versions_before_a_release_where_they_are_allowed(index: Index) -> None:
    index.add("a", "1.0")
    index.add("a", "2.0rc1")
    assert [r.version for r in solved("a>=1")] == ["1.0"]
    assert [r.version for r in solved("a>=1", options=PipOptions(pre=True))] == ["2.0rc1"]


def test_an_index_of_the_file_replaces_the_default(index: Index) -> None:
    own = Index()
    index.add("a", "2.0")
    with serving(own, "/simple"):
        own.add("a", "1.0")
        assert solved("a", options=PipOptions(index_url=own.url))[0].version == "1.0"


def test_passwords_of_indexes_do_not_get_into_the_lock(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    index.add("a")
    url = index.url.replace("://", "://me:${PASSWORD}@")
    (record,) = solved("a", options=PipOptions(index_url=url))
    assert "hunter2" not in record.url
    assert "@" not in record.url
    index.add("linked")
    page = index.files["/simple/linked/"]
    own = url.replace("/simple", "").replace("${PASSWORD}", "hunter2").encode()
    index.files["/simple/linked/"] = page.replace(b'href="', b'href="' + own)
    assert "hunter2" not in solved("linked", options=PipOptions(index_url=url))[0].url
    with pytest.raises(SolveError) as caught:
        solved("b", options=PipOptions(index_url=url))
    assert "hunter2" not in str(caught.value)
    index.behaviour = 403
    with pytest.raises(NetworkError) as refused:
        solved("c", options=PipOptions(index_url=url))
    assert "hunter2" not in str(refused.value)


def test_a_token_of_a_package_s_own_index(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    index.add("a", "1.0")
    page = index.files.pop("/simple/a/").replace(b'"/files', b'"/t/hunter2/files')
    index.files = {f"/t/hunter2{path}": data for path, data in index.files.items()}
    index.files["/t/hunter2/simple/a/"] = page
    own = OwnIndex("a", index.url.replace("/simple", "/t/${TOKEN}/simple"))
    (record,) = solved("a", options=PipOptions(own_indexes=(own,)))
    assert "/t/${TOKEN}/files/" in record.url


def test_variables_that_are_not_set(index: Index) -> None:
    with pytest.raises(SolveError) as caught:
        solved("a", options=PipOptions(index_url="https://${NO_SUCH}:${NEITHER}@host/simple"))
    assert [p.what.split()[2] for p in caught.value.problems] == ["NEITHER", "NO_SUCH"]


def test_a_clash_with_conda_says_whose_choice_it_is(index: Index) -> None:
    index.add("old", requires=["numpy<2"])
    error = failed("old", records=(conda("numpy", "2.4.6"),))
    assert error.what == "the pip requirements cannot be met on linux-64"
    assert "numpy 2.4.6 is conda's choice" in (error.why or "")


def test_a_clash_within_pip(index: Index) -> None:
    index.add("a", requires=["c<2"])
    index.add("b", requires=["c>=2"])
    index.add("c", "1.0")
    index.add("c", "2.0")
    why = failed("a", "b").why or ""
    assert "c" in why
    assert why[0].isalpha()
    assert not why.startswith("error")
    assert "hint:" not in why


def test_a_name_that_is_not_on_the_index(index: Index) -> None:
    error = failed("no-such-thing")
    assert [(p.what, str(p.where)) for p in error.problems] == [
        ("no-such-thing is not on the index", "environment.yml:1")
    ]


def test_a_package_without_wheels(index: Index) -> None:
    index.add("source-only", sdist=True)
    error = failed("source-only")
    assert [(p.what, str(p.where)) for p in error.problems] == [
        ("source-only has no wheel for python 3.11.7 on linux-64", "environment.yml:1")
    ]
    assert "Ask conda" in (error.hint or "")


def test_everything_that_cannot_be_met_at_once(index: Index) -> None:
    index.add("good")
    index.add("source-only", sdist=True)
    index.add("old", "1.0")
    error = failed("absent", "good", "source-only", "old==9; python_version >= '3'", "missing>=1")
    assert {(p.what, str(p.where)) for p in error.problems} == {
        ("absent is not on the index", "environment.yml:1"),
        ("source-only has no wheel for python 3.11.7 on linux-64", "environment.yml:3"),
        ("old==9; python_version >= '3' has no such version on the index", "environment.yml:4"),
        ("missing>=1 is not on the index", "environment.yml:5"),
    }


def test_of_several_in_one_line_those_to_blame(index: Index) -> None:
    index.add("a", "1.0")
    place = Location("environment.yml", 3)
    asked = [Requirement(text, place) for text in ("a", "gone", "lost>=2")]
    with pytest.raises(SolveError) as caught:
        solve(asked, PipOptions(), (), AIM, Ledger())
    assert {p.what.split()[0] for p in caught.value.problems} == {"gone", "lost>=2"}


def test_a_package_with_wheels_for_others_only(index: Index) -> None:
    index.add("fast", tag="cp39-cp39-win_amd64")
    assert "fast" in str(failed("fast"))


def test_an_index_without_hashes(index: Index) -> None:
    index.add("a", hashed=False)
    (record,) = solved("a")
    body = index.files["/files/a-1.0-py3-none-any.whl"]
    assert record.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (401, "refuses access (401)"),
        (403, "refuses access (403)"),
        (429, "asks to come back later (429)"),
        (500, "has a fault of its own (500)"),
        ("slow", "did not answer in time"),
        ("closed", "broke the connection"),
    ],
)
def test_indexes_that_do_not_answer(index: Index, behaviour: int | str, said: str) -> None:
    index.behaviour = behaviour
    with pytest.raises(NetworkError) as caught:
        solved("a")
    assert caught.value.what == f"the package index at 127.0.0.1 {said}"


def test_an_index_that_nobody_serves(index: Index) -> None:
    gone = Index()
    with serving(gone, "/simple"):
        pass
    with pytest.raises(NetworkError) as caught:
        solved("a", options=PipOptions(index_url=gone.url))
    assert caught.value.what == "the package index at 127.0.0.1 refuses connections"


def test_a_platform_that_uv_does_not_know(index: Index) -> None:
    with pytest.raises(SolveError, match="cannot be resolved for linux-ppc64le"):
        solved("a", aim=Target("linux-ppc64le", "3.11.7", "", "2.36"))


def test_the_target_is_the_locked_python() -> None:
    python = CondaRecord("python", "3.13.1", "h1_1_cp313t", "https://h", None, None, None, None, ())
    assert target("linux-64", [python], "2.36") == Target("linux-64", "3.13.1", "t", "2.36")
    plain = CondaRecord("python", "3.13.1", "h1_1_cp313", "https://h", None, None, None, None, ())
    assert target("linux-64", [plain], "2.36").threaded == ""
    with pytest.raises(SolveError, match="no python"):
        target("linux-64", [], "2.36")
