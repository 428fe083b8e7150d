"""What the environment's own python runs to compile sources; talks with :mod:`envpack.content.compiler`.

It runs in pythons from 3.8 on, with next to no standard library, so it imports built-in modules only.

    hello     -> length, MAGIC_NUMBER (4 bytes) and the cache tag; length, the hashes of SAMPLES
    batch     <- number of requests, then each: kind (C compile, H hash), length, path, length, source
    answers   -> for each: 1 and length, bytes; or 0 when the source does not compile

Lengths and numbers are four bytes, big-endian. A batch is read whole before it is answered, so that neither
side waits for the other to read. The end of the input ends the program.
"""

import _frozen_importlib_external as importer
import _imp
import sys

_PYC = getattr(importer, "_code_to_hash_pyc")  # noqa: B009 -- typeshed does not know it
_READ, _WRITE = sys.stdin.buffer.read, sys.stdout.buffer.write

# Sources of several lengths: a python that hashes them alike has the same function (siphash 1-3 or 2-4).
SAMPLES = tuple(bytes(range(size)) for size in (0, 1, 7, 8, 9, 64, 255))


def _number() -> int:
    return int.from_bytes(_READ(4), "big")


def _take() -> bytes:
    return _READ(_number())


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
    _give(b"".join(map(_source_hash, SAMPLES)))
    sys.stdout.buffer.flush()
    while count := _number():
        batch = [(_READ(1), _take(), _take()) for _ in range(count)]
        while batch:
            answer = _answer(*batch.pop(0))
            if answer is None:
                _WRITE(b"0")
            else:
                _WRITE(b"1")
                _give(answer)
        sys.stdout.buffer.flush()


def _answer(kind: bytes, path: bytes, source: bytes) -> "bytes | None":
    if kind == b"H":
        return _source_hash(source)
    name = path.decode("utf-8", "surrogateescape")
    try:
        code = compile(source, name, "exec", dont_inherit=True)
        packed: bytes = _PYC(code, _source_hash(source), False)
        # The code's strings must not be alive when the next source is compiled: they go with this frame.
    except Exception:  # noqa: BLE001 -- whatever a source makes the compiler raise, it has no bytecode
        return None
    return packed


if __name__ == "__main__":
    main()
