"""A program with its prefix baked in, assembled by hand so that no compiler is needed.

    ELF header (64 bytes) · one program header (56 bytes) · code · path, NUL-terminated

It prints the file at ``path`` and exits with 0, or with 1 when there is none. Sources: ELF-64 object file
format 1.5; the x86-64 Linux system call convention.
"""

from __future__ import annotations

import struct

ADDRESS = 0x400000
HEADERS = 64 + 56

CODE = bytes.fromhex(
    "488d3d 00000000"  # lea rdi, [rip + path]   (the offset is filled in below)
    "31f6 31d2 b802000000 0f05"  # open(path, O_RDONLY)
    "85c0 782f"  # negative: fail
    "89c7 4881ec00010000 4889e6 ba00010000 31c0 0f05"  # read(file, stack, 256)
    "89c2 4889e6 bf01000000 b801000000 0f05"  # write(1, stack, count)
    "31ff b83c000000 0f05"  # exit(0)
    "bf01000000 b83c000000 0f05"  # fail: exit(1)
)


def printer(path: str) -> bytes:
    """An x86-64 Linux executable that prints the first 256 bytes of the file ``path``."""
    # The lea ends after 7 bytes; the path stands right behind the code.
    code = CODE[:3] + struct.pack("<i", len(CODE) - 7) + CODE[7:]
    body = code + path.encode() + b"\0"
    size = HEADERS + len(body)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64-bit, little-endian, version 1
        2, 62, 1, ADDRESS + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )  # fmt: skip
    readable_and_executable = 5
    segment = struct.pack("<IIQQQQQQ", 1, readable_and_executable, 0, ADDRESS, ADDRESS, size, size, 0x1000)
    return header + segment + body
