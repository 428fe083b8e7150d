"""Results, findings and errors as text for people, or as one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from envpack.cli.progress import amount
from envpack.errors import EnvpackError, Location, Problem
from envpack.ledger import Action, Finding

if TYPE_CHECKING:
    from envpack.engines import Image
    from envpack.pipeline import Built, BuiltPlatforms, Checked, Locked, Written

_COLOURS = {Action.NEEDS_YOU: "red", Action.DROPPED: "yellow", Action.GUESSED: "yellow"}


def as_json(document: dict[str, object]) -> None:
    """One JSON document on standard output, keys in a fixed order."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def error(problem: EnvpackError) -> None:
    """What happened, where, why and what to do next, on standard error."""
    _line("error", problem.what, problem.where, colour="red")
    for each in problem.problems:
        # What to do is said once, where it is the same for all.
        own = replace(each, hint=None) if each.hint == problem.hint else each
        click.echo(f"  {_sentence(own)}", err=True)
    if problem.why:
        _block("why", problem.why)
    if problem.hint:
        _block("do", problem.hint)


def error_document(problem: EnvpackError) -> dict[str, object]:
    """The same for ``--json``."""
    return {
        "error": {
            "kind": type(problem).__name__,
            "exit_code": problem.exit_code,
            **_place(problem.where),
            "what": problem.what,
            "why": problem.why,
            "hint": problem.hint,
            "problems": [
                {"what": p.what, "why": p.why, "hint": p.hint, **_place(p.where)} for p in problem.problems
            ],
        }
    }


def findings(found: Sequence[Finding], shown: Collection[str] = ()) -> None:
    """Every deviation, one line each, with its remedy below; on standard error. What needs the user comes
    last; what was relaxed and is in the table of ``shown`` requests is not repeated.
    """
    told = [f for f in found if f.is_deviation and not (f.action is Action.RELAXED and f.subject in shown)]
    for each in sorted(told, key=lambda finding: finding.action is Action.NEEDS_YOU):
        _line(
            each.action.value, f"{each.subject}: {each.reason}", each.where, colour=_COLOURS.get(each.action)
        )
        if each.remedy:
            click.echo(f"    {each.remedy}", err=True)


def locked(result: Locked) -> None:
    """The summary of ``envpack lock``: what was asked, what was chosen, how large it is."""
    for platform in result.platforms:
        rows = [
            (r.asked, f"{r.name} {r.version}", r.manager, amount(r.size, "bytes") if r.size else "?")
            for r in platform.requested
        ]
        click.echo(f"{platform.subdir}")
        _table(("asked for", "chosen", "by", "download"), rows)
        size = amount(platform.download, "bytes")
        if platform.relaxed:
            click.echo("\n  could not be met as written")
            _table(
                ("wanted", "got", "why"),
                [(r.wanted, r.got, r.why) for r in platform.relaxed],
                last_right=False,
            )
        click.echo(f"  {platform.packages} packages with their dependencies, {size} to download\n")
    click.echo(f"base image {result.base}")
    click.echo(f"wrote {result.path}" if result.changed else f"{result.path} is up to date")


def checked(result: Checked) -> None:
    """The summary of ``envpack lock --check``."""
    click.echo(f"{result.path} answers its source")


def built(result: Built) -> None:
    """The summary of ``envpack build``."""
    image = result.image
    if image.path is not None:
        click.echo(_image_line(image))
    if image.sha256 is not None:
        click.echo(f"sha256 {image.sha256}")
    click.echo(f"recipes for Docker and Apptainer in {result.recipes[0].parent}")
    if image.contents is None and image.recipe.stages is not None:  # built from the recipe
        click.echo(image.recipe.stages.reason)
    if image.manifest is not None:
        click.echo(f"manifest {image.manifest}")
    if image.daemon_id is not None and image.reference is not None:
        click.echo(f"in Docker's daemon as {image.reference.familiar} ({image.daemon_id})")
    if image.reference is None and image.size is None:
        click.echo(f"work in it: apptainer shell --writable {image.path}")
        click.echo(f"lock what it then holds: envpack lock {image.path} --name {result.name}")
    elif result.format == "sqfs":
        prefix = image.recipe.prefix
        click.echo(f"bind it into any base: apptainer exec -B {image.path}:{prefix}:image-src=/ BASE.sif \\")
        click.echo(f"    {prefix}/bin/python script.py")
    elif image.reference is None or str(image.path).endswith(".sif"):
        click.echo(f"run python in it: envpack run {image.path} --version")
    elif image.path is None:
        click.echo(f"run python in it: docker run --rm -it {image.reference.familiar}")
    else:
        click.echo(f"load it as {image.reference.familiar}: docker load -i {image.path}")


def built_platforms(result: BuiltPlatforms) -> None:
    """The summary of ``envpack build`` for several platforms."""
    for each in result.builds:
        image = each.image
        click.echo(f"{each.platform}")
        if result.index is None:
            click.echo(f"  {_image_line(image)}\n  sha256 {image.sha256}")
        else:
            click.echo(f"  manifest {image.manifest}")
    first = result.builds[0]
    if result.index is not None:
        click.echo(_image_line(replace(first.image, contents=None)))
        click.echo(f"sha256 {first.image.sha256}\nindex {result.index}")
        name = first.image.reference
        click.echo(f"push it whole: skopeo copy --all oci-archive:{first.image.path} docker://{name}")
    click.echo(f"recipes for Docker and Apptainer, of {first.platform}, in {first.recipes[0].parent}")


def _image_line(image: Image) -> str:
    size = f"{amount(image.size, 'bytes')}, one file" if image.size is not None else "a folder"
    inside = image.contents
    if inside is None:
        return f"{image.path}: {size}"
    return (
        f"{image.path}: {size} that holds {inside.files:,} files in {inside.directories:,} folders "
        f"({amount(inside.size, 'bytes')})"
    )


def written(result: Written) -> None:
    """The summary of ``envpack recipe``."""
    for path in result.files:
        click.echo(str(path))
    click.echo(result.reason)


def _line(label: str, text: str, where: Location | None, colour: str | None) -> None:
    place = f"{where}: " if where else ""
    click.echo(f"{click.style(label, fg=colour, bold=True)}: {place}{text}", err=True)


def _block(label: str, text: str) -> None:
    first, *rest = text.splitlines() or [""]
    click.echo("\n".join([f"  {label}: {first}", *(f"    {line}" for line in rest)]), err=True)


def _sentence(problem: Problem) -> str:
    text = f"{problem.where}: {problem.what}" if problem.where else problem.what
    if problem.why:
        text += f" ({problem.why})"
    return f"{text}. {problem.hint}" if problem.hint else text


def _place(where: Location | None) -> dict[str, object]:
    return {
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
    }


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, last_right: bool = True) -> None:
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, *rows]:
        cells = [
            text.rjust(width) if last_right and i == len(header) - 1 else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  " + "  ".join(cells).rstrip())
