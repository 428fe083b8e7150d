"""``envpack cache``: what the cache holds, and removing what is old, too much or damaged."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envpack.cache import Cache
from envpack.cache.policy import Item, Kind, excess
from envpack.cache.stock import items, remove, total
from envpack.config import Config
from envpack.errors import IntegrityError
from envpack.progress import Progress, Quiet


@dataclass(frozen=True, slots=True)
class Holding:
    """All things of one kind: how many, how large, and when the first and the last of them was used last."""

    kind: Kind
    count: int
    size: int
    oldest: datetime.datetime | None
    newest: datetime.datetime | None

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``; sizes in bytes."""
        return {
            "count": self.count,
            "bytes": self.size,
            "oldest_use": self.oldest and self.oldest.isoformat(timespec="seconds"),
            "last_use": self.newest and self.newest.isoformat(timespec="seconds"),
        }


@dataclass(frozen=True, slots=True)
class CacheContent:
    """What a cache holds, by kind."""

    root: Path
    holdings: tuple[Holding, ...]

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(each.size for each in self.holdings)

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {
            "cache": str(self.root),
            "bytes": self.size,
            "kinds": {each.kind.value: each.as_dict() for each in self.holdings},
        }


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was, or with ``dry_run`` would be, removed; what running commands may use; what is left."""

    root: Path
    removed: tuple[Item, ...]
    in_use: tuple[Item, ...]
    left: int
    dry_run: bool = False

    @property
    def freed(self) -> int:
        """Bytes of what is removed."""
        return total(self.removed)

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {
            "cache": str(self.root),
            "dry_run": self.dry_run,
            "removed": [_described(item) for item in self.removed],
            "freed": self.freed,
            "in_use": [_described(item) for item in self.in_use],
            "left": self.left,
        }


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file of the cache that was not what it should be, and is removed."""

    item: Item
    why: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What of the cache was read, and what was damaged."""

    root: Path
    files: int
    size: int
    damaged: tuple[Damaged, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``--json``."""
        return {
            "cache": str(self.root),
            "files": self.files,
            "bytes": self.size,
            "damaged": [{**_described(each.item), "why": each.why} for each in self.damaged],
        }


def cache_content(config: Config) -> CacheContent:
    """What is in the cache. Raises :class:`OutputError` where it cannot be read."""
    found = items(Cache(config.cache))
    return CacheContent(config.cache, tuple(_holding(k, [i for i in found if i.kind is k]) for k in Kind))


def prune_cache(
    config: Config,
    *,
    older_than: float | None = None,
    max_size: int | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> Pruned:
    """Remove what was not used for ``older_than`` seconds, and what is more than ``max_size`` bytes in all,
    the least recently used first. What running commands may use stays. Raises :class:`OutputError`.
    """
    now = time.time() if now is None else now
    cache = Cache(config.cache)
    found = items(cache)
    chosen = excess(found, now=now, older_than=older_than, max_size=max_size)
    if chosen and not dry_run:
        cache.prepare()
    done = remove(cache, chosen, now=now, dry_run=dry_run)
    return Pruned(config.cache, done.removed, done.in_use, total(found) - total(done.removed), dry_run)


def clean_cache(config: Config, *, dry_run: bool = False) -> Pruned:
    """Remove everything that no running command uses. Raises :class:`OutputError`."""
    return prune_cache(config, max_size=-1, dry_run=dry_run)


def verify_cache(config: Config, progress: Progress | None = None) -> Verified:
    """Read every archive, blob, segment and layer record, and remove those that are damaged.

    The next command that needs one of them fetches or makes it anew. Raises :class:`OutputError`.
    """
    cache = Cache(config.cache)
    found = [i for i in items(cache) if i.kind not in (Kind.SOLVER, Kind.TEMPORARY)]
    damaged, files, size = [], 0, 0
    with (progress or Quiet()).step("Verifying the cache", total(found), "bytes") as task:
        for item in found:
            try:
                inode = item.path.lstat().st_ino
                _verify(cache, item)
            except FileNotFoundError:  # pruned meanwhile
                continue
            except IntegrityError as error:
                if not item.path.exists():
                    continue
                cache.discard(item.path, inode)
                damaged.append(Damaged(item, error.why or error.what))
            files += 1
            size += item.size
            task.advance(item.size)
    return Verified(config.cache, files, size, tuple(damaged))


def _verify(cache: Cache, item: Item) -> None:
    """Raise :class:`IntegrityError` if a file is not what its name, or its own checksums, say."""
    from envpack.formats.squashfs import segment_file

    if item.kind is Kind.ARCHIVE:
        cache.check(item.path, item.path.name.partition("-")[0])
    elif item.kind is Kind.BLOB:
        cache.check(item.path, item.path.name)
    elif item.kind is Kind.SEGMENT:
        segment_file.verify(item.path)
    else:
        try:
            record = json.loads(item.path.read_bytes())
        except ValueError:
            record = None
        if not isinstance(record, dict) or not {"diff_id", "digest", "size"} <= set(record):
            raise IntegrityError(f"{item.path} is no record of a layer")


def _holding(kind: Kind, found: Sequence[Item]) -> Holding:
    used = [datetime.datetime.fromtimestamp(item.used, datetime.timezone.utc) for item in found]
    return Holding(kind, len(found), total(found), min(used, default=None), max(used, default=None))


def _described(item: Item) -> dict[str, object]:
    return {"kind": item.kind.value, "path": str(item.path), "bytes": item.size}
