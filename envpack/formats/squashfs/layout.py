"""The on-disk structures of squashfs 4.0, shared by writer and reader.

All numbers are little-endian. An image, in the order this package writes it::

    superblock | compressor options | data and fragment blocks | inode table | directory table |
    fragment table | export table | id table | xattr table | zeros to a multiple of 4096

Superblock (96 bytes)::

    u32 magic "hsqs"    u32 inode count      u32 image date       u32 block size
    u32 fragment count  u16 compressor       u16 log2(block size) u16 flags
    u16 id count        u16 major (4)        u16 minor (0)        u64 root inode reference
    u64 bytes used      u64 id table         u64 xattr table      u64 inode table
    u64 directory table u64 fragment table   u64 export table     (positions; all ones: there is none)

Inodes, directories and table records live in *metadata blocks*: a u16 header (length on disk; bit 15
set: stored uncompressed) and up to 8192 bytes when unpacked. A *reference* to metadata is
``position of the block's header in its table << 16 | offset in the unpacked block``.

Data blocks have no header; their u32 *block word* is in the inode: length on disk, bit 24 set when
stored uncompressed, zero for a block of zeros that is not stored at all.

Every inode starts with ``u16 type, u16 permissions, u16 uid index, u16 gid index, u32 mtime, u32 number``.
Then, by type (an extended inode is the basic one's richer twin, its type 7 higher)::

    1 directory   u32 listing block, u32 links, u16 listing size + 3, u16 listing offset, u32 parent number
    8             u32 links, u32 listing size + 3, u32 listing block, u32 parent number, u16 index count,
                  u16 listing offset, u32 xattr, then the index
    2 file        u32 first block, u32 fragment, u32 offset in it, u32 size, then block words
    9             u64 first block, u64 size, u64 bytes in holes, u32 links, u32 fragment, u32 offset in it,
                  u32 xattr, then block words
    3 symlink     u32 links, u32 length, then the target
    10            the same, then u32 xattr
    4 5 device    u32 links, u32 device (block, character)
    11 12         the same, then u32 xattr
    6 7 fifo      u32 links (fifo, socket)
    13 14         the same, then u32 xattr

A directory's listing is a sequence of runs: ``u32 count - 1, u32 inode block, u32 inode number`` and up to
256 entries ``u16 offset of the inode in its block, s16 number - the run's number, u16 basic type,
u16 length - 1`` and the name. Its index, for large directories, has for each metadata block after the
first ``u32 offset of a run in the listing, u32 directory-table block, u32 length - 1`` and the run's
first name.

Tables of records (fragments ``u64 position, u32 block word, u32 0``; ids ``u32``; exports ``u64`` inode
references by number) are metadata blocks followed by the u64 positions of these blocks; the superblock
points at the positions. The xattr table is key-value metadata (``u16 namespace, u16 length``, name;
``u32 length``, value), records ``u64 reference, u32 count, u32 size``, and at the superblock's pointer
``u64 key-value position, u32 records, u32 0`` followed by the positions of the record blocks.

Source: Documentation/filesystems/squashfs.rst and fs/squashfs/squashfs_fs.h of Linux.
"""

from __future__ import annotations

import struct

MAGIC = 0x73717368
METADATA_SIZE = 8192
METADATA_PLAIN = 0x8000
BLOCK_PLAIN = 1 << 24
NONE32 = 0xFFFFFFFF
NONE64 = 0xFFFFFFFFFFFFFFFF
# Listing sizes in inodes count the "." and ".." that are not stored.
LISTING_EXTRA = 3
RUN_ENTRIES = 256
NAME_MAX = 255
# Linux' PATH_MAX without the NUL: of longer targets its squashfs gives a part or an error.
TARGET_MAX = 4095
XATTR_MAX = 65536
PADDING = 4096

DIRECTORY, FILE, SYMLINK, BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, SOCKET = range(1, 8)
EXTENDED = 7  # what is added to a basic type

FLAG_DUPLICATES = 0x0040
FLAG_EXPORTABLE = 0x0080
FLAG_NO_XATTRS = 0x0200
FLAG_COMPRESSOR_OPTIONS = 0x0400

SUPERBLOCK = struct.Struct("<5I6H8Q")

# The inode's header and body in one, for the types in the order of the text above.
HEADER = struct.Struct("<4H2I")
DIRECTORY_INODE = struct.Struct("<4H2I2I2HI")
DIRECTORY_INODE_X = struct.Struct("<4H2I4I2HI")
FILE_INODE = struct.Struct("<4H2I4I")
FILE_INODE_X = struct.Struct("<4H2I3Q4I")
SYMLINK_INODE = struct.Struct("<4H2I2I")
DEVICE_INODE = struct.Struct("<4H2I2I")
DEVICE_INODE_X = struct.Struct("<4H2I3I")
IPC_INODE = struct.Struct("<4H2II")
IPC_INODE_X = struct.Struct("<4H2I2I")

RUN = struct.Struct("<3I")
RUN_ENTRY = struct.Struct("<HhHH")
DIRECTORY_INDEX = struct.Struct("<3I")
FRAGMENT = struct.Struct("<QII")
XATTR_KEY = struct.Struct("<HH")
XATTR_RECORD = struct.Struct("<QII")
XATTR_TABLE = struct.Struct("<QII")
U16 = struct.Struct("<H")
U32 = struct.Struct("<I")

XATTR_PREFIXES = ("user.", "trusted.", "security.")
XATTR_ELSEWHERE = 0x0100  # the value is a reference to a value stored before


def encode_device(major: int, minor: int) -> int:
    """A device number as Linux packs it into 32 bits: 12 bits major, 20 bits minor."""
    return (minor & 0xFF) | major << 8 | (minor & 0xFFF00) << 12


def decode_device(device: int) -> tuple[int, int]:
    """(major, minor) of :func:`encode_device`."""
    return device >> 8 & 0xFFF, (device & 0xFF) | (device >> 12 & 0xFFF00)
