"""Keeping the process small, where the C library is glibc."""

from __future__ import annotations

from contextlib import suppress


def trim() -> None:
    """Give back to the system what was freed in the midst of the heap, which else stays; a millisecond."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
