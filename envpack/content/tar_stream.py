r"""Reading tar archives front to back, member by member, with bounded memory.

A tar archive is a row of members, each a header block of 512 bytes and its data padded to whole blocks;
two zero blocks end it. The header (POSIX.1-1988 "ustar"; numbers are octal text, or base-256 where the
first bit is set):

    offset  size  field
       0     100  name
     100       8  mode
     108       8  uid
     116       8  gid
     124      12  size
     136      12  mtime
     148       8  checksum: sum of the header's bytes, this field as spaces
     156       1  type: 0 or NUL file, 1 hard link, 2 symlink, 3 character device, 4 block device,
                  5 directory, 6 fifo, 7 file; x, g pax records; L, K GNU long name and long link;
                  S GNU file with holes (see tar_sparse)
     157     100  link name
     257       6  magic: "ustar" NUL (POSIX) or "ustar " (GNU)
     329       8  device major
     337       8  device minor
     345     155  prefix of the name (POSIX only)

Pax records (POSIX.1-2001) are ``LENGTH KEY=VALUE\n``; those of type ``x`` are for the next member, those
of type ``g`` for all that follow. GNU names: https://www.gnu.org/software/tar/manual/html_node/Standard.html

The standard library's tarfile reads the same, four times slower, and seeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, cast

from envpack.content import tar_sparse
from envpack.content.tar_sparse import Sparse
from envpack.entry import decode_path

BLOCK = 512
CHUNK = 1 << 20
# Names, links and extended attributes are small; whoever announces more wants our memory.
_MAX_EXTENSION = 8 << 20

FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0123456"


class Readable(Protocol):
    """Anything that gives its bytes in order; ``b""`` is the end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes."""


class TarError(ValueError):
    """The bytes are not a whole tar archive, or one with a feature that is not read."""


@dataclass(slots=True)
class Member:
    """One header, with pax and GNU extensions applied. ``name`` and ``link`` are as the archive has them."""

    name: str
    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: str
    device: tuple[int, int]
    pax: dict[str, bytes] = field(default_factory=dict)


class TarStream:
    """Iterate for members; :meth:`chunks` or :meth:`read` give the current one's data, once.

    Holes of sparse files are given as zeros. Data that is not asked for is skipped. Raises
    :class:`TarError`, and whatever ``stream.read`` raises.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = b""
        self._position = 0
        self._data_left = 0  # of the current member
        self._padding = 0
        self._sparse: Sparse | None = None
        self._global: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Member]:
        """Every member that is a path of the file system, in the archive's order."""
        pax: dict[str, bytes] = {}
        name = link = None
        while (member := self._next()) is not None:
            match member.type:
                case "x":
                    pax = _pax_records(self._extension(member))
                case "g":
                    self._global |= _pax_records(self._extension(member))
                case "L":
                    name = decode_path(self._extension(member).split(b"\0")[0])
                case "K":
                    link = decode_path(self._extension(member).split(b"\0")[0])
                case _:
                    member.name = name or member.name
                    member.link = link or member.link
                    self._apply(member, self._global | pax if self._global else pax)
                    pax, name, link = {}, None, None
                    yield member
        self._drain()

    def chunks(self) -> Iterator[bytes]:
        """The current member's data, in pieces of at most a MiB."""
        if self._sparse is None:
            yield from self._stored(self._data_left)
            return
        sparse, self._sparse = self._sparse, None
        position = 0
        for offset, length in sparse.pieces:
            yield from _zeros(offset - position)
            yield from self._stored(length)
            position = offset + length
        yield from _zeros(sparse.size - position)

    def _stored(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._some(min(size, CHUNK))
            self._data_left -= len(piece)
            size -= len(piece)
            yield piece

    def read(self) -> bytes:
        """The current member's data at once."""
        if self._sparse is not None:
            return b"".join(self.chunks())
        data = self._exactly(self._data_left)
        self._data_left = 0
        return data

    def _next(self) -> Member | None:
        self._skip(self._data_left + self._padding)
        self._data_left = self._padding = 0
        self._sparse = None
        header = self._exactly(BLOCK, end_allowed=True)
        if not header or header == bytes(BLOCK):
            return None
        member = _header(header)
        if member.type == "S":
            try:
                self._sparse = tar_sparse.of_header(header, lambda: self._exactly(BLOCK), _number)
            except ValueError as error:
                raise TarError(f"{member.name!r}: {error}") from error
        self._set_size(member)
        return member

    def _set_size(self, member: Member) -> None:
        """Only files and extensions have data, whatever the size field says (POSIX)."""
        if member.type in "123456":
            member.size = 0
        self._data_left = member.size
        self._padding = -member.size % BLOCK

    def _extension(self, member: Member) -> bytes:
        if member.size > _MAX_EXTENSION:
            raise TarError(f"an extended header of {member.size} bytes")
        return self.read()

    def _apply(self, member: Member, pax: dict[str, bytes]) -> None:
        if member.type not in "01234567S\0":
            raise TarError(f"{member.name!r} is of a type that is not read ({member.type!r})")
        if pax:
            member.pax = pax
            member.name = decode_path(pax["path"]) if "path" in pax else member.name
            member.link = decode_path(pax["linkpath"]) if "linkpath" in pax else member.link
            for key in ("uid", "gid", "mtime"):
                if key in pax:
                    setattr(member, key, int(pax[key].partition(b".")[0] or b"0"))
            if "size" in pax:
                member.size = int(pax["size"])
                if member.size < 0:
                    raise TarError(f"{member.name!r} has a negative size")
                self._set_size(member)
        if member.type in "\0007S":
            member.type = FILE
        if member.type == FILE and member.name.endswith("/"):  # how archives before POSIX say directory
            member.type = DIRECTORY
        if member.type == FILE:
            self._set_holes(member, pax)

    def _set_holes(self, member: Member, pax: dict[str, bytes]) -> None:
        """Have the file's own size and name where the archive stores only parts of it."""
        if self._sparse is None:
            try:
                self._sparse = tar_sparse.of_records(pax, self._block_of_data)
            except ValueError as error:
                raise TarError(f"{member.name!r}: {error}") from error
        if self._sparse is not None:
            if self._sparse.stored != self._data_left:
                raise TarError(f"{member.name!r} has other holes than its header says")
            member.size = self._sparse.size
            if name := pax.get("GNU.sparse.name"):
                member.name = decode_path(name)

    def _block_of_data(self) -> bytes:
        if self._data_left < BLOCK:
            raise TarError("a file with holes ends before its map does")
        self._data_left -= BLOCK
        return self._exactly(BLOCK)

    def _fill(self) -> bool:
        self._buffer = self._stream.read(CHUNK)
        self._position = 0
        return bool(self._buffer)

    def _some(self, limit: int) -> bytes:
        """Between 1 and ``limit`` bytes."""
        if self._position == len(self._buffer) and not self._fill():
            raise TarError("it ends in the middle of a file")
        start = self._position
        piece = self._buffer[start : start + limit]
        self._position = start + len(piece)
        return piece

    def _exactly(self, size: int, *, end_allowed: bool = False) -> bytes:
        start = self._position
        if start + size <= len(self._buffer):
            self._position = start + size
            return self._buffer[start : start + size]
        pieces, missing = [], size
        while missing:
            if self._position == len(self._buffer) and not self._fill():
                if end_allowed and missing == size:
                    return b""
                raise TarError("it ends in the middle of a file")
            pieces.append(self._some(missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _drain(self) -> None:
        """Read what follows the end mark, so that checksums at the end of the stream are compared."""
        while self._fill():
            pass


def _zeros(size: int) -> Iterator[bytes]:
    hole = bytes(min(size, CHUNK))
    for _ in range(size // CHUNK):
        yield hole
    if size % CHUNK:
        yield hole[: size % CHUNK]


def _header(block: bytes) -> Member:
    if not _checksum_fits(block):
        raise TarError("a file header has a wrong checksum")
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    kind = chr(block[156])
    size = _number(block[124:136])
    if size < 0:
        raise TarError("a file has a negative size")
    return Member(
        name=decode_path(name),
        type=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        mtime=_number(block[136:148]),
        size=size,
        link=decode_path(block[157:257].split(b"\0", 1)[0]),
        device=(_number(block[329:337]), _number(block[337:345])) if kind in "34" else (0, 0),
    )


def _checksum_fits(block: bytes) -> bool:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:]) == _number(block[148:156])


def _is_header(block: bytes) -> bool:
    try:
        return len(block) == BLOCK and _checksum_fits(block)
    except TarError:
        return False


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:
        return int.from_bytes(raw, "big", signed=True) if raw[0] == 0xFF else int.from_bytes(raw[1:], "big")
    text = raw.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise TarError("a file header holds something that is no number") from None


def _pax_records(data: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise TarError("an extended header is malformed")
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise TarError("an extended header is malformed")
        name = key.decode("utf-8", "surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):  # the one case where a key is repeated
            name, before = "GNU.sparse.map", records.get("GNU.sparse.map")
            value = value if before is None else before + b"," + value
        records[name] = value
        position = end
    return records


def decompressed(file: BinaryIO) -> Readable:
    """``file`` through the decoder that its first bytes ask for: gzip, bzip2, zstandard or none.

    It must be seekable and at its beginning.
    """
    start = file.read(BLOCK)
    file.seek(0)
    if _is_header(start):  # it begins with a name, which may be any of the marks below
        return file
    magic = start[:4]
    if magic[:2] == b"\x1f\x8b":
        import gzip

        return cast("Readable", gzip.GzipFile(fileobj=file))
    if magic[:3] == b"BZh":
        import bz2

        return bz2.BZ2File(file)
    if magic == b"\x28\xb5\x2f\xfd" or (magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50):
        return zstd(file)
    return file


def zstd(file: Readable) -> Readable:
    """A zstandard stream, of one frame or many; windows larger than 128 MiB are refused, as is usual."""
    import zstandard

    open_stream: Callable[..., Readable] = zstandard.ZstdDecompressor().stream_reader
    return open_stream(file, read_across_frames=True)
