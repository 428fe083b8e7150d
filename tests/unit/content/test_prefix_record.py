from __future__ import annotations

from dataclasses import replace

from envpack.content import prefix_record
from tests.unit.content.archives import content, locked


def test_history_names_what_is_installed_and_what_was_asked_for() -> None:
    conda = [locked("b", filename="b-1.0-0.conda"), locked("a", "2", "a-2-py_0.tar.bz2")]
    wheel = replace(locked("w"), manager="pip")
    entry = prefix_record.history("opt/env", [*conda, wheel], ["b", "a >=1"], 1600000000)
    channel = "https://conda.anaconda.org/conda-forge/linux-64"
    assert entry.path == "opt/env/conda-meta/history"
    assert content(entry).decode().splitlines() == [
        "==> 2020-09-13 12:26:40 <==",
        f"+{channel}::a-2-py_0",
        f"+{channel}::b-1.0-0",
        '# update specs: ["a >=1", "b"]',
    ]
