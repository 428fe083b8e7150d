r"""Files and folders of the project that are copied into an image: their digest, and their entries.

A copied file has mode 0755 if its owner may execute it, else 0644; a folder has 0755. Symbolic links are
followed to files inside the project's folder, and to nothing else: what somebody's repository holds must not
bring files of this machine into an image.

The digest of a file or folder is the sha256 of these lines, in the order of the names:

    MODE SHA256 NAME\0       a file; the NAME of a copied file itself is empty
    dir NAME\0               a folder below a copied one
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from envpack import atomic
from envpack.entry import Entry, Kind, directory, encode_path
from envpack.errors import LockError, Problem, SourceError
from envpack.image import Digest
from envpack.image_settings import CopiedPath

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Found:
    """One path below a copied one: its name there (``""`` for the path itself) and where it is."""

    name: str
    path: Path
    is_folder: bool

    @property
    def mode(self) -> int:
        return 0o755 if self.is_folder or self.path.stat().st_mode & 0o100 else 0o644


def digest(root: Path, source: str) -> Digest:
    """The digest of what is at ``source`` in the folder ``root``.

    Raises :class:`SourceError` when it is not there, cannot be read, leads out of ``root``, or is neither
    file nor folder.
    """
    found = hashlib.sha256()
    for each in _walk(root, source):
        name = encode_path(each.name)
        if each.is_folder:
            found.update(b"dir %s\0" % name)
        else:
            content = hashlib.sha256()
            for piece in _pieces(each.path):
                content.update(piece)
            found.update(b"%o %s %s\0" % (each.mode, content.hexdigest().encode(), name))
    return Digest(f"sha256:{found.hexdigest()}")


def check(root: Path, files: tuple[CopiedPath, ...]) -> None:
    """Raise :class:`LockError` naming every one of ``files`` that is not what was locked."""
    problems = []
    for copied in files:
        try:
            if digest(root, copied.source) != copied.digest:
                problems.append(Problem(f"{copied.source} was changed since it was locked"))
        except SourceError as error:
            problems.append(Problem(error.what, why=error.why))
    if problems:
        raise LockError(
            "the lock names files of the project that are not there as they were",
            problems=problems,
            hint="Restore them, or run `envpack lock --keep` to record them as they are now.",
        )


def entries(root: Path, copied: CopiedPath) -> Iterator[Entry]:
    """What ``copied`` puts into the image, parents before children; raises as :func:`digest`."""
    top = copied.destination.strip("/")
    for each in _walk(root, copied.source):
        path = f"{top}/{each.name}" if each.name else top
        if each.is_folder:
            yield directory(path)
        else:
            yield Entry(path, Kind.FILE, each.mode, each.path.stat().st_size, _pieces(each.path))


def copy(root: Path, files: tuple[CopiedPath, ...], folder: Path) -> bool:
    """Make ``folder`` hold a copy of ``files``, below their destinations, and nothing else.

    Without files there is no such folder; gives whether there is. Raises :class:`OutputError` where it
    cannot be written, and as :func:`digest`.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        _remove(partial)
        for copied in files:
            for entry in entries(root, copied):
                path = partial / entry.path
                if entry.kind is Kind.DIRECTORY:
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as file:
                        for piece in entry.chunks:
                            file.write(piece)
                path.chmod(entry.mode)
        _remove(folder)
        if files:
            partial.rename(folder)
    except OSError as error:
        raise atomic.cannot_write(folder, error) from error
    return bool(files)


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _walk(root: Path, source: str) -> Iterator[_Found]:
    """Every path of ``source``, parents first, sorted by name."""
    base = root.resolve()
    todo = [_look(base, root / source, source, "")]
    while todo:
        found = todo.pop()
        yield found
        if found.is_folder:
            try:
                names = sorted((path.name for path in found.path.iterdir()), reverse=True)
            except OSError as error:
                raise _unreadable(f"{source}/{found.name}".rstrip("/"), error) from error
            start = f"{found.name}/" if found.name else ""
            todo += [_look(base, found.path / name, source, start + name) for name in names]


def _look(base: Path, path: Path, source: str, name: str) -> _Found:
    shown = f"{source}/{name}" if name else source
    try:
        real = path.resolve(strict=True)
        is_folder = path.is_dir()
        if not real.is_relative_to(base):
            raise SourceError(
                f"{shown} is a link out of the project's folder",
                hint="Copy what it leads to into the project.",
            )
        if is_folder and path.is_symlink():
            raise SourceError(
                f"{shown} is a link to a folder", hint="Name the folder itself, or copy it here."
            )
        if not is_folder and not path.is_file():
            raise SourceError(f"{shown} is neither a file nor a folder", hint="Leave it out.")
    except FileNotFoundError:
        raise SourceError(f"there is no {shown}", hint="Make it, or remove it from envpack.toml.") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise _unreadable(shown, error) from error
    return _Found(name, path, is_folder)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _unreadable(shown: str, error: Exception) -> SourceError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return SourceError(f"cannot read {shown}", why=why, hint="See who may read it.")
