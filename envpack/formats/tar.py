r"""Writing tar archives: entries in, the bytes of one archive out, front to back with bounded memory.

An archive is a row of members and two blocks of zeros; everything is in blocks of 512 bytes::

    [pax header  a header block of type x, named "././@PaxHeader", and records "LENGTH KEY=VALUE\n"]
    header       one block, see below
    data         of a file, padded with zeros to whole blocks

    header, POSIX.1-1988 "ustar"; numbers are octal digits, ended by a NUL
    offset  size  field
       0     100  name
     100       8  mode: the 12 permission bits
     108       8  uid
     116       8  gid
     124      12  size of the data; 0 for all but files
     136      12  mtime, seconds since 1970
     148       8  checksum: the sum of the block's bytes, this field as spaces; 6 digits, NUL, space
     156       1  type: 0 file, 1 hard link, 2 symlink, 3 character device, 4 block device,
                  5 directory, 6 fifo, x pax header
     157     100  link name: the path of the first name (hard link), the target (symlink)
     257       8  "ustar" NUL "00"
     265      64  names of owner and group: empty, so that nobody's numbers are replaced
     329       8  device major
     337       8  device minor
     345     155  prefix: the name's front part, without the slash between the two

What a field cannot hold is in a pax record (POSIX.1-2001): ``path`` and ``linkpath`` that are too long or
not ASCII, ``size``, ``mtime``, ``uid`` and ``gid`` with too many digits. Names that are not UTF-8 either
come after ``hdrcharset=BINARY``. Extended attributes are ``SCHILY.xattr.NAME`` records, which star, GNU
tar, libarchive and container engines read.

Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; layer.md of the OCI image
specification. Directories end with a slash, as both have it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from envpack.entry import Entry, Kind, encode_path, is_safe_path
from envpack.errors import IntegrityError

BLOCK = 512

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_CHECKSUM_AT = 148
_MAGIC = b"ustar\00000"
_NAME, _PREFIX, _LINK = 100, 155, 100
_SMALL_MAX, _LARGE_MAX = 8**7 - 1, 8**11 - 1  # of the fields of 8 and 12 bytes
_PAX_NAME = b"././@PaxHeader"
_END = bytes(2 * BLOCK)
_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER_DEVICE: b"3",
    Kind.BLOCK_DEVICE: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}

_Records = list[tuple[bytes, bytes]]


def archive(entries: Iterable[Entry], epoch: int) -> Iterator[bytes]:
    """The archive of ``entries``, in their order, in pieces of any size.

    ``epoch`` (seconds) is the date of entries without one. Whoever unpacks it expects parents before what
    is in them, hard links behind what they name, and every path once: that is the caller's to see to.
    Contents are read when their turn comes. Raises :class:`IntegrityError` for an entry that no archive can
    hold: an unsafe path, a socket, a content of another length than announced.
    """
    for entry in entries:
        yield _header(entry, epoch)
        if entry.kind is Kind.FILE:
            yield from _content(entry)
    yield _END


def _content(entry: Entry) -> Iterator[bytes]:
    seen = 0
    for chunk in entry.chunks:
        seen += len(chunk)
        if seen > entry.size:
            break
        yield chunk
    if seen != entry.size:
        amount = "more than " if seen > entry.size else f"{seen} instead of "
        raise IntegrityError(f"the content of {entry.path!r} has {amount}{entry.size} bytes")
    if seen % BLOCK:
        yield bytes(-seen % BLOCK)


def _header(entry: Entry, epoch: int) -> bytes:
    """The header of an entry, with a pax header before it where one is needed."""
    _check(entry)
    records: _Records = []
    name = encode_path(entry.path)
    if entry.kind is Kind.DIRECTORY:
        name += b"/"
    target = encode_path(entry.target)
    if not (_is_utf8(name) and _is_utf8(target)):
        records.append((b"hdrcharset", b"BINARY"))
    front, back = _split(name)
    if not back or not name.isascii():
        records.append((b"path", name))
        front, back = b"", _ascii(name)[:_NAME]
    if len(target) > _LINK or not target.isascii():
        records.append((b"linkpath", target))
        target = _ascii(target)[:_LINK]
    mtime = epoch if entry.mtime is None else entry.mtime
    block = _pack(
        back,
        entry.mode,
        _number(entry.uid, _SMALL_MAX, b"uid", records),
        _number(entry.gid, _SMALL_MAX, b"gid", records),
        _number(entry.size if entry.kind is Kind.FILE else 0, _LARGE_MAX, b"size", records),
        _number(mtime, _LARGE_MAX, b"mtime", records),
        _TYPES[entry.kind],
        target,
        entry.device,
        front,
    )
    records += [(b"SCHILY.xattr." + encode_path(key), value) for key, value in entry.xattrs]
    return _pax(records) + block if records else block


def _split(name: bytes) -> tuple[bytes, bytes]:
    """``name`` as prefix and name of a header; two empty ones if it does not fit."""
    if len(name) <= _NAME:
        return b"", name
    # The slash in the middle is not stored; one at the end (of a directory) belongs to the name.
    middle = name.find(b"/", len(name) - _NAME - 1, len(name) - 1)
    if 0 < middle <= _PREFIX:
        return name[:middle], name[middle + 1 :]
    return b"", b""


def _number(number: int, largest: int, key: bytes, records: _Records) -> int:
    """The number if its field can hold it; else 0 and a pax record."""
    if 0 <= number <= largest:
        return number
    records.append((key, b"%d" % number))
    return 0


def _pack(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    kind: bytes,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    """One header block."""
    major, minor = device
    block = _HEADER.pack(
        name,
        b"%07o" % mode,
        b"%07o" % uid,
        b"%07o" % gid,
        b"%011o" % size,
        b"%011o" % mtime,
        b" " * 8,
        kind,
        link,
        _MAGIC,
        b"%07o" % major,
        b"%07o" % minor,
        prefix,
    )
    return block[:_CHECKSUM_AT] + b"%06o\0 " % sum(block) + block[_CHECKSUM_AT + 8 :]


def _pax(records: _Records) -> bytes:
    """A pax header for the member behind it."""
    data = b"".join(_record(key, value) for key, value in records)
    header = _pack(_PAX_NAME, 0o644, 0, 0, len(data), 0, b"x", b"", (0, 0), b"")
    return header + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE`` and a line feed; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ascii(name: bytes) -> bytes:
    """What stands in a header for readers that know no pax."""
    return bytes(c if c < 0x80 else ord("_") for c in name)


def _check(entry: Entry) -> None:
    if not is_safe_path(entry.path):
        raise IntegrityError(f"the path {entry.path!r} is not relative and normalised")
    reason = None
    if entry.kind not in _TYPES:
        reason = f"a {entry.kind.value} has no place in it"
    elif "\0" in entry.target or (entry.kind is Kind.HARDLINK and not is_safe_path(entry.target)):
        reason = f"its link target is {entry.target!r}"
    elif not 0 <= entry.mode <= 0o7777:
        reason = f"its mode is {entry.mode:o}"
    elif not all(0 <= number <= _SMALL_MAX for number in entry.device):
        reason = f"its device number is {entry.device[0]}:{entry.device[1]}"
    elif any("=" in key or "\0" in key for key, _ in entry.xattrs):
        reason = "an extended attribute has an impossible name"
    if reason:
        raise IntegrityError(f"{entry.path!r} cannot be stored in a tar archive", why=reason)
