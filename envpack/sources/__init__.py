"""What the user has (an ``environment.yml``, a list of packages, a lock, an environment itself) becomes an
:class:`~envpack.spec.EnvSpec`.

A reader is a module with one function ``read``. Which one reads a file is decided in ``reading``, by what is
in it and by its name; a folder is an environment.

| source | reader |
|---|---|
| ``environment.yml``, ``conda env export``, with ``--json`` too | ``environment_yml`` |
| requirements files, ``pip freeze`` | ``pip_freeze`` |
| ``conda list``, with ``--export`` or ``--json`` | ``conda_list`` |
| ``conda list --explicit``, what conda-lock renders | ``conda_explicit`` |
| ``conda-lock.yml`` | ``conda_lock_yml`` |
| ``pylock.toml``, ``uv.lock``, ``poetry.lock``, ``Pipfile``, ``Pipfile.lock`` | readers of these names |
| ``pixi.toml``, ``pixi.lock``, ``pyproject.toml`` | ``pixi_toml``, ``pixi_lock``, ``pyproject`` |
| an environment's folder, name, or image | ``prefix``, by way of ``environments`` for a name |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envpack.sources.reading import DEFAULT_FILES, STDIN, from_env, from_image, read

__all__ = ["DEFAULT_FILES", "STDIN", "from_env", "from_image", "read"]


def __getattr__(name: str) -> Any:
    """The functions of :mod:`envpack.sources.reading`, which needs all readers, when they are asked for."""
    if name in __all__:
        from envpack.sources import reading

        return getattr(reading, name)
    raise AttributeError(name)
