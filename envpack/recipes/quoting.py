"""Untrusted text in shell scripts, definition files and Dockerfiles: one place per format that quotes it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NEWLINE = "_envpack_newline"
# $(...) drops trailing newlines, hence the extra character that is cut off again.
_DEFINE_NEWLINE = f'{_NEWLINE}="$(printf "\\n_")"\n{_NEWLINE}="${{{_NEWLINE}%_}}"\n'
# Words that stay as they are in every shell, for the reader's sake.
_SAFE = re.compile(r"[A-Za-z0-9_./:@+,-]+\Z")


def sh(text: str) -> str:
    """One line of text as one word of a POSIX shell (IEEE 1003.1, Shell Command Language, 2.2.2).

    The word never holds ``{{``, which Apptainer replaces in definition files before anything else. Raises
    :class:`ValueError` for a line break (see :func:`exports`) and for NUL, which no shell can hold.
    """
    if "\n" in text or "\0" in text:
        raise ValueError("a word of a shell script cannot hold a line break here, nor a NUL anywhere")
    return _word(text)


def exports(variables: Mapping[str, str]) -> str:
    """Shell lines that export ``variables`` with exactly their values, in the given order.

    No line begins with anything from a value, because the text can stand in a definition file, where a
    line that begins with ``%`` or ``Bootstrap:`` starts something new even inside quotes: line breaks come
    from a shell variable. The names must be valid. Raises :class:`ValueError` for NUL.
    """
    lines = [f"export {name}={_word(value)}\n" for name, value in variables.items()]
    if any("\n" in value for value in variables.values()):
        return _DEFINE_NEWLINE + "".join(lines) + f"unset {_NEWLINE}\n"
    return "".join(lines)


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("no shell variable can hold a NUL")
    if _SAFE.match(text):
        return text
    # '"'"' and not the shorter '\'': Apptainer's interpreter keeps the backslash of the latter.
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    # Nothing expands in single quotes. Split behind what begins an expansion elsewhere, no reader, and no
    # program that looks for mistakes, can take it for one.
    quoted = re.sub("[$`]", r"\g<0>''", quoted)
    return _split_braces(quoted, "''").replace("\n", f"'\"${_NEWLINE}\"'")


def _split_braces(text: str, separator: str) -> str:
    """``text`` with ``separator`` between any two opening braces."""
    return re.sub(r"\{(?=\{)", "{" + separator, text)


def dockerfile(text: str) -> str:
    """``text`` as a double-quoted word of a Dockerfile instruction (``ENV``, ``LABEL``).

    Raises :class:`ValueError` for line breaks and NUL, which these instructions cannot hold.
    """
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError("a Dockerfile value cannot hold a line break")
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'


def comment(text: str) -> str:
    """``text`` as part of a ``#`` line: on one line, and without ``{{`` (see :func:`sh`)."""
    return _split_braces("".join(c if c.isprintable() else "?" for c in text), " ")
