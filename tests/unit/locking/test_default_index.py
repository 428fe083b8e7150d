"""uv's default index among those that a lock names: by what the real uv says."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from envpack import locking
from envpack.config import Config
from envpack.ledger import Action, Ledger
from envpack.locking import default_index
from envpack.spec import EnvSpec, OwnIndex, PipOptions, Requirement
from tests.unit.locking.conftest import Channel, Index

OWN = "https://index.example/simple"


def usual() -> str:
    """An address on the host that uv names, in other words than uv's."""
    named = default_index._uvs()
    assert named is not None, "uv's help does not name its default index in the words that are looked for"
    return f"https://{(urlsplit(named).hostname or '').upper()}/simple/"


def test_uvs_own_is_left_out_and_no_other() -> None:
    ledger = Ledger()
    spec = EnvSpec("x", pip_options=PipOptions(extra_index_urls=(OWN, usual())))
    assert default_index.left_out(spec, ledger).pip_options.extra_index_urls == (OWN,)
    assert [(f.action, f.subject) for f in ledger] == [(Action.KEPT, f"index {usual()}")]
    elsewhere = EnvSpec("x", pip_options=PipOptions(OWN, extra_index_urls=(usual(),)))
    assert default_index.left_out(elsewhere, ledger) is elsewhere


def test_uvs_own_for_one_package_is_needed_beside_others_alone() -> None:
    alone = PipOptions(own_indexes=(OwnIndex("a", usual()), OwnIndex("b", OWN)))
    beside = replace(alone, extra_index_urls=(OWN,))
    left = default_index.left_out(EnvSpec("x", pip_options=alone), Ledger()).pip_options
    assert left == PipOptions(own_indexes=(OwnIndex("b", OWN),))
    assert default_index.left_out(EnvSpec("x", pip_options=beside), Ledger()).pip_options == beside


def test_a_lock_that_names_it_is_solved_with_what_uv_is_set_up_to_ask(
    channel: Channel, index: Index, config: Config
) -> None:
    """The default one's own host is not asked: here another index is in its place."""
    index.add("rich", "13.0")
    silent = usual().replace("https://", "http://").replace("/simple", ":9/simple")
    spec = EnvSpec(
        "x",
        (channel.url,),
        (Requirement("python =3.11"),),
        (Requirement("rich==13.0"),),
        PipOptions(extra_index_urls=(silent,)),
    )
    found = locking.solve(spec, platforms=["linux-64"], glibc="2.36", config=config, ledger=Ledger())
    assert {p.name: p.version for p in found.packages}["rich"] == "13.0"
    assert found.spec.pip_options == PipOptions()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--default-index <X>\n The index (by\n default: <https://a.example/s>) [env: U]", "https://a.example/s"),
        ("--default-index <X>\n The index\n --other-index (by default: <https://a.example/s>)", None),
        ("--default-index <X>  The index (by default: none)", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_uv_says(text: str, expected: str | None) -> None:
    assert default_index.named(text) == expected
