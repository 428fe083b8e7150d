"""The commands. Each parses its options, calls one function of the pipeline, and shows what came back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from envpack import __version__
from envpack.cli import show
from envpack.cli.cache import cache
from envpack.cli.reporting import report as _report
from envpack.cli.reporting import reporting as _reporting
from envpack.errors import EnvpackError, Interrupted, UsageError

LABEL_HELP = "A label of the image, e.g. org.opencontainers.image.revision=$(git rev-parse HEAD)."
PLATFORM_HELP = "Conda platform of the image, e.g. linux-64. May be given several times."


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code; every error a user can cause ends here as text."""
    try:
        # What a command ends with early, click gives back as a number.
        ended = envpack.main(list(arguments), prog_name="envpack", standalone_mode=False)
        code = ended if isinstance(ended, int) else 0
    except click.ClickException as wrong:
        code = _failed(_usage(wrong), arguments)
    except (KeyboardInterrupt, click.Abort):
        code = _stopped(Interrupted("interrupted"), arguments)
    except Interrupted as stopped:
        code = _stopped(stopped, arguments)
    except EnvpackError as problem:
        code = _failed(problem, arguments)
    except Exception as mistake:  # noqa: BLE001 told as what it is, with an exit code of its own
        code = _failed(_mistake(mistake), arguments)
    return code


def _usage(wrong: click.ClickException) -> UsageError:
    """A command line that click refuses, as an error of ours."""
    context = wrong.ctx if isinstance(wrong, click.UsageError) else None
    what = wrong.format_message().removesuffix(".")
    return UsageError(what, hint=f"See `{context.command_path if context else 'envpack'} --help`.")


def _mistake(error: Exception) -> EnvpackError:
    """What nobody has thought of."""
    import traceback

    where = "".join(traceback.format_exception(error))
    return EnvpackError("envpack made a mistake", why=where, hint="Please report it, with the lines above.")


def _stopped(problem: Interrupted, arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the clean-up short
    problem.hint = problem.hint or "What was finished is kept: the same command goes on from there."
    return _failed(problem, arguments)


def _failed(problem: EnvpackError, arguments: Sequence[str]) -> int:
    # What follows `run` is the program's, --json included.
    as_json = "--json" in arguments and arguments[0] != "run"
    with suppress(OSError):  # nobody is there to be told
        if as_json:
            show.as_json(show.error_document(problem))
        else:
            show.error(problem)
    return problem.exit_code


def _labels(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """``--label KEY=VALUE`` as a mapping; what a label may be is checked with the rest of the recipe."""
    for text in given:
        if "=" not in text:
            raise UsageError(f"--label {text!r} has no value", hint="Write --label KEY=VALUE.")
    return dict(text.split("=", 1) for text in given)


def _platforms(_context: click.Context, _option: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    """``--platform A,B`` and ``--platform A --platform B``, each once."""
    return tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",")))


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="envpack", message="%(prog)s %(version)s")
@click.pass_context
def envpack(context: click.Context) -> None:
    """One conda environment, one container file.

    \b
    envpack lock     environment.yml -> lockfiles/NAME.conda-lock.yml
    envpack build    lock            -> images/NAME.sif
    envpack recipe   lock            -> recipes/NAME, for docker build and apptainer build
    envpack run      images/NAME.sif script.py
    envpack cache    what was downloaded and made before
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(UsageError.exit_code)


envpack.add_command(cache)


@envpack.command()
@click.argument("source", required=False)
@click.option("--name", help="Name of the environment. Default: the source's, else the folder's.")
@click.option("--platform", "platforms", multiple=True, help=PLATFORM_HELP)
@click.option("--base", help="Base image, e.g. ubuntu:22.04. Default: chosen by the glibc that is needed.")
@click.option(
    "--prefix", default="/opt/env", show_default=True, help="The environment's folder in the image."
)
@click.option(
    "--python", help="Python for a source that names none (pip freeze): 3.11, or system for the base's own."
)
@click.option(
    "--solver",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A conda, mamba or micromamba to solve with. Default: the built-in solver.",
)
@click.option("--from-env", metavar="NAME", help="Lock what a conda environment holds: its name or folder.")
@click.option(
    "--from-image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Lock what the environment in an image (.sif) holds.",
)
@click.option(
    "--prefer",
    type=click.Choice(["conda", "pip"]),
    help="Who is asked for what both have. Default: as it is written.",
)
@click.option(
    "--pin",
    type=click.Choice(["exact", "minor", "none"]),
    default="exact",
    show_default=True,
    help="How much of exact versions is asked for. Those that cannot be had are relaxed, and that is said.",
)
@click.option(
    "--cuda", metavar="VERSION", help="CUDA version of the driver, e.g. 12.4, or none. Default: inferred."
)
@click.option(
    "--build-sdist",
    multiple=True,
    metavar="NAME",
    help="Build the wheel of a package that its index has as source only; all: of all such. Runs their code.",
)
@click.option("--strict", is_flag=True, help="Fail if anything is not kept as it is written.")
@click.option(
    "--keep", is_flag=True, help="Keep the locked packages; record anew what envpack.toml and variables say."
)
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 1 if the lock does not answer its source."
)
@_reporting
def lock(
    source: str | None,
    solver: Path | None,
    base: str | None,
    prefix: str,
    keep: bool,
    check: bool,
    cuda: str | None,
    prefer: Any,  # choices, as click has checked
    pin: Any,
    build_sdist: tuple[str, ...],
    strict: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Resolve SOURCE into a lock: lockfiles/NAME.conda-lock.yml.

    SOURCE is an environment.yml (default: the one in this folder) or an export in JSON, a requirements or
    `pip freeze` file, the output of `conda list` (also with --export or --explicit), a pyproject.toml,
    pixi.toml, pixi.lock or conda-lock.yml, - for standard input, or the folder of an environment, a sandbox
    or an image: what is installed in it is locked.
    """
    from envpack import config, pipeline

    stdin = sys.stdin.buffer.read() if source == "-" else None
    reading: dict[str, Any] = {"directory": Path(), "stdin": stdin, **options}
    if check:
        _report(
            lambda _, ledger: pipeline.check(source, **reading, ledger=ledger),
            show.checked,
            as_json=as_json,
            quiet=quiet,
        )
        return
    settings = config.load()
    _report(
        lambda progress, ledger: pipeline.lock(
            source,
            **reading,
            config=settings,
            base=base,
            prefix=prefix,
            solver=solver,
            keep=keep,
            cuda=cuda,
            prefer=prefer,
            pin=pin,
            build_sdist=build_sdist,
            strict=strict,
            progress=progress,
            ledger=ledger,
        ),
        show.locked,
        as_json=as_json,
        quiet=quiet,
    )


@envpack.command()
@click.argument("name", required=False)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    callback=_platforms,
    metavar="PLATFORM[,PLATFORM...]",
    help="Conda platform of the image; several give one oci archive with an index, or a file each. "
    "Default: the lock's, or this machine's.",
)
@click.option(
    "--engine",
    type=click.Choice(["native", "docker", "apptainer"]),
    default="native",
    show_default=True,
    help="What builds it: envpack itself, or Docker or Apptainer from the recipe.",
)
@click.option(
    "--format",
    type=click.Choice(["sif", "sqfs", "oci", "docker"]),
    help="sif for Apptainer; sqfs is the environment alone, to bind into any container; oci and docker are "
    "one archive, for docker load, podman, skopeo and others. Default: sif; with --engine docker the image "
    "stays in the daemon.",
)
@click.option("--sandbox", is_flag=True, help="A folder to work in, images/NAME.sandbox; needs Apptainer.")
@click.option("--tag", help="Name of an oci or docker image, e.g. group/name:1.0. Default: NAME:latest.")
@click.option("--push", is_flag=True, help="Push what --engine docker built to the registry of its tag.")
@click.option("--label", "labels", multiple=True, callback=_labels, metavar="KEY=VALUE", help=LABEL_HELP)
@click.option(
    "--link-scripts",
    is_flag=True,
    help="Run packages' link scripts, in a namespace of their own without a network. Docker and Apptainer "
    "always run them.",
)
@click.option(
    "--skip-link-scripts",
    is_flag=True,
    help="Leave out packages' link scripts, which the native engine refuses.",
)
@click.option(
    "--compression",
    type=click.Choice(["zstd", "gzip"]),
    help="Default: zstd for sif, gzip for oci. Kernels before 4.14 and Docker before 23.0 read gzip only.",
)
@click.option("--level", type=int, help="Compression level. Default: 3 for zstd; 6 for gzip, 5 in oci.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The image file. Default: images/NAME with .sif, .sqfs or .oci.tar.",
)
@_reporting
def build(
    name: str | None,
    platforms: Sequence[str],
    format: str | None,
    sandbox: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Build the image of a lock: images/NAME.sif, and its recipes in recipes/NAME.

    NAME is an environment's name or the path of a lock. Default: the only lock in lockfiles/.
    """
    from envpack import config, pipeline

    if sandbox and format is not None:
        raise UsageError("a sandbox is a folder and has no --format", hint="Leave one of them out.")
    options["format"] = "sandbox" if sandbox else format
    if not sandbox and options["output"] is not None and options["output"].is_dir():
        raise click.BadParameter(f"{options['output']} is a folder.", param_hint="--output")
    options |= {"directory": Path(), "config": config.load(), "epoch": _source_date_epoch()}
    if len(platforms) > 1:
        _report(
            lambda progress, ledger: pipeline.build_platforms(
                name, platforms=platforms, progress=progress, ledger=ledger, **options
            ),
            show.built_platforms,
            as_json=as_json,
            quiet=quiet,
        )
        return
    _report(
        lambda progress, ledger: pipeline.build(
            name, platform=next(iter(platforms), None), progress=progress, ledger=ledger, **options
        ),
        show.built,
        as_json=as_json,
        quiet=quiet,
    )


@envpack.command()
@click.argument("name", required=False)
@click.option("--platform", help="Conda platform of the image. Default: the lock's, or this machine's.")
@click.option("--label", "labels", multiple=True, callback=_labels, metavar="KEY=VALUE", help=LABEL_HELP)
@_reporting
def recipe(
    name: str | None, platform: str | None, labels: dict[str, str], as_json: bool, quiet: bool
) -> None:
    """Write the recipes of a lock: recipes/NAME, for `docker build` and `apptainer build`.

    NAME is an environment's name or the path of a lock. Default: the only lock in lockfiles/.
    """
    from envpack import config, pipeline

    settings, epoch = config.load(), _source_date_epoch()
    _report(
        lambda _progress, ledger: pipeline.recipe(
            name,
            directory=Path(),
            config=settings,
            platform=platform,
            epoch=epoch,
            labels=labels,
            ledger=ledger,
        ),
        show.written,
        as_json=as_json,
        quiet=quiet,
    )


@envpack.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-B", "--bind", "binds", multiple=True, help="Show a folder in the image: SOURCE[:DESTINATION[:ro]]."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of how it is run.")
def run_image(image: Path, arguments: tuple[str, ...], binds: tuple[str, ...], quiet: bool) -> None:
    """Run python in IMAGE with ARGUMENTS, through Apptainer where there is one, else without.

    \b
    envpack run images/NAME.sif script.py --its-own options

    Options of envpack stand before IMAGE; all that follows it belongs to the program.
    """
    from envpack import pipeline
    from envpack.cli.progress import Lines
    from envpack.progress import Quiet

    shown = [pipeline.parse_bind(text) for text in binds]
    # Lines even on a terminal, which belongs to the program that runs.
    progress = Quiet() if quiet else Lines(sys.stderr)
    raise click.exceptions.Exit(pipeline.run(image, arguments, binds=shown, progress=progress))


def _source_date_epoch() -> int | None:
    """``SOURCE_DATE_EPOCH`` (reproducible-builds.org specification), if it is set."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {text!r}", hint="It counts seconds since 1970, e.g. 1700000000."
        )
    return int(text)
