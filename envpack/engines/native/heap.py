"""Memory that was freed goes back to the system, where the C library can be told to."""

from __future__ import annotations

from contextlib import suppress


def trim() -> None:
    """Give back what threads that have ended left in heaps of their own; a millisecond.

    The C library keeps it for them otherwise: 15 to 25 MiB after linking.
    """
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # where it is not glibc
        ctypes.CDLL(None).malloc_trim(0)
