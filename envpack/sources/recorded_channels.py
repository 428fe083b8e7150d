"""The channels that installed packages came from, as a source may name them.

A record has the address that the package was fetched from, with whatever password or token was in it. The
forms are conda's (https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/channels.html); what a
sandbox says is no reason to fill in variables of the user's environment, so none may be in an address.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from envpack.errors import Problem
from envpack.ledger import Action, Ledger
from envpack.sources.installed import CondaPackage
from envpack.sources.urls import channel_problem, without_secrets

ALIAS = "https://conda.anaconda.org/"
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9_.+~%-]+)*\Z")
_TOKEN = re.compile(r"/t/[^/]+(?=/|\Z)")
_ANACONDA = re.compile(r"pkgs/[a-z0-9-]+\Z")
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Channels:
    """``names`` as a source names them, those with most packages first; ``by_address`` as recorded."""

    names: tuple[str, ...]
    by_address: Mapping[str, str]

    @classmethod
    def of(cls, records: Iterable[CondaPackage], ledger: Ledger, problems: list[Problem]) -> Channels:
        """The channels of ``records``; secrets are left out and said, impossible ones are problems."""
        packages: dict[str, list[str]] = {}
        for record in records:
            packages.setdefault(record.channel, []).append(record.name)
        by_address: dict[str, str] = {}
        counts: Counter[str] = Counter()
        said = set()
        for address, names in sorted(packages.items()):
            channel = by_address[address] = _named(address)
            counts[channel] += len(names)
            if problem := _problem(channel, names):
                problems.append(problem)
            elif _clean(address) != address and channel not in said:
                said.add(channel)
                ledger.add(
                    Action.DROPPED,
                    f"password or token of {channel}",
                    "it was recorded with the packages, and a lock is made to be published",
                    remedy="If the channel asks for it, put it into ~/.netrc.",
                )
        ordered = tuple(sorted(counts, key=lambda channel: (-counts[channel], channel)))
        if len(ordered) > 1:
            ledger.add(
                Action.GUESSED,
                f"channels: {', '.join(ordered)}",
                "their order is not recorded: those with most packages come first, and every package is "
                "asked of the channel it came from",
            )
        return cls(ordered, by_address)

    def spec(self, record: CondaPackage) -> str:
        """The match spec of exactly this package, with its channel where there are several."""
        text = f"{record.name} =={record.version} {record.build}"
        return f"{self.by_address[record.channel]}::{text}" if len(self.names) > 1 else text


def _named(address: str) -> str:
    """``address`` without secrets, and as a name where it is one of anaconda.org's."""
    channel = _clean(address)
    if _ANACONDA.match(channel):
        return f"https://repo.anaconda.com/{channel}"
    name = channel.removeprefix(ALIAS)
    return channel if channel_problem(name, None) else name


def _clean(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    netloc, slash, path = rest.partition("/")
    return f"{scheme}://{netloc.rpartition('@')[2]}{_TOKEN.sub('', slash + path)}"


def _problem(channel: str, names: list[str]) -> Problem | None:
    """Why packages cannot be asked of ``channel``, if they cannot."""
    found = channel_problem(channel, None)
    if found is None and (":" not in channel or _ADDRESS.match(channel)):
        return None
    listed = ", ".join(sorted(names)[:_SHOWN_NAMES]) + (" and others" if len(names) > _SHOWN_NAMES else "")
    return Problem(
        f"{listed} cannot be locked: installed from {without_secrets(channel)!r}",
        why=found.why if found else "that is no address of a channel",
        hint="Install them from a channel that has an http(s) address.",
    )
