"""Reading back what a segment holds: the contents of files, unpacked, one block at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from envpack.errors import IntegrityError
from envpack.formats.squashfs import layout
from envpack.formats.squashfs.codec import decompressor
from envpack.formats.squashfs.index import Content, Fragment, Index

# Fragment blocks that are kept unpacked: small files are read in the order of their paths, and a writer
# sorts them by path for some 16 MiB at a time.
_FRAGMENTS_KEPT = 16


class Contents:
    """The contents of the segment at ``path``. A context manager: the file is open for as long as it lasts.

    Raises :class:`IntegrityError` for blocks that cannot be unpacked.
    """

    def __init__(self, path: Path, index: Index) -> None:
        self._path, self._index = path, index
        self._decompress = decompressor(index.compression_id)
        self._fragments: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise IntegrityError(f"cannot read the cached segment {path}", why=str(error)) from error

    def __enter__(self) -> Contents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def size(self, number: int) -> int:
        """The bytes of a content; ``number`` is its place in ``Index.contents``."""
        return self._index.contents[number][0]

    def chunks(self, number: int) -> Iterator[bytes]:
        """A content in pieces of at most the block size."""
        content = Content._make(self._index.contents[number])
        block_size = self._index.block_size
        words = self._index.words[content.first_word * 4 : (content.first_word + content.words) * 4]
        position, left = content.start, content.size
        for (word,) in layout.U32.iter_unpack(words):
            size = min(left, block_size)
            yield self._block(position, word, size) if word else bytes(size)
            position += word & ~layout.BLOCK_PLAIN
            left -= size
        if left:
            yield self._fragment(content.fragment)[content.offset : content.offset + left]

    def _fragment(self, number: int) -> bytes:
        """A fragment block, unpacked."""
        if number in self._fragments:
            self._fragments.move_to_end(number)
            return self._fragments[number]
        found = Fragment._make(self._index.fragments[number])
        data = self._fragments[number] = self._block(found.start, found.word, None)
        if len(self._fragments) > _FRAGMENTS_KEPT:
            self._fragments.popitem(last=False)
        return data

    def _block(self, position: int, word: int, size: int | None) -> bytes:
        """The block at ``position``, unpacked, of ``size`` bytes if that is known."""
        self._file.seek(position)
        data = self._file.read(word & ~layout.BLOCK_PLAIN)
        if not word & layout.BLOCK_PLAIN:
            data = self._decompress(data, self._index.block_size)
        if size is not None and len(data) != size:
            raise IntegrityError(
                f"the cached segment {self._path} is damaged",
                why=f"the block at {position} unpacks to {len(data)} bytes instead of {size}",
                hint="Remove the file; it will be made again.",
            )
        return data
