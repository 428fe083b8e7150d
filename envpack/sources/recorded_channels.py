"""The channels that installed packages came from, as a source may name them.

A record has the address that the package was fetched from, with whatever password or token was in it. The
forms are conda's (https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/channels.html); what a
sandbox says is no reason to fill in variables of the user's environment, so none may be in an address.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from envpack.ledger import Action, Ledger
from envpack.sources.installed import CondaPackage
from envpack.sources.urls import channel_problem, without_secrets

ALIAS = "https://conda.anaconda.org/"
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9_.+~%-]+)*\Z")
_TOKEN = re.compile(r"/t/[^/]+(?=/|\Z)")
_ANACONDA = re.compile(r"pkgs/[a-z0-9-]+\Z")


@dataclass(frozen=True, slots=True)
class Channels:
    """``names`` as a source names them, in order of priority; ``by_address`` as recorded.

    Packages whose address is ``unusable`` can be asked of no channel.
    """

    names: tuple[str, ...]
    by_address: Mapping[str, str]
    unusable: frozenset[str] = frozenset()

    @classmethod
    def of(cls, records: Iterable[CondaPackage], ledger: Ledger, order: Sequence[str] = ()) -> Channels:
        """The channels of ``records``, those with most packages first unless an ``order`` is recorded.

        Secrets are left out and said, so are packages from where there is no channel.
        """
        packages: dict[str, list[CondaPackage]] = {}
        for record in records:
            packages.setdefault(record.channel, []).append(record)
        by_address: dict[str, str] = {}
        counts: Counter[str] = Counter()
        said = set()
        unusable = set()
        for address, found in sorted(packages.items()):
            channel = by_address[address] = _named(address)
            if why := why_not(address):
                unusable.add(address)
                _left_out(found, channel, why, ledger)
                continue
            counts[channel] += len(found)
            if _clean(address) != address and channel not in said:
                said.add(channel)
                ledger.add(
                    Action.DROPPED,
                    f"password or token of {channel}",
                    "it was recorded with the packages, and a lock is made to be published",
                    remedy="If the channel asks for it, put it into ~/.netrc.",
                )
        ordered = tuple(sorted(counts, key=lambda channel: (-counts[channel], channel)))
        # ``defaults`` stands for addresses that the packages have themselves.
        recorded = [_named(channel.rstrip("/")) for channel in order if channel != "defaults"]
        if recorded:
            usable = [channel for channel in recorded if not why_not(channel)]
            ordered = tuple(dict.fromkeys([*usable, *ordered]))
        elif len(ordered) > 1:
            ledger.add(
                Action.GUESSED,
                f"channels: {', '.join(ordered)}",
                "their order is not recorded: those with most packages come first, and every package is "
                "asked of the channel it came from",
            )
        return cls(ordered, by_address, frozenset(unusable))

    def spec(self, record: CondaPackage, *, old: bool = False) -> str:
        """The match spec of exactly this package, with its channel where there are several.

        In an ``old`` environment what is of ``defaults`` can be of another channel now.
        """
        text = f"{record.name} =={record.version} {record.build}"
        channel = self.by_address[record.channel]
        # Of Anaconda's own channels a listing does not tell which one, and R has one for itself.
        if len(self.names) < 2 or (channel == "defaults" and (old or record.name.startswith(("r-", "_r-")))):
            return text
        return f"{channel}::{text}"


def _named(address: str) -> str:
    """``address`` without secrets, and as a name where it is one of anaconda.org's."""
    channel = _clean(address)
    if _ANACONDA.match(channel):
        return f"https://repo.anaconda.com/{channel}"
    # Where these were until 2018.
    channel = re.sub(r"\Ahttps?://repo\.continuum\.io/", "https://repo.anaconda.com/", channel)
    name = channel.removeprefix(ALIAS)
    return channel if channel_problem(name, None) else name


def _clean(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    netloc, slash, path = rest.partition("/")
    return f"{scheme}://{netloc.rpartition('@')[2]}{_TOKEN.sub('', slash + path)}"


def why_not(address: str) -> str | None:
    """Why packages cannot be asked of the channel at ``address``, if they cannot."""
    channel = _named(address)
    found = channel_problem(channel, None)
    if found is None and (":" not in channel or _ADDRESS.match(channel)):
        return None
    return (found.why if found else None) or "that is no address of a channel"


def _left_out(records: Iterable[CondaPackage], channel: str, why: str, ledger: Ledger) -> None:
    for record in records:
        ledger.add(
            Action.NEEDS_YOU,
            f"{record.name} {record.version}",
            f"it was installed from {without_secrets(channel)!r}: {why}",
            where=record.where,
            remedy="Install it from a channel that has an http(s) address.",
        )
