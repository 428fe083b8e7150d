"""What the environment's own python runs to compile sources; talks with :mod:`envpack.content.compiler`.

It runs in pythons from 3.8 on, with next to no standard library, so it imports built-in modules only.

    hello     -> length, MAGIC_NUMBER (4 bytes) and the cache tag
    request   <- kind (C compile, H hash), length, path, length, source
    answer    -> 1 and length, bytes; or 0 when the source does not compile

Lengths are four bytes, big-endian. The end of the input ends the program.
"""

import _frozen_importlib_external as importer
import _imp
import sys

_PYC = getattr(importer, "_code_to_hash_pyc")  # noqa: B009 -- typeshed does not know it
_READ, _WRITE = sys.stdin.buffer.read, sys.stdout.buffer.write


def _take() -> bytes:
    return _READ(int.from_bytes(_READ(4), "big"))


def _give(data: bytes) -> None:
    _WRITE(len(data).to_bytes(4, "big") + data)


def _source_hash(source: bytes) -> bytes:
    return _imp.source_hash(int.from_bytes(importer.MAGIC_NUMBER, "little"), source)


def _settle() -> None:
    """Bring the interpreter into the state in which marshal's output depends on the source alone.

    marshal writes whether a string is interned, and strings of one Latin-1 character live as long as the
    interpreter: the first ``from x import *`` interns "*" for every source after it, the first variable
    named "\N{LATIN SMALL LETTER E WITH ACUTE}" that letter. (ASCII letters are always interned.) Before 3.11
    the output also depends on which strings other modules have interned, so all are loaded that compiling
    could load.
    """
    for text in ("", "*", *filter(str.isidentifier, map(chr, range(0x80, 0x100)))):
        sys.intern(text)
    if sys.version_info >= (3, 11):
        return
    import encodings.aliases

    for name in sorted({"unicodedata", *(f"encodings.{n}" for n in encodings.aliases.aliases.values())}):
        try:
            __import__(name)
        except ImportError:
            continue


def main() -> None:
    """Serve requests until the input ends."""
    _settle()
    _give(importer.MAGIC_NUMBER + str(sys.implementation.cache_tag).encode())
    sys.stdout.buffer.flush()
    while kind := _READ(1):
        path, source = _take().decode("utf-8", "surrogateescape"), _take()
        answer: bytes | None
        if kind == b"H":
            answer = _source_hash(source)
        else:
            try:
                code = compile(source, path, "exec", dont_inherit=True)
                answer = _PYC(code, _source_hash(source), False)
                del code  # its strings must not be alive while the next source is compiled
            except Exception:  # noqa: BLE001 -- whatever a source makes the compiler raise, it has no bytecode
                answer = None
        if answer is None:
            _WRITE(b"0")
        else:
            _WRITE(b"1")
            _give(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
