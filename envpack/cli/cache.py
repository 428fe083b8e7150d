"""``envpack cache``: shows, prunes and verifies what was downloaded and made before."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import click

from envpack.cli.progress import amount
from envpack.cli.quantities import seconds, size
from envpack.cli.reporting import report, reporting
from envpack.errors import UsageError

if TYPE_CHECKING:
    from envpack.pipeline.cache import CacheContent, Pruned, Verified

_DRY_RUN = "Remove nothing; say what would be removed."


@click.group(invoke_without_command=True)
@reporting
@click.pass_context
def cache(context: click.Context, as_json: bool, quiet: bool) -> None:
    """Show what the cache holds: archives, images' blobs, segments and layers made from them.

    All of it is fetched or made again when it is needed. What running commands use is never removed.
    """
    if context.invoked_subcommand is not None:
        return
    from envpack import config
    from envpack.pipeline.cache import cache_content

    settings = config.load()
    report(lambda *_: cache_content(settings), _content, as_json=as_json, quiet=quiet)


@cache.command()
@click.option("--older-than", metavar="TIME", help="What was not used for so long, e.g. 30d, 12h.")
@click.option(
    "--max-size", metavar="SIZE", help="What is more than this in all, e.g. 20G: the longest unused."
)
@click.option("--dry-run", is_flag=True, help=_DRY_RUN)
@reporting
def prune(older_than: str | None, max_size: str | None, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Remove what has not been used for long, the least recently used first."""
    from envpack import config
    from envpack.pipeline.cache import prune_cache

    if older_than is None and max_size is None:
        raise UsageError(
            "it is not said what to remove",
            hint="Give --older-than 30d or --max-size 20G, or both; `envpack cache clean` removes all.",
        )
    age = None if older_than is None else seconds(older_than, "--older-than")
    most = None if max_size is None else size(max_size, "--max-size")
    settings = config.load()
    report(
        lambda *_: prune_cache(settings, older_than=age, max_size=most, dry_run=dry_run),
        _pruned,
        as_json=as_json,
        quiet=quiet,
    )


@cache.command()
@click.option("--dry-run", is_flag=True, help=_DRY_RUN)
@reporting
def clean(dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Remove all that no running command uses."""
    from envpack import config
    from envpack.pipeline.cache import clean_cache

    settings = config.load()
    report(lambda *_: clean_cache(settings, dry_run=dry_run), _pruned, as_json=as_json, quiet=quiet)


@cache.command()
@reporting
def verify(as_json: bool, quiet: bool) -> None:
    """Read every file and compare it with its hash; what is damaged is removed."""
    from envpack import config
    from envpack.pipeline.cache import verify_cache

    settings = config.load()
    report(lambda progress, _: verify_cache(settings, progress), _verified, as_json=as_json, quiet=quiet)


def _content(result: CacheContent) -> None:
    rows = [("what", "count", "size", "oldest use", "last used")]
    for each in result.holdings:
        held = amount(each.count, "items"), amount(each.size, "bytes")
        rows.append((each.kind.value, *held, _day(each.oldest), _day(each.newest)))
    click.echo(str(result.root))
    for what, count, size_, oldest, newest in rows:
        click.echo(f"  {what:<12}{count:>8}{size_:>11}  {oldest:<16}  {newest}".rstrip())
    click.echo(f"{amount(result.size, 'bytes')} in all")


def _day(when: datetime.datetime | None) -> str:
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M")


def _pruned(result: Pruned) -> None:
    if result.dry_run:
        for item in result.removed:
            click.echo(f"{amount(item.size, 'bytes'):>9}  {item.path}")
    verb = "would remove" if result.dry_run else "removed"
    click.echo(
        f"{verb} {amount(len(result.removed), 'items')} things of {amount(result.freed, 'bytes')}; "
        f"{amount(result.left, 'bytes')} are left in {result.root}"
    )
    if result.in_use:
        click.echo(f"{amount(len(result.in_use), 'items')} more stay: running commands may use them")


def _verified(result: Verified) -> None:
    for each in result.damaged:
        click.echo(f"removed {each.item.path}")
        click.echo("".join(f"    {line}\n" for line in each.why.splitlines()), nl=False)
    good = result.files - len(result.damaged)
    click.echo(f"{amount(good, 'items')} of {amount(result.files, 'items')} files are whole ({result.root})")
