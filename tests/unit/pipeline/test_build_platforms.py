"""What is said of several platforms."""

from envpack.ledger import Action, Ledger
from envpack.pipeline.build_platforms import _merge


def test_findings_say_which_platform_they_are_of() -> None:
    ledgers = {"linux-64": Ledger(), "linux-aarch64": Ledger()}
    for ledger in ledgers.values():
        ledger.add(Action.REPLACED, "/opt/env/x", "both have it")
    ledgers["linux-aarch64"].add(Action.DROPPED, "bytecode", "no python")
    into = Ledger()
    _merge(ledgers, into)
    assert [finding.subject for finding in into] == ["/opt/env/x", "linux-aarch64: bytecode"]
