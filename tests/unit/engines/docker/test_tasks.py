"""Steps that begin, move and end with messages."""

from __future__ import annotations

import pytest

from envpack.engines.docker.tasks import Tasks
from tests.unit.engines.docker.conftest import Recorded


def test_a_push_as_docker_tells_it(tasks: Tasks, recorded: Recorded) -> None:
    with tasks:
        for status, detail in [
            ("Preparing", {}),
            ("Pushing", {"current": 512, "total": 880}),
            ("Pushing", {"current": 4096, "total": 880}),  # a tar is larger than its files
            ("Pushed", {}),
        ]:
            tasks.layer({"status": status, "progressDetail": detail, "id": "df156a4b4aa7"})
        assert [(s.title, s.total, s.done, s.ended) for s in recorded.steps] == [
            ("Pushing layer df156a4b4aa7", 880, 880, "done")
        ]


def test_a_layer_of_unknown_size(tasks: Tasks, recorded: Recorded) -> None:
    tasks.layer({"status": "Downloading", "progressDetail": {"current": 7}, "id": "a"})
    tasks.layer({"status": "Downloading", "progressDetail": {"current": 5}, "id": "a"})
    assert [(s.total, s.done) for s in recorded.steps] == [(None, 7)]


def test_what_is_under_way_ends_with_the_error(tasks: Tasks, recorded: Recorded) -> None:
    def interrupted() -> None:
        with tasks:
            tasks.begin("a", "A")
            tasks.begin("a", "A")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(s.title, s.ended) for s in recorded.steps] == [("A", "stopped")]
