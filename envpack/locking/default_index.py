"""The index that uv asks where it is told of no other, as uv itself names it.

Locks of pip's tools name it as they name any index. As an extra one it would be asked twice, and behind a
mirror, which uv is set up to ask in its place, it would not answer.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from urllib.parse import urlsplit

from envpack import process
from envpack.errors import ProgramError
from envpack.ledger import Action, Ledger
from envpack.locking.failures import without_secrets
from envpack.spec import EnvSpec

_SECONDS = 60
# In uv's help: --default-index <DEFAULT_INDEX>  The default package index (by default: <https://…>)
_DEFAULT = re.compile(r"--default-index\s(?:(?!\s--[a-z]).)*?\(by default: <(?P<url>https?://[^\s<>]+)>\)")


def left_out(spec: EnvSpec, ledger: Ledger) -> EnvSpec:
    """``spec`` without the indexes that are uv's default one; said in ``ledger``.

    Where ``spec`` has an index in the place of the default one, they are indexes like others. One of a
    package's own stays, too, where the package could come from extra indexes otherwise.
    """
    options = spec.pip_options
    if options.index_url or not (options.extra_index_urls or options.own_indexes):
        return spec
    default = _host(_uvs())

    def is_usual(url: str) -> bool:
        return default is not None and _host(url) == default

    others = tuple(url for url in options.extra_index_urls if not is_usual(url))
    own = tuple(one for one in options.own_indexes if others or not is_usual(one.url))
    found = replace(options, extra_index_urls=others, own_indexes=own)
    for url in (url for url in options.addresses if url not in found.addresses):
        reason = "it is uv's default index: packages are taken from it, or from what uv asks in its place"
        ledger.add(Action.KEPT, f"index {without_secrets(url)}", reason)
    return replace(spec, pip_options=found)


def named(text: str) -> str | None:
    """The address of the default index in the ``text`` of uv's help; ``None`` where it has none."""
    found = _DEFAULT.search(" ".join(text.split()))
    return found["url"] if found else None


@functools.cache
def _uvs() -> str | None:
    from uv import find_uv_bin

    try:
        said = process.run([find_uv_bin(), "pip", "compile", "--help", "--color", "never"], timeout=_SECONDS)
    except (ProgramError, FileNotFoundError):  # the solve says it better
        return None
    return named(said.stdout.decode("utf-8", "replace"))


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None
