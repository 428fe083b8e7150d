"""Failure messages of downloads, told apart."""

from pathlib import Path

import pytest

from envpack.locking.failures import cleaned, disk_failure, first_url, network_problem, without_secrets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("HTTP status client error (401 Unauthorized) for url (http://h/x)", "refuses access (401)"),
        ("returned a 403 Forbidden error", "refuses access (403)"),
        ("(404 File not found) for url", "does not have it (404)"),
        ("HTTP status server error (502 Bad Gateway)", "has a fault of its own (502)"),
        ("HTTP status (418 I'm a teapot)", "refuses the request (418)"),
        ("could not find subdir 'noarch'\nCaused by: (404 Not Found)", "does not exist"),
        ("error sending request\nCaused by: operation timed out", "did not answer in time"),
        ("error sending request\nCaused by: dns error\nCaused by: x", "cannot be found"),
        ("tcp connect error\nCaused by: Connection refused (os error 111)", "refuses connections"),
        ("tcp connect error\nCaused by: Network is unreachable", "cannot be reached"),
        ("invalid peer certificate: UnknownIssuer", "has no certificate that this machine trusts"),
        ("failed to parse repodata.json", "did not answer with package data"),
    ],
)
def test_causes(text: str, said: str) -> None:
    problem = network_problem(text, "the channel c")
    assert problem is not None
    assert problem.what == f"the channel c {said}"
    assert problem.hint


def test_of_a_chain_the_address_and_the_last_cause_are_told() -> None:
    text = "failed\nCaused by: for url (https://me:pw@h/x)\nCaused by: dns error\nCaused by: no such name"
    problem = network_problem(text, "c")
    assert problem is not None
    assert problem.why == "https://h/x: no such name"
    problem = network_problem("failed\nCaused by: (404 Not Found) for url (http://h/x)", "c")
    assert problem is not None
    assert problem.why == "(404 Not Found) for url (http://h/x)"


@pytest.mark.parametrize(
    "text", ["Cannot solve the request", "error at http://127.0.0.1:500 Or so", "in 404 days"]
)
def test_other_failures_are_none_of_the_network(text: str) -> None:
    assert network_problem(text, "c") is None


def test_refusals_of_the_disk() -> None:
    cache = Path("/scratch/cache")
    full = "failed: https://h/x\nCaused by: cannot flush `/scratch/cache/r`: No space left (os error 28)"
    failure = disk_failure(full, cache)
    assert failure is not None
    assert failure.errno == 28
    assert disk_failure("for url (https://h/x)\nCaused by: Permission denied (os error 13)", cache) is None
    assert disk_failure("something about /scratch/cache", cache) is None


def test_secrets_are_taken_out() -> None:
    text = "at https://me:pw@host/t/tk-1/c\n  and http://pw@h/x"
    assert without_secrets(text) == "at https://host/t//c\n  and http://h/x"
    assert cleaned(text) == "at https://host/t//c; and http://h/x"
    assert first_url("for url (http://h:1/x).") == "http://h:1/x"
    assert first_url("nothing") is None
