"""What packages' activation scripts set, as far as it can be known without running them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from envpack.content import activation_scripts
from envpack.content.shell_syntax import UnsupportedError
from envpack.entry import Kind, is_safe_path
from envpack.formats.squashfs.index import Segment
from envpack.formats.squashfs.merged import Merged
from envpack.ledger import Action, Ledger
from envpack.recipe import Recipe

_LARGEST_SCRIPT = 1 << 16


@dataclass(frozen=True, slots=True)
class Activated:
    """``variables`` to set in the image, and the ``scripts`` that must be run for the rest.

    ``scripts`` are absolute paths; ``None`` where one has a name that is no text: then all are to be run.
    """

    variables: Mapping[str, str]
    scripts: tuple[str, ...] | None

    def report(self, ledger: Ledger) -> None:
        """Findings about what programs of ``docker exec`` will not see."""
        for path in self.scripts or ():
            ledger.add(
                Action.RELAXED,
                path,
                "it does more than set variables, so it is run when a container starts, and programs of "
                "`docker exec` do not see what it sets",
                remedy="Start these through /usr/local/bin/entrypoint.sh.",
            )


def scripts_folder(recipe: Recipe) -> str:
    """Where packages' activation scripts are, as a path in the image without a slash in front."""
    return f"{recipe.prefix.strip('/')}/etc/conda/activate.d"


def evaluated(
    recipe: Recipe,
    paths: Iterable[str],
    segments: Sequence[Segment],
    environment: Mapping[str, str],
) -> Activated:
    """Go through the scripts among ``paths`` in the order in which conda sources them.

    ``segments`` hold the base and the packages; ``environment`` are the image's variables before.
    """
    folder = scripts_folder(recipe)
    scripts = sorted({p for p in paths if p.startswith(f"{folder}/") and p.endswith(".sh")})
    if not scripts:
        return Activated({}, ())
    if not all(path.isprintable() for path in scripts):
        return Activated({}, None)
    merged = Merged(segments)

    def kind(path: str) -> Kind | None:
        path = path.rstrip("/")
        if not f"{path}/".startswith(f"{recipe.prefix}/") or not is_safe_path(path[1:]):
            raise UnsupportedError("it depends on what is outside of the environment")
        return merged.kind(path)

    found: dict[str, str] = {}
    remaining = []
    for path in scripts:
        text = _text(merged.read(path, _LARGEST_SCRIPT))
        changes = None if text is None else activation_scripts.evaluate(text, {**environment, **found}, kind)
        if changes is None:
            remaining.append(f"/{path}")
        else:
            found |= changes
    return Activated(found, tuple(remaining))


def _text(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None
