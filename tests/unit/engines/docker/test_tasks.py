"""Steps that begin, move and end with messages."""

from __future__ import annotations

import pytest

from envpack.engines.docker.tasks import Tasks
from tests.unit.engines.docker.conftest import Recorded


def test_a_push_as_docker_tells_it(tasks: Tasks, recorded: Recorded) -> None:
    with tasks:
        for status, detail in [
            ("Preparing", {}),
            ("Pushing", {"current": 531456, "total": 97029980}),
            ("Pushing", {"current": 99001344, "total": 97029980}),  # a tar is larger than its files
            ("Pushed", {}),
        ]:
            tasks.layer({"status": status, "progressDetail": detail, "id": "df156a4b4aa7"})
        assert [(s.title, s.total, s.done, s.ended) for s in recorded.steps] == [
            ("Pushing layer df156a4b4aa7", 97029980, 97029980, "done")
        ]


def test_small_layers_are_not_shown(tasks: Tasks, recorded: Recorded) -> None:
    tasks.layer({"status": "Pushing", "progressDetail": {"current": 512, "total": 880}, "id": "a"})
    assert not recorded.steps


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
